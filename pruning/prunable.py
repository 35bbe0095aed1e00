"""Which weights of a network may be pruned."""

from collections.abc import Collection, Mapping, Sequence
from typing import Literal

from torch import Tensor, nn

from pruning.structure import Structure, is_depthwise, structure_of

Layers = Literal["conv", "conv+linear"]


class NeedsExclusion(ValueError):
    """Layers that cannot be pruned as it was asked for must be excluded. layers: their names."""

    def __init__(self, sentence: str, layers: Collection[str]) -> None:
        super().__init__(f"{sentence}: prune.exclude must name them")
        self.layers = tuple(layers)


def prunable_weights(
    network: nn.Module,
    exclude: Collection[str] = (),
    *,
    granularity: str = "weight",
    layers: Layers = "conv",
    biases: bool = False,
    structure: Structure | None = None,
) -> dict[str, Tensor]:
    """The weights that compete with each other when a network is pruned.

    exclude: prefixes of names of modules that are left alone, such as "conv2" or "aux1".
    granularity: of what is pruned as one. layers: "conv", convolutions, or "conv+linear", Linear
        layers besides. biases: whether the biases of these layers are in the pool of single
        weights, as in the unstructured pruning of von Rad & Seuffert (2024, released code).
    structure: of the network; read anew where it is not at hand.

    Left alone besides: the first layer; depthwise convolutions, whose filters stay or go with the
    channels that they read; where filters go, the layer whose filters are the network's classes;
    where input channels go, grouped convolutions, of which each group reads others. A weight that
    several layers share counts once, under the first of their names.
    Returns parameter name -> parameter, in the order of the network's modules.
    Raises ValueError when an excluded name matches none of these layers, when nothing is left, for
    biases of another granularity than "weight", and for Linear layers or biases of which there are
    none, and for a weight that is no parameter.
    """
    if biases and granularity != "weight":
        raise ValueError(
            "biases are single weights: they are pruned by granularity 'weight' alone, got "
            f"{granularity!r}"
        )
    kinds = (nn.Conv2d, nn.Linear) if layers == "conv+linear" else (nn.Conv2d,)
    there = {name: m for name, m in network.named_modules() if isinstance(m, kinds)}
    for prefix in exclude:
        if not any(_is_in(name, prefix) for name in there):
            raise ValueError(
                f"an excluded layer must hold a {_called(layers)}, {prefix!r} does not; there are "
                f"{', '.join(there)}"
            )
    alone = _left_alone(there, structure or structure_of(network), granularity) | _repeated(there)
    names = [
        name
        for name in there
        if name not in alone and not any(_is_in(name, prefix) for prefix in exclude)
    ]
    if not names:
        raise ValueError(
            f"nothing is left to prune: each {_called(layers)} of {len(there)} is excluded, or "
            "left alone anyway"
        )
    if layers == "conv+linear" and not any(isinstance(there[n], nn.Linear) for n in names):
        raise ValueError(
            "layers='conv+linear' must add a Linear layer to what may be pruned, of this network "
            f"it adds none (granularity {granularity!r}; the classes' filters never go): leave it "
            "at 'conv'"
        )
    parts = ("weight", "bias") if biases else ("weight",)
    found: dict[str, Tensor] = {
        f"{name}.{part}": parameter
        for name in names
        for part, parameter in there[name].named_parameters(recurse=False)
        if part in parts
    }
    bare = [name for name in names if f"{name}.weight" not in found]
    if bare:
        raise ValueError(
            f"weights must be parameters of their layers to be pruned, that of {bare[0]} is made "
            "of others (weight_norm and its like must be taken off)"
        )
    if biases and not any(name.endswith(".bias") for name in found):
        raise ValueError(
            "biases must be there to be pruned, none of the layers that may be pruned has one "
            "(those of BatchNorms follow their filters): leave biases at False"
        )
    return found


def _repeated(layers: Mapping[str, nn.Module]) -> set[str]:
    """Names of layers whose weight is that of a layer before them."""
    # A weight that is made of others is another tensor at each access: then the module stands.
    weights = {name: id(m._parameters.get("weight", m)) for name, m in layers.items()}
    first = {weight: name for name, weight in reversed(weights.items())}
    return {name for name, weight in weights.items() if first[weight] != name}


def _left_alone(there: Mapping[str, nn.Module], structure: Structure, granularity: str) -> set[str]:
    alone = {name for name, module in there.items() if is_depthwise(module)}
    # Of a network that cannot be traced the order of its modules is the best guess.
    alone |= structure.first or set(list(there)[:1])
    if granularity == "filter":
        alone |= structure.outputs or set(list(there)[-1:])
    if granularity == "input_channel":
        alone |= {name for name, module in there.items() if getattr(module, "groups", 1) > 1}
    return alone


def left_alone(network: nn.Module, granularity: str) -> list[str]:
    """Which convolutions besides the first are in no pool, and why: a sentence for each reason."""
    there = {n: m for n, m in network.named_modules() if isinstance(m, nn.Conv2d)}
    depthwise = [name for name, module in there.items() if is_depthwise(module)]
    grouped = [n for n, module in there.items() if module.groups > 1 and n not in depthwise]
    sentences = []
    if depthwise:
        sentences.append(
            f"{_some(depthwise, there)} depthwise and in no pool: their filters go with the "
            "channels that they read"
        )
    if grouped and granularity == "input_channel":
        sentences.append(
            f"{_some(grouped, there)} grouped and in no pool of granularity 'input_channel': no "
            "input channel is read by all of their filters"
        )
    return sentences


def _some(names: Sequence[str], of: Collection[str]) -> str:
    more = ", …" if len(names) > 1 else ""
    return f"{len(names)} of {len(of)} convolutions ({names[0]}{more}) are"


def _called(layers: Layers) -> str:
    return "convolution or Linear layer" if layers == "conv+linear" else "convolution"


def _is_in(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")

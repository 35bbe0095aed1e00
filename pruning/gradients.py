"""What does the loss say? Derivatives by maps and by weights: gradient, Taylor and Fisher.

A filter or an input channel has a gate, a number per sample that all positions of its map
are multiplied by (1) or raised by (0): the derivative of the loss by it is exact for every sample,
and costs no gradient of a weight.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pruning.granularity import granularity_of
from pruning.structure import Structure, structure_of

Kind = Literal["gradient", "taylor", "fisher"]

TARGETS = ("loss", "logit")


def gradient_importance(
    network: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    criterion: Kind,
    granularity: str,
    names: Collection[str],
    target: Literal["loss", "logit"] = "loss",
    structure: Structure | None = None,
) -> dict[str, Tensor]:
    """How much L changes, as its derivatives say, when a group goes.

    batches: normalised images, float [sample, 3, height, width], and labels, int64 [sample], on
        the network's device. How the samples are split into batches does not matter.
    names: of weights of Conv2d and Linear layers; of biases, too, by "weight". L must depend
        on them in eval mode: auxiliary heads are out.
    target: what L is. "loss", as published: the cross-entropy with the labels, which says next to
        nothing of images that the network has fitted. "logit": the label's logit, which is not
        saturated there; LRP starts from it, too.

    "filter", taylor: |sum over positions of y x dL/dy|, to first order the change of L when the
        filter goes (Molchanov et al. 2017, sec. 2.2); its mean over samples. y is the filter's
        output after the BatchNorm that follows, if one does; after the ReLU it would be the same.
    "filter", gradient: |sum over positions of dL/dy|, the change of L per unit by which the whole
        map is raised (Sun et al. 2017, a pruning criterion in Yeom et al. 2021); its mean over
        samples.
    "filter", fisher: half of the square of what Taylor takes the absolute of; its mean over
        samples (Theis et al. 2018).
    "input_channel": the same with y what the convolution reads, apart from its other readers.
    "weight" and N:M, but not of fisher: |w x dL/dw| (Molchanov et al. 2019, sec. 3, whose square
        ranks the same) or |dL/dw|, with L the mean over the samples, because autograd has no
        gradient of a weight for each sample: what samples say against each other cancels out.
    The sum over positions, so that all layers are on one scale, the change of L. Molchanov et al.
    write the mean, which ranks the same within a layer; over layers they divide by a layer's L2
    norm (`normalised`), which is the same of sum and mean.

    structure: of the network; read anew where it is not at hand.

    Returns name -> float64 importance on the CPU, at least 0: [filter], [input channel], or in the
    weight's shape. The network computes in eval mode without autocast, and is left as it was.
    Raises ValueError for an unknown criterion, granularity or target, for no sample, for a name
    that is not of such a weight, that L does not depend on, or that is grouped but asked
    for by input channel; FloatingPointError, naming the layer, when something is not finite.
    """
    if criterion not in get_args(Kind):
        kinds = ", ".join(get_args(Kind))
        raise ValueError(f"criterion must be one of {kinds}, got {criterion!r}")
    if target not in TARGETS:
        raise ValueError(f"target must be one of {', '.join(TARGETS)}, got {target!r}")
    sums_of = _by_batch(network, criterion, granularity, names, target, structure)
    totals: dict[str, Tensor] = {}
    n_samples = 0
    with _evaluating(network):
        for images, labels in batches:
            sums = sums_of(images, labels)
            n_samples += len(images)
            totals = {n: totals[n] + s for n, s in sums.items()} if totals else sums
    if n_samples == 0:
        raise ValueError(f"{criterion} needs at least one sample, got none")
    importance = {name: (total / n_samples).abs().cpu() for name, total in totals.items()}
    for name, each in importance.items():
        if not torch.isfinite(each).all():
            raise FloatingPointError(
                f"{criterion} must be finite to be ranked, that of {name} is not"
            )
    return importance


def _by_batch(
    network: nn.Module,
    criterion: Kind,
    granularity: str,
    names: Collection[str],
    target: str,
    structure: Structure | None,
) -> Callable[[Tensor, Tensor], dict[str, Tensor]]:
    """What gives a batch's sums over its samples."""
    kind, taylor = granularity_of(granularity).kind, criterion != "gradient"
    if kind in ("weight", "n_of_m") and criterion != "fisher":
        _layers(network, names, ("weight", "bias"))
        return lambda images, labels: _by_weight(network, images, labels, taylor, names, target)
    if kind not in ("filter", "input_channel"):
        raise ValueError(f"{criterion} cannot tell the importance of a {granularity}")
    places = _places(network, kind == "input_channel", names, structure or structure_of(network))
    squared = criterion == "fisher"
    return lambda images, labels: _by_gate(network, images, labels, taylor, places, target, squared)


def _layers(
    network: nn.Module, names: Collection[str], parts: Collection[str] = ("weight",)
) -> dict[str, nn.Module]:
    modules = dict(network.named_modules())
    found: dict[str, nn.Module] = {}
    for name in names:
        layer, _, part = name.rpartition(".")
        module = modules.get(layer)
        if part not in parts or not isinstance(module, (nn.Conv2d, nn.Linear)):
            raise ValueError(
                "only weights of Conv2d and Linear layers can be asked for (biases where single"
                f" weights are), {name!r} is none"
            )
        found[name] = module
    return found


def _places(
    network: nn.Module, at_input: bool, names: Collection[str], structure: Structure
) -> dict[str, tuple[nn.Module, bool]]:
    """Name -> the module at which its groups are gated, and whether at its input."""
    places: dict[str, tuple[nn.Module, bool]] = {}
    norms = structure.norm_of
    for name, layer in _layers(network, names).items():
        if at_input and isinstance(layer, nn.Conv2d) and layer.groups > 1:
            raise ValueError(
                f"a convolution asked for by input channel must have 1 group, {name} is of "
                f"{layer.groups}"
            )
        norm = None if at_input else norms.get(name.removesuffix(".weight"))
        places[name] = (layer if norm is None else network.get_submodule(norm), at_input)
    return places


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Eval mode, so that no BatchNorm moves; gradients, but no autocast. Undone at the end."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        device = next(network.parameters()).device.type
        with torch.enable_grad(), torch.autocast(device, enabled=False):
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def _by_weight(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    taylor: bool,
    names: Collection[str],
    target: str,
) -> dict[str, Tensor]:
    """dL/dw or w x dL/dw, L summed over the samples; float64."""
    # Stand-ins for the parameters: frozen ones are asked for, too, and no .grad is touched.
    weights = {n: network.get_parameter(n).detach().requires_grad_() for n in names}
    outputs = torch.func.functional_call(network, weights, (images,))
    derivatives = _derivatives(outputs, labels, weights, target)
    if not taylor:
        return {n: d.double() for n, d in derivatives.items()}
    return {n: d.double() * weights[n].detach() for n, d in derivatives.items()}


def _by_gate(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    taylor: bool,
    places: Mapping[str, tuple[nn.Module, bool]],
    target: str,
    squared: bool,
) -> dict[str, Tensor]:
    """|dL/dgate|, or half of its square, summed over the samples; float64 [channel]."""
    gates: dict[str, Tensor] = {}

    def shape(name: str, values: Tensor) -> list[int]:
        channel = values.dim() - 1 if isinstance(places[name][0], nn.Linear) else 1
        return [n if d in (0, channel) else 1 for d, n in enumerate(values.shape)]

    def gated(name: str, values: Tensor) -> Tensor:
        # A copy, too: what later writes in place, a ReLU or a residual sum, writes elsewhere.
        if name not in gates:  # a module that runs twice has one gate
            gates[name] = values.new_full(shape(name, values), float(taylor)).requires_grad_()
        return values * gates[name] if taylor else values + gates[name]

    with ExitStack() as hooks:
        for name, (module, at_input) in places.items():
            if at_input:
                hook = module.register_forward_pre_hook(lambda _, x, n=name: gated(n, x[0]))
            else:
                hook = module.register_forward_hook(lambda _, x, y, n=name: gated(n, y))
            hooks.callback(hook.remove)
        outputs = network(images)
    gates_of = {name: gates.get(name) for name in places}
    derivatives = _derivatives(outputs, labels, gates_of, target)
    by_sample = {name: each.flatten(1).double() for name, each in derivatives.items()}
    return {
        name: (each.square() / 2 if squared else each.abs()).sum(0)
        for name, each in by_sample.items()
    }


def _derivatives(
    outputs: Tensor, labels: Tensor, by: Mapping[str, Tensor | None], target: str
) -> dict[str, Tensor]:
    # Sums, so that a sample's derivative does not depend on how many others are in its batch.
    if target == "logit":
        loss = outputs.gather(1, labels[:, None]).sum()
    else:
        loss = F.cross_entropy(outputs, labels, reduction="sum")
    reached = [tensor for tensor in by.values() if tensor is not None]
    found = iter(torch.autograd.grad(loss, reached, allow_unused=True) if reached else ())
    derivatives = {n: None if tensor is None else next(found) for n, tensor in by.items()}
    missing = [n for n, d in derivatives.items() if d is None]
    if missing:
        raise ValueError(
            f"the loss in eval mode must depend on every layer that it tells of, on "
            f"{', '.join(missing)} it does not: exclude them"
        )
    return {n: d for n, d in derivatives.items() if d is not None}

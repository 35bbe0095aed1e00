"""The units of a network: where their activations are read, and which of them nobody reads."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor, nn

from pruning import Structure, read_filters, structure_of

ReadAt = Literal["before_relu", "relu"]


@dataclass(frozen=True)
class UnitLayer:
    """A layer whose output channels are units, and where they are read.

    name: of the module whose output is read. layer: the convolution or Linear layer whose filters
    the units are. title: its name for people, in tables and in metrics.
    activation: still to be applied to what is read; None: nothing.
    rows: a Linear layer's channels are its last dimension, where a convolution's are the second.
    silenced: units that are nowhere above 0 are 0 for all that comes after: a ReLU reads them next,
    and nothing else does.
    """

    name: str
    layer: str
    title: str
    activation: Callable[[Tensor], Tensor] | None = field(default=None, compare=False)
    rows: bool = False
    silenced: bool = False

    def through(self, outputs: Tensor) -> Tensor:
        """The units' activations, [image, unit, ...], of what the module gives; maybe in place."""
        values = outputs if self.activation is None else self.activation(outputs)
        return values.movedim(-1, 1) if self.rows else values


def unit_layers(
    network: nn.Module, read_at: ReadAt = "relu", structure: Structure | None = None
) -> list[UnitLayer]:
    """The layers whose units are scored, in the order of the forward pass; no auxiliary heads.

    read_at: "before_relu": every layer after its BatchNorm, where it has one of its own. "relu":
    what later layers see, so also after the activation that follows, whichever that is; where
    several layers are summed before it (in a ResNet), the sum, whose units are those of the last
    of the longest path, and the other summands are no layers there.
    structure: of the network; read anew where it is not at hand. Of a network that cannot be traced
    every layer is read at itself.
    """
    structure = structure or structure_of(network)
    if not structure.layers:
        names = [n for n, m in network.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
        return [UnitLayer(name, name, name, rows=_is_linear(network, name)) for name in names]
    places = [
        _Place(structure, name, _is_linear(network, name))
        for name in structure.layers
        if name not in structure.heads
    ]
    if read_at == "before_relu":
        return [place.before() for place in places]
    owners = _owners(structure, places)
    return [
        place.after() for place in places if place.activation is None or place in owners.values()
    ]


class _Place:
    """Where one layer's units are."""

    def __init__(self, structure: Structure, layer: str, is_linear: bool) -> None:
        self.steps, self.layer, self.is_linear = structure.steps, layer, is_linear
        self.number = structure.layers[layer]
        self.point = self.number  # the step that gives its units
        if layer in structure.norm_of:
            self.point = structure.readers[self.number][0]
        last = self.point
        while len(structure.readers[last]) == 1:
            reader = structure.readers[last][0]
            if self.steps[reader].op != "add":
                break
            last = reader
        self.is_summed = last != self.point
        readers = structure.readers[last]
        is_activated = len(readers) == 1 and self.steps[readers[0]].activation is not None
        # A sum that nothing rectifies is what its summands are, put together.
        self.activation = readers[0] if is_activated else None
        self.before_activation = last

    def before(self) -> UnitLayer:
        name = self.steps[self.point].read_at or self.layer
        title = self.steps[self.point].name.removesuffix(".bn")
        silenced = False
        if self.activation is not None and not self.is_summed:
            silenced = _is_zero_below_zero(self.steps[self.activation].activation)
        return UnitLayer(name, self.layer, title, rows=self.is_linear, silenced=silenced)

    def after(self) -> UnitLayer:
        before = replace(self.before(), silenced=False)
        if self.activation is None:
            return before
        step, source = self.steps[self.activation], self.steps[self.before_activation]
        title = before.title
        if self.is_summed and step.read_at is not None:  # the block's
            is_module = step.read_at == step.name
            title = step.read_at.rpartition(".")[0] if is_module else step.read_at
        if step.read_at is not None:
            return replace(before, name=step.read_at, title=title or before.title)
        if source.read_at is None:  # neither can be read
            return before
        return replace(before, name=source.read_at, activation=step.activation)


def _owners(structure: Structure, places: list[_Place]) -> dict[int, _Place]:
    """Activation -> the layer whose units it gives: of summands that of the longest path."""
    depth: dict[int, int] = {}
    for i, step in enumerate(structure.steps):
        depth[i] = max((depth[n] for n in step.inputs), default=0) + (step.op == "layer")
    owners: dict[int, _Place] = {}
    for place in places:
        if place.activation is not None:
            other = owners.get(place.activation)
            if other is None or depth[other.number] < depth[place.number]:
                owners[place.activation] = place
    return owners


def _is_linear(network: nn.Module, layer: str) -> bool:
    return isinstance(network.get_submodule(layer), nn.Linear)


def _is_zero_below_zero(activation: Callable[[Tensor], Tensor] | None) -> bool:
    values = torch.tensor([-1e-3, -1.0, -1e3])
    return activation is not None and not bool(activation(values).any())


def through(layers: list[UnitLayer]) -> dict[str, Callable[[Tensor], Tensor]]:
    """Name of the module that is read -> what its outputs go through, where they do."""
    return {
        layer.name: layer.through for layer in layers if layer.rows or layer.activation is not None
    }


def unread_units(
    network: nn.Module, layers: list[UnitLayer], structure: Structure | None = None
) -> dict[str, Tensor]:
    """Title of a layer -> bool [unit], True where no path of nonzero weights leads to the classes.

    Such a unit may look alive, and a score would rate it, but the network does not use it. Of a
    network that cannot be traced nobody knows: all are False.
    """
    structure = structure or structure_of(network)
    nonzero = {
        f"{layer}.{part}": parameter != 0
        for layer in (*structure.layers, *structure.norms)
        for part, parameter in network.get_submodule(layer).named_parameters(recurse=False)
    }
    # Auxiliary heads do nothing in evaluation.
    read = read_filters(network, nonzero, structure, heads=False)
    return {
        layer.title: ~read[layer.layer] if layer.layer in read else _none(network, layer)
        for layer in layers
    }


def zero_filters(network: nn.Module, layers: list[UnitLayer]) -> dict[str, Tensor]:
    """Title of a layer -> bool [unit], True for filters whose weights are all 0; of Linear layers
    none are."""
    return {
        layer.title: _none(network, layer) if layer.rows else _zero(network, layer)
        for layer in layers
    }


def _zero(network: nn.Module, layer: UnitLayer) -> Tensor:
    return (network.get_parameter(f"{layer.layer}.weight") == 0).flatten(1).all(1).cpu()


def _none(network: nn.Module, layer: UnitLayer) -> Tensor:
    weight = network.get_parameter(f"{layer.layer}.weight")
    return torch.zeros(len(weight), dtype=torch.bool)

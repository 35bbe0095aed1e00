"""The units of a network: where their activations are read, and which of them nobody reads."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torchvision.models import VGG, GoogLeNet, ResNet

from pruning import batchnorm_of, read_filters, structure_of

ReadAt = Literal["before_relu", "relu"]

_BLOCKS = ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")  # of GoogLeNet


@dataclass(frozen=True)
class UnitLayer:
    """A layer whose output channels are units."""

    name: str  # of a module
    convolution: str | None = None  # whose filters the units are; the last summand of a sum
    rectified: bool = False  # to be read after a ReLU that is no module of its own
    before_relu: bool = False  # a ReLU reads it next, and nothing else does

    @property
    def title(self) -> str:
        """Its name for people, and in metrics: GoogLeNet's blocks are named alike wherever read."""
        return self.name.removesuffix(".bn")


def unit_layers(network: nn.Module, read_at: ReadAt = "relu") -> list[UnitLayer]:
    """The layers whose units are scored, from input to output; auxiliary heads are left out.

    read_at: "relu": what later layers see: every convolution after its BatchNorm and ReLU, in
    ResNet-50 every block after its sum; linear layers after their ReLU. "before_relu": every
    convolution after its BatchNorm, where it has one, and linear layers as they are; ResNet-50's
    sums are no layers there, its downsampling convolutions are.
    """
    return _after_relu(network) if read_at == "relu" else _before_relu(network)


def _before_relu(network: nn.Module) -> list[UnitLayer]:
    # MIS does not change under a positive scale, a shift, or a swap of both ends, so that a
    # convolution and its BatchNorm have the same; the latter tells which units the ReLU silences.
    norms = batchnorm_of(network)
    layers = []
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d) and not name.startswith("aux"):
            read = norms.get(name, name)
            added = isinstance(network, ResNet) and not read.endswith(("bn1", "bn2"))
            layers.append(UnitLayer(read, name, before_relu=not added))
    linear = _linear(network)
    return layers + [UnitLayer(name, before_relu=name != linear[-1]) for name in linear]


def _after_relu(network: nn.Module) -> list[UnitLayer]:
    if isinstance(network, GoogLeNet):
        blocks = [network.get_submodule(f"inception{block}") for block in _BLOCKS]
        inside = [
            f"inception{block}.{name.removesuffix('.conv')}"
            for block, module in zip(_BLOCKS, blocks, strict=True)
            for name, m in module.named_modules()
            if isinstance(m, nn.Conv2d)
        ]
        names = ["conv1", "conv2", "conv3", *inside]
        return [UnitLayer(n, f"{n}.conv") for n in names] + [UnitLayer("fc")]
    if isinstance(network, ResNet):
        layers = [UnitLayer("bn1", "conv1", rectified=True)]
        for stage in ("layer1", "layer2", "layer3", "layer4"):
            for block, _ in network.get_submodule(stage).named_children():
                here = f"{stage}.{block}"
                layers += [
                    UnitLayer(f"{here}.bn1", f"{here}.conv1", rectified=True),
                    UnitLayer(f"{here}.bn2", f"{here}.conv2", rectified=True),
                    UnitLayer(here, f"{here}.conv3"),
                ]
        return [*layers, UnitLayer("fc")]
    if isinstance(network, VGG):
        layers, convolution = [], None
        for i, module in enumerate(network.features):
            if isinstance(module, nn.Conv2d):
                convolution = f"features.{i}"
            elif isinstance(module, nn.ReLU):
                layers.append(UnitLayer(f"features.{i}", convolution))
        linear = ("classifier.1", "classifier.4", "classifier.6")  # two after their ReLU
        return layers + [UnitLayer(name) for name in linear]
    raise ValueError(
        f"a network must be a GoogLeNet, a ResNet or a VGG, got a {type(network).__name__}"
    )


def _linear(network: nn.Module) -> list[str]:
    return [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear) and not name.startswith("aux")
    ]


def unread_units(network: nn.Module, layers: list[UnitLayer]) -> dict[str, Tensor]:
    """Layer -> bool [unit], True where no path of nonzero weights leads on to the classes.

    Such a unit may look alive, and a score would rate it, but the network does not use it.
    """
    structure = structure_of(network)
    nonzero = {
        f"{layer}.{part}": parameter != 0
        for layer in (*structure.layers, *structure.norms)
        for part, parameter in network.get_submodule(layer).named_parameters()
    }
    # Auxiliary heads do nothing in evaluation.
    read = read_filters(network, nonzero, structure, heads=False)
    unread = {}
    for layer in layers:
        if layer.convolution is None:
            unread[layer.name] = _no_unit(network, layer)
        else:
            unread[layer.name] = ~read[layer.convolution]
    return unread


def zero_filters(network: nn.Module, layers: list[UnitLayer]) -> dict[str, Tensor]:
    """Layer -> bool [unit], True for filters whose weights are all 0; linear layers have none."""
    zero = {}
    for layer in layers:
        if layer.convolution is None:
            zero[layer.name] = _no_unit(network, layer)
        else:
            weight = network.get_parameter(f"{layer.convolution}.weight")
            zero[layer.name] = (weight == 0).flatten(1).all(1)
    return zero


def _no_unit(network: nn.Module, layer: UnitLayer) -> Tensor:
    module = network.get_submodule(layer.name)
    width = module.out_features if isinstance(module, nn.Linear) else 4096  # VGG's ReLUs
    return torch.zeros(int(width), dtype=torch.bool)

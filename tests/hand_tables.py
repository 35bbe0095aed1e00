"""What feeds what in GoogLeNet, ResNet-50 and VGG-16, by hand: golden tables of the trace."""

from torch import nn
from torchvision.models import VGG, GoogLeNet, ResNet
from torchvision.models.resnet import Bottleneck

Spans = list[list[str]]
"""The input of a layer: channel spans end to end, each the sum of these convolutions' filters."""

BLOCKS = ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")
_ENDS = ("branch1", "branch2.1", "branch3.1", "branch4.1")  # what a block concatenates, in order
_STARTS = ("branch1", "branch2.0", "branch3.0", "branch4.1")  # what reads its input


def filter_sources(network: nn.Module) -> dict[str, Spans]:
    """Name of a Conv2d or Linear -> what its input channels are; of all but the first.

    The auxiliary heads of GoogLeNet are among the readers where there are any. Linear layers that
    read other linear layers are left out. Raises ValueError for another network.
    """
    if isinstance(network, GoogLeNet):
        return _googlenet(network)
    if isinstance(network, ResNet) and isinstance(network.layer1[0], Bottleneck):
        return _resnet(network)
    if isinstance(network, VGG):
        return _vgg(network)
    raise ValueError(
        "a network must be a GoogLeNet, a ResNet of bottlenecks or a VGG, got a "
        f"{type(network).__name__}"
    )


def _googlenet(network: GoogLeNet) -> dict[str, Spans]:
    sources: dict[str, Spans] = {"conv2.conv": [["conv1.conv"]], "conv3.conv": [["conv2.conv"]]}
    before: Spans = [["conv3.conv"]]
    for block in BLOCKS:
        here = f"inception{block}"
        for start, end in zip(_STARTS, _ENDS, strict=True):
            sources[f"{here}.{start}.conv"] = before
            if start != end:
                sources[f"{here}.{end}.conv"] = [[f"{here}.{start}.conv"]]
        before = [[f"{here}.{end}.conv"] for end in _ENDS]
    sources["fc"] = before
    for head, block in (("aux1", "4a"), ("aux2", "4d")):
        if getattr(network, head) is not None:
            sources[f"{head}.conv.conv"] = [[f"inception{block}.{end}.conv"] for end in _ENDS]
            sources[f"{head}.fc1"] = [[f"{head}.conv.conv"]]
    return sources


def _resnet(network: ResNet) -> dict[str, Spans]:
    """Bottlenecks: a block's output is the sum of its conv3 and of all before it in its stage."""
    sources: dict[str, Spans] = {}
    stream = ["conv1"]
    for stage in ("layer1", "layer2", "layer3", "layer4"):
        for block, module in network.get_submodule(stage).named_children():
            here = f"{stage}.{block}"
            sources[f"{here}.conv1"] = [stream]
            sources[f"{here}.conv2"] = [[f"{here}.conv1"]]
            sources[f"{here}.conv3"] = [[f"{here}.conv2"]]
            if module.downsample is not None:
                sources[f"{here}.downsample.0"] = [stream]
                stream = [f"{here}.downsample.0"]
            stream = [*stream, f"{here}.conv3"]
    sources["fc"] = [stream]
    return sources


def _vgg(network: VGG) -> dict[str, Spans]:
    convolutions = [
        f"features.{i}" for i, m in enumerate(network.features) if isinstance(m, nn.Conv2d)
    ]
    readers = [*convolutions[1:], "classifier.0"]
    return {reader: [[name]] for name, reader in zip(convolutions, readers, strict=True)}

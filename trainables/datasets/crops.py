"""Which part of an image is seen: drawn for training, the middle for evaluation."""

import math

import torch
from torch import Generator, Tensor

_TRIES = 10  # torchvision's RandomResizedCrop gives up after as many
_AT_ONCE = 2**16  # images: all of ImageNet at once would take a gigabyte for a moment


def random_crops(
    shapes: Tensor,
    generator: Generator,
    *,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Tensor:
    """A random part of each image, distributed as torchvision's RandomResizedCrop draws them.

    Many images at once: one by one the drawing costs as much as the resizing.
    shapes: int64 [image, 2], height and width. scale: of the part's area, relative to the image's.
    ratio: of its width to its height, uniform in the logarithm.

    Returns int64 [image, 4]: top, left, height, width.
    """
    parts = [_draw(part, generator, scale, ratio) for part in shapes.split(_AT_ONCE)]
    return torch.cat(parts)


def _draw(
    shapes: Tensor, generator: Generator, scale: tuple[float, float], ratio: tuple[float, float]
) -> Tensor:
    n = len(shapes)
    height, width = shapes[:, :1].double(), shapes[:, 1:].double()
    drawn = torch.rand(2, n, _TRIES, generator=generator, dtype=torch.float64)
    area = height * width * (scale[0] + drawn[0] * (scale[1] - scale[0]))
    aspect = torch.exp(math.log(ratio[0]) + drawn[1] * math.log(ratio[1] / ratio[0]))
    heights, widths = (area / aspect).sqrt().round(), (area * aspect).sqrt().round()
    fits = (heights > 0) & (heights <= height) & (widths > 0) & (widths <= width)
    first = fits.int().argmax(1, keepdim=True)
    found = fits.any(1)
    # Else the largest part in the middle that has a legal ratio.
    fallback_height = torch.minimum(height, (width / ratio[0]).round())[:, 0]
    fallback_width = torch.minimum(width, (height * ratio[1]).round())[:, 0]
    part_height = torch.where(found, heights.gather(1, first)[:, 0], fallback_height)
    part_width = torch.where(found, widths.gather(1, first)[:, 0], fallback_width)
    room = torch.stack([height[:, 0] - part_height, width[:, 0] - part_width])
    place = torch.rand(2, n, generator=generator, dtype=torch.float64)
    corner = torch.where(found, (place * (room + 1)).floor(), (room / 2).floor())
    return torch.stack([corner[0], corner[1], part_height, part_width], 1).long()


def middle_crops(shapes: Tensor, size: int) -> Tensor:
    """The square of `size` pixels in the middle of each image: int64 [image, 4], as above.

    Rounded as torchvision's CenterCrop does.
    """
    corner = ((shapes - size).double() / 2).round().long()
    return torch.cat([corner, torch.full_like(shapes, size)], 1)

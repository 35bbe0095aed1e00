"""Where the cells of a map lie in the picture, and how a picture's pixels lie between them."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor


@dataclass(frozen=True)
class Place:
    """Where the cells of a layer's maps are centred in the picture, along either axis, as fractions
    of its side: cell c at first + c x step."""

    first: float
    step: float  # positive


def position_of(n_cells: int, n_pixels: int, place: Place | None) -> Tensor:
    """float64 [pixel]: where the centre of each lies, that of cell c being c + 1."""
    pixel = torch.arange(n_pixels, dtype=torch.float64) + 0.5
    if place is None:
        return pixel * n_cells / n_pixels + 0.5
    return (pixel / n_pixels - place.first) / place.step + 1


@dataclass(frozen=True)
class Axis:
    """How n pixels lie between the cells of one axis of a map.

    Interval i lies between the centres of cells i - 1 and i; the outer two hold the pixels beyond
    the outermost centres, where both of their cells are the outermost.
    """

    first: Tensor  # int64 [interval], its first pixel
    n_pixels: Tensor  # float32 [interval]
    weight: Tensor  # float32 [interval], of the upper cell at the first pixel
    step: float  # by which the weight grows from pixel to pixel
    most: int  # pixels of an interval


@lru_cache(maxsize=64)
def axis_of(n_cells: int, n_pixels: int, place: Place | None, device: torch.device) -> Axis:
    position = position_of(n_cells, n_pixels, place)
    interval = position.floor().long().clamp(0, n_cells)
    counts = torch.bincount(interval, minlength=n_cells + 1)
    first = counts.cumsum(0) - counts
    weight = position[first.clamp(max=n_pixels - 1)] - torch.arange(n_cells + 1)
    return Axis(
        first=first.to(device),
        n_pixels=counts.float().to(device),
        weight=weight.float().to(device),
        step=n_cells / n_pixels if place is None else 1 / (place.step * n_pixels),
        most=int(counts.max()),
    )

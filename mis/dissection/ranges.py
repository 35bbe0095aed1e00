"""The first pass of a dissection: each unit's threshold, and whether it ever changes."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mis.dissection.quantiles import UpperQuantile, values_above, values_needed
from mis.picking import not_finite
from mis.score.units import CONSTANT_RANGE


def require_images(n_images: int, quantile: float, layer: str, maps: Tensor) -> None:
    """Raise ValueError where the quantile of a unit's values over the images is less than one.

    maps: [batch, unit, h, w], as the layer gives them.
    """
    height, width = maps.shape[2:]
    if values_above(n_images * height * width, quantile) == 0:
        raise ValueError(
            f"a quantile of {quantile:g} needs at least "
            f"{math.ceil(values_needed(quantile) / (height * width))} images at the "
            f"{height} x {width} maps of layer {layer!r}, got {n_images}"
        )


@dataclass(frozen=True)
class Units:
    """What the first pass says of a layer's units; all [unit], on the device of the maps."""

    threshold: Tensor
    dead: Tensor
    constant: Tensor


class Range:
    """The first pass over one layer: thresholds, and which units ever differ from themselves."""

    def __init__(self, layer: str, maps: Tensor, n_images: int, quantile: float) -> None:
        require_images(n_images, quantile, layer, maps)
        self.layer = layer
        self.values = UpperQuantile(n_images * maps.shape[2] * maps.shape[3], quantile)
        self.lowest = maps.new_full((maps.shape[1],), math.inf)
        self.highest = -self.lowest

    def add(self, values: Tensor) -> Tensor | None:
        """values: [position, unit]. Returns what `UpperQuantile.add` does."""
        self._refuse_not_finite(values)
        # Most units show their range in the first batch, and are not looked at again.
        narrow = self._is_narrow().nonzero().squeeze(1)
        if len(narrow):
            of_narrow = values if len(narrow) == values.shape[1] else values[:, narrow]
            self.lowest[narrow] = torch.minimum(self.lowest[narrow], of_narrow.amin(0))
            self.highest[narrow] = torch.maximum(self.highest[narrow], of_narrow.amax(0))
        return self.values.add(values)

    def result(self) -> Units:
        dead = self.values.maximum() <= 0
        return Units(self.values.result(), dead, self._is_narrow() & ~dead)

    def _is_narrow(self) -> Tensor:
        return ~(self.highest - self.lowest >= CONSTANT_RANGE)

    def _refuse_not_finite(self, values: Tensor) -> None:
        bad = not_finite(values)
        if bad:
            raise FloatingPointError(
                f"activations must be finite, but channel {bad[0]} of layer {self.layer!r} is NaN "
                f"or infinite ({len(bad)} of its {values.shape[1]} channels are, on some image)"
            )

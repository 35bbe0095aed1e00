"""Is a unit still the one it was? Correlations of what units of two networks answer to images."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Twins:
    """Of each unit of a network, beside another network of the same layers.

    twin: Pearson's correlation with the unit of its own number, float64 [unit]. match: with the one
    of its layer that it goes with best. match_channel: that one's number in the layer, int64, -1
    where there is none. NaN where a unit is the same on all images, in either network.
    """

    twin: Tensor
    match: Tensor
    match_channel: Tensor


def twins(own: Tensor, other: Tensor, layer_of: Tensor) -> Twins:
    """What units of `own` have become, or were, in `other`.

    own, other: float [image, unit], what the units of two networks answer to the same images.
    layer_of: int64 [unit], each layer's units side by side. Raises ValueError for other shapes, and
    fewer than three images, of which any two correlate.
    """
    if own.shape != other.shape or own.shape[1:] != layer_of.shape or len(own) < 3:
        raise ValueError(
            "units must be compared on the same three images or more, [image, unit] of both and a "
            f"layer of each, got {tuple(own.shape)}, {tuple(other.shape)}, {tuple(layer_of.shape)}"
        )
    _, sizes = layer_of.unique_consecutive(return_counts=True)
    each = zip(own.split(sizes.tolist(), 1), other.split(sizes.tolist(), 1), strict=True)
    parts = [_of_layer(mine, theirs) for mine, theirs in each]
    twin, match, channel = (torch.cat(column) for column in zip(*parts, strict=True))
    return Twins(twin, match, channel)


def _of_layer(own: Tensor, other: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    correlation = (_standard(own).T @ _standard(other)).clamp(-1, 1)  # NaN stays NaN
    twin = correlation.diagonal().clone()
    lowest = correlation.nan_to_num(nan=-torch.inf)
    match, channel = lowest.max(dim=1)
    # Of units that are alike to the last digit a unit is its own best match.
    itself = twin >= match - 1e-12
    channel = torch.where(itself, torch.arange(len(twin)), channel)
    none = match.isinf()
    return twin, match.masked_fill(none, torch.nan), channel.masked_fill(none, -1)


def _standard(values: Tensor) -> Tensor:
    """float64 [image, unit] of mean 0 and length 1; NaN for units that are constant."""
    constant = values.amax(0) == values.amin(0)
    centred = values.double() - values.double().mean(0)
    found = centred / centred.square().sum(0).sqrt()
    return found.masked_fill(constant, torch.nan)

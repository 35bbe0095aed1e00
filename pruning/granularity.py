"""What is kept or pruned together? The axes of a convolution's weight that share one decision."""

from torch import Tensor

# The dimensions of [filter, input channel, height, width] that a group spans.
_SPANNED = {"weight": (), "filter": (1, 2, 3), "input_channel": (0, 2, 3)}

GRANULARITIES = tuple(_SPANNED)


def _spanned(granularity: str) -> tuple[int, ...]:
    if granularity not in _SPANNED:
        raise ValueError(
            f"granularity must be one of {', '.join(GRANULARITIES)}, got {granularity!r}"
        )
    return _SPANNED[granularity]


def group_scores(scores: Tensor, granularity: str) -> Tensor:
    """Score of every group: the mean over its weights.

    scores: [filter, input channel, height, width]. Returns them as they are for "weight",
    [filter] for "filter", [input channel] for "input_channel". Within a layer all groups are of
    one size, so the mean ranks as the sums of the papers do (Li et al. 2017; von Rad & Seuffert's
    `prune_channels_by_l1_norm`); between layers it does not punish small filters for their size.
    """
    spanned = _spanned(granularity)
    # In float64: a sum in float32 depends on the order of the summands, and so could reorder
    # groups of nearly equal score from one device to another.
    return scores.double().mean(dim=spanned) if spanned else scores


def kept_groups(keep: Tensor, granularity: str) -> Tensor:
    """Of which groups a mask keeps any weight: unfolds what `expand_groups` made, exactly."""
    spanned = _spanned(granularity)
    return keep.amax(dim=spanned) if spanned else keep


def expand_groups(keep: Tensor, granularity: str, shape: tuple[int, ...]) -> Tensor:
    """The bool mask of a weight of `shape` whose groups are kept as `keep` says (True = kept)."""
    spanned = _spanned(granularity)
    for dim in spanned:
        keep = keep.unsqueeze(dim)
    return keep.expand(shape).contiguous()

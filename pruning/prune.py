"""One round of pruning: criterion, then granularity, then selection."""

from collections.abc import Collection, Mapping

import torch
from torch import Generator, Tensor, nn

from pruning.criteria import score_weights
from pruning.granularity import expand_groups, group_scores
from pruning.masks import KeepMask, prunable_weights, with_batchnorm
from pruning.selection import keep_top


def choose_keep(
    network: nn.Module,
    rate: float,
    *,
    granularity: str,
    scope: str,
    criterion: str,
    generator: Generator,
    exclude: Collection[str] = (),
    within: KeepMask | None = None,
    batchnorm_follows: bool = True,
) -> KeepMask:
    """The mask of `network` with the fraction `rate` of its groups pruned; changes nothing.

    rate: cumulative, in [0, 1), of the groups of the granularity; floor a pool.
    within: the mask of the round before; what is pruned there stays pruned.
    batchnorm_follows: whether a filter without a weight left takes its BatchNorm weight and bias
        along (the released runs of von Rad & Seuffert left them).

    Returns masks (on the network's device) of every prunable weight, and of the BatchNorms.
    """
    weights = prunable_weights(network, exclude)
    groups = _score_groups(weights, criterion, granularity, generator)
    kept_before = None
    if within is not None:
        # A group is kept so far if any of its weights is: unfolding a mask is exact.
        kept_before = {
            name: group_scores(within[name].cpu().double(), granularity) > 0 for name in weights
        }
    kept = keep_top(groups, rate, scope=scope, within=kept_before)
    keep: KeepMask = {
        name: expand_groups(kept[name], granularity, tuple(weight.shape)).to(weight.device)
        for name, weight in weights.items()
    }
    return with_batchnorm(network, keep) if batchnorm_follows else keep


def _score_groups(
    weights: Mapping[str, Tensor], criterion: str, granularity: str, generator: Generator
) -> dict[str, Tensor]:
    scores = score_weights(criterion, weights, generator)
    groups = {name: group_scores(score, granularity) for name, score in scores.items()}
    if criterion == "random":
        # A mean of noise is narrower the larger the group, so that a global ranking would prune
        # by size: chance has to be drawn for each group itself.
        return {
            name: torch.rand(group.shape, generator=generator, dtype=torch.float64)
            for name, group in groups.items()
        }
    return groups

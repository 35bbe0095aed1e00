"""One round of pruning: scores, then selection, then the masks of whole groups."""

from collections.abc import Collection, Mapping

from torch import Tensor, nn

from pruning.granularity import expand_groups, group_scores, kept_groups
from pruning.masks import KeepMask, prunable_weights, with_batchnorm
from pruning.selection import keep_top, n_pruned


def choose_keep(
    network: nn.Module,
    rate: float,
    scores: Mapping[str, Tensor],
    *,
    granularity: str,
    scope: str,
    exclude: Collection[str] = (),
    within: KeepMask | None = None,
    most_important_first: bool = False,
    batchnorm_follows: bool = True,
) -> KeepMask:
    """The mask of `network` with the fraction `rate` of its groups pruned; changes nothing.

    rate: cumulative, in [0, 1), of the groups of the granularity; floor a pool.
    scores: of every group of every prunable weight, as `score_groups` gives them.
    within: the mask of the round before; what is pruned there stays pruned.
    most_important_first: prunes the highest scores instead, a control that must do worse than
        chance if the scores mean anything.
    batchnorm_follows: whether a filter without a weight left takes its BatchNorm weight and bias
        along (the released runs of von Rad & Seuffert left them).

    Returns masks (on the network's device) of every prunable weight, and of the BatchNorms.
    Raises ValueError when `require_rate` does, and as `keep_top` does.
    """
    weights = prunable_weights(network, exclude)
    require_rate(weights, rate, granularity=granularity, scope=scope)
    kept_before = None
    if within is not None:
        kept_before = {name: kept_groups(within[name].cpu(), granularity) for name in weights}
    chosen = {name: -scores[name] if most_important_first else scores[name] for name in weights}
    kept = keep_top(chosen, rate, scope=scope, within=kept_before)
    keep: KeepMask = {
        name: expand_groups(kept[name], granularity, tuple(weight.shape)).to(weight.device)
        for name, weight in weights.items()
    }
    return with_batchnorm(network, keep) if batchnorm_follows else keep


def require_rate(
    weights: Mapping[str, Tensor], rate: float, *, granularity: str, scope: str
) -> None:
    """Raise ValueError where so much is pruned over all layers that some must lose everything.

    weights: as `prunable_weights` gives them. A layer that is ranked alone always keeps a group.
    """
    if scope != "global":
        return
    counts = [group_scores(w.detach(), granularity).numel() for w in weights.values()]
    n_kept = sum(counts) - n_pruned(rate, sum(counts))
    if n_kept < len(counts):
        raise ValueError(
            f"a rate must leave at least one {granularity.replace('_', ' ')} a layer: {rate:g} of "
            f"{sum(counts)} leaves {n_kept} for {len(counts)} layers"
        )

"""One round of pruning: importance, then selection, then the masks of whole groups."""

from collections.abc import Collection, Iterable, Mapping

import torch
from torch import Generator, Tensor, nn

from pruning.following import with_followers
from pruning.granularity import Granularity, granularity_of
from pruning.masks import KeepMask, prunable_weights
from pruning.selection import keep_numbers, keep_top, n_pruned
from pruning.structure import Structure, structure_of


def choose_keep(
    network: nn.Module,
    rate: float,
    importance: Mapping[str, Tensor],
    *,
    granularity: str,
    scope: str,
    exclude: Collection[str] = (),
    within: KeepMask | None = None,
    most_important_first: bool = False,
    batchnorm_follows: bool = True,
    structure: Structure | None = None,
) -> KeepMask:
    """The mask of `network` with the fraction `rate` of its groups pruned; changes nothing.

    rate: cumulative, in [0, 1), of the groups of the granularity; floor per pool.
    importance: of every group of every prunable weight, as `importance_of_groups` gives it.
    within: the mask of the round before; what is pruned there stays pruned.
    most_important_first: a control that must do worse than chance if the importance means
        anything.
    batchnorm_follows: whether a filter without a weight left takes its BatchNorm weight and bias
        along (the released runs of von Rad & Seuffert left them).
    structure: of the network; read anew where it is not at hand.

    Returns masks (on the network's device) of every prunable weight, and of the BatchNorms.
    Raises ValueError when `require_rate` does, and as `keep_top` does.
    """
    weights, groups = prunable_weights(network, exclude), granularity_of(granularity)
    require_rate(weights, rate, granularity=granularity, scope=scope)
    kept_before = None if within is None else _kept(within, weights, groups)
    sign = -1 if most_important_first else 1
    kept = keep_top(
        {name: sign * importance[name] for name in weights},
        rate,
        scope=scope,
        within=kept_before,
        pools=None if groups.m is None else groups.pools,
    )
    structure = structure or structure_of(network)
    return _masks(network, weights, kept, groups, structure if batchnorm_follows else None)


def choose_by_chance(
    network: nn.Module,
    numbers: Mapping[str, int],
    generator: Generator,
    *,
    granularity: str,
    within: KeepMask | None = None,
    batchnorm_follows: bool = True,
    structure: Structure | None = None,
) -> KeepMask:
    """The mask that keeps so many groups of each layer, which of them by chance; changes nothing.

    A control of a global ranking that keeps as many groups of each layer as the ranking did: what
    is left of the difference is which groups were chosen, and not in which layers.

    numbers: name of a weight -> groups to keep, as `kept_numbers` counts them; of all the weights
        that may be pruned. generator: on the CPU, so that a seed prunes alike on every device.
    within, batchnorm_follows, structure, and what is returned: as in `choose_keep`.
    Raises ValueError where `within` has fewer groups left.
    """
    weights = {name: network.get_parameter(name) for name in numbers}
    groups = granularity_of(granularity)
    noise = {
        name: torch.rand(
            groups.means(weight.detach()).shape, generator=generator, dtype=torch.float64
        )
        for name, weight in weights.items()
    }
    kept_before = None if within is None else _kept(within, weights, groups)
    kept = keep_numbers(noise, numbers, kept_before)
    structure = structure or structure_of(network)
    return _masks(network, weights, kept, groups, structure if batchnorm_follows else None)


def kept_numbers(
    network: nn.Module, keep: KeepMask, granularity: str, exclude: Collection[str] = ()
) -> dict[str, tuple[int, int]]:
    """Name of a prunable weight -> how many of its groups the mask keeps, and how many there are.

    A filter or an input channel is kept while any of its weights is.
    """
    kept = _kept(keep, prunable_weights(network, exclude), granularity_of(granularity))
    return {name: (int(groups.sum()), groups.numel()) for name, groups in kept.items()}


def _kept(keep: KeepMask, names: Iterable[str], groups: Granularity) -> dict[str, Tensor]:
    return {name: groups.kept(keep[name].cpu()) for name in names}


def _masks(
    network: nn.Module,
    weights: Mapping[str, Tensor],
    kept: Mapping[str, Tensor],
    groups: Granularity,
    structure: Structure | None,
) -> KeepMask:
    """structure: None where nothing follows a filter that is empty."""
    keep: KeepMask = {
        name: groups.expanded(kept[name], tuple(weight.shape)).to(weight.device)
        for name, weight in weights.items()
    }
    return keep if structure is None else with_followers(network, keep, structure)


def require_rate(
    weights: Mapping[str, Tensor], rate: float, *, granularity: str, scope: str
) -> None:
    """Raise ValueError, by their names, for layers that do not have whole pools of groups, and
    where so much is pruned over all layers that some must lose everything.

    weights: as `prunable_weights` gives them. A layer that is ranked alone always keeps a group.
    """
    groups = granularity_of(granularity)
    if groups.m is not None:
        _require_blocks(weights, groups.m, granularity)
    if scope != "global":
        return
    counts = [groups.number(weight.shape) for weight in weights.values()]
    n_kept = sum(counts) - n_pruned(rate, sum(counts))
    if n_kept < len(counts):
        raise ValueError(
            f"a rate must leave at least one {granularity.replace('_', ' ')} a layer: {rate:g} of "
            f"{sum(counts)} leaves {n_kept} for {len(counts)} layers"
        )


def _require_blocks(weights: Mapping[str, Tensor], m: int, granularity: str) -> None:
    broken = {n: weight.shape[1] for n, weight in weights.items() if weight.shape[1] % m}
    if broken:
        layers = ", ".join(f"{n.removesuffix('.weight')} ({k})" for n, k in broken.items())
        raise ValueError(
            f"granularity {granularity} needs input channels in whole blocks of {m}, which "
            f"{layers} have not: prune.exclude must name them"
        )

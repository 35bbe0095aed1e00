"""One round of pruning: importance, then which groups stay, then their masks."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Generator, Tensor, nn

from pruning.following import with_followers
from pruning.granularity import granularity_of
from pruning.masks import KeepMask
from pruning.prunable import NeedsExclusion
from pruning.selection import keep_numbers, keep_top, n_pruned
from pruning.structure import Structure

Groups = dict[str, Tensor]
"""Name of a weight -> bool per group of it, True = kept: what a round of pruning decides. In the
shape of `Granularity.means`, on the CPU."""


def choose_groups(
    importance: Mapping[str, Tensor],
    rate: float,
    *,
    granularity: str,
    scope: str,
    within: Groups | None = None,
    most_important_first: bool = False,
) -> Groups:
    """Keep the most important groups, so that the fraction `rate` of them is pruned.

    importance: of every group of every prunable weight, as `importance_of_groups` gives it.
    rate: cumulative, in [0, 1), of the groups; floor per pool.
    within: the decision of the round before; what is pruned there stays pruned.
    most_important_first: a control that must do worse than chance if the importance means
        anything.
    Raises ValueError where some layer must lose everything, and as `keep_top` does.
    """
    groups = granularity_of(granularity)
    if scope == "global":
        _require_some_left([each.numel() for each in importance.values()], rate, granularity)
    sign = -1 if most_important_first else 1
    return keep_top(
        {name: sign * each for name, each in importance.items()},
        rate,
        scope=scope,
        within=within,
        pools=None if groups.m is None else groups.pools,
    )


def choose_by_rates(
    importance: Mapping[str, Tensor],
    rates: Mapping[str, float],
    *,
    within: Groups | None = None,
    most_important_first: bool = False,
) -> Groups:
    """Keep the most important groups of each weight, pruned at a rate of its own.

    rates: name of a weight -> cumulative, in [0, 1); floor per weight. The others, and what is
    raised: as in `choose_groups`.
    """
    sign = -1 if most_important_first else 1
    kept: Groups = {}
    for name, each in importance.items():
        before = None if within is None else {name: within[name]}
        kept |= keep_top({name: sign * each}, rates[name], scope="layer", within=before)
    return kept


def choose_by_chance(
    weights: Mapping[str, Tensor],
    numbers: Mapping[str, int],
    generator: Generator,
    *,
    granularity: str,
    within: Groups | None = None,
) -> Groups:
    """Keep so many groups of each weight, which of them by chance.

    A control of a global ranking that keeps as many groups of each layer as the ranking did: what
    is left of the difference is which groups were chosen, and not in which layers.

    weights: those that may be pruned. numbers: name of a weight -> groups to keep, as
        `kept_numbers` counts them. generator: on the CPU, so that a seed prunes alike everywhere.
    within: as in `choose_groups`. Raises ValueError where it has fewer groups left.
    """
    means = granularity_of(granularity).means
    noise = {
        name: torch.rand(
            means(weights[name].detach()).shape, generator=generator, dtype=torch.float64
        )
        for name in numbers
    }
    return keep_numbers(noise, numbers, within)


def kept_numbers(groups: Groups) -> dict[str, tuple[int, int]]:
    """Name of a weight -> how many of its groups are kept, and how many there are."""
    return {name: (int(kept.sum()), kept.numel()) for name, kept in groups.items()}


def groups_of(keep: KeepMask, names: Iterable[str], granularity: str) -> Groups:
    """Of which groups of these weights masks keep anything."""
    groups = granularity_of(granularity)
    return {name: groups.kept(keep[name].cpu()) for name in names}


def masks_of(
    network: nn.Module, groups: Groups, granularity: str, structure: Structure | None
) -> KeepMask:
    """The masks that a decision means, on the network's device.

    structure: of the network; None where nothing follows a filter that has no weight left: neither
        its bias nor its BatchNorm (as in the released runs of von Rad & Seuffert).
    """
    expanded = granularity_of(granularity).expanded
    keep: KeepMask = {}
    for name, kept in groups.items():
        weight = network.get_parameter(name)
        device = "cpu" if weight.is_meta else weight.device  # an outline has shapes alone
        keep[name] = expanded(kept, tuple(weight.shape)).to(device)
    return keep if structure is None else with_followers(network, keep, structure)


def require_rate(
    weights: Mapping[str, Tensor], rate: float, *, granularity: str, scope: str
) -> None:
    """Raise ValueError, by their names, for layers that do not have whole pools of groups, and
    where so much is pruned over all layers that some must lose everything, or so little that
    nothing is.

    weights: as `prunable_weights` gives them. A layer that is ranked alone always keeps a group.
    """
    groups = granularity_of(granularity)
    if groups.m is not None:
        _require_blocks(weights, groups.m, granularity)
    numbers = [groups.number(weight.shape) for weight in weights.values()]
    _require_some_gone([sum(numbers)] if scope == "global" else numbers, rate, granularity)
    if scope == "global":
        _require_some_left(numbers, rate, granularity)


def _require_some_gone(pools: Sequence[int], rate: float, granularity: str) -> None:
    if not any(n_pruned(rate, n) for n in pools):
        raise ValueError(
            f"a rate must take at least one {granularity.replace('_', ' ')}: {rate:g} of "
            f"{max(pools):,}, the largest pool, takes none"
        )


def _require_some_left(counts: Sequence[int], rate: float, granularity: str) -> None:
    n_kept = sum(counts) - n_pruned(rate, sum(counts))
    if n_kept < len(counts):
        raise ValueError(
            f"a rate must leave at least one {granularity.replace('_', ' ')} per layer: {rate:g} "
            f"of {sum(counts)} leaves {n_kept} for {len(counts)} layers"
        )


def _require_blocks(weights: Mapping[str, Tensor], m: int, granularity: str) -> None:
    broken = {n: weight.shape[1] for n, weight in weights.items() if weight.shape[1] % m}
    if broken:
        numbers = {name.removesuffix(".weight"): n for name, n in broken.items()}
        layers = ", ".join(f"{name} ({n})" for name, n in numbers.items())
        raise NeedsExclusion(
            f"granularity {granularity} needs input channels in whole blocks of {m}, which "
            f"{layers} have not",
            numbers,
        )

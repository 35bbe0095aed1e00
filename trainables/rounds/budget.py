"""What a round keeps where the network that is left may cost so much and no more."""

from collections.abc import Mapping

import torch
from torch import Tensor

from pruning import (
    Groups,
    OutOfReach,
    budget_of,
    choose_within,
    counts,
    granularity_of,
    masks_of,
    rounded_up,
    survivors_of,
)
from trainables.config import PruneConfig
from trainables.networks import positions_of
from trainables.rounds.pruned import PrunedNetwork


class Bill:
    """What a network costs with what is pruned taken out of it, as a share of what it costs whole.

    The compacted network is counted, with all that is tied, though it is not made.
    """

    def __init__(self, pruned: PrunedNetwork, prune: PruneConfig, pixels: int) -> None:
        self._pruned, self._prune = pruned, prune
        self.budget = budget_of(prune.target or "")
        self._positions = positions_of(pruned.network, pixels)
        self._whole = counts(pruned.network, {}, self._positions)[self.budget.measure]

    def __call__(self, groups: Groups) -> float:
        network, structure = self._pruned.network, self._pruned.structure
        keep = masks_of(network, groups, self._prune.granularity, structure)
        survivors = survivors_of(network, keep, structure)
        return counts(network, survivors, self._positions)[self.budget.measure] / self._whole


def choose_for_budget(
    pruned: PrunedNetwork,
    prune: PruneConfig,
    importance: Mapping[str, Tensor],
    round_: int,
    pixels: int,
) -> Groups:
    """The groups that are kept after a round: of `rounds` it takes away the share of the costs
    that its schedule takes of groups.

    pixels: side of the images that multiply-adds are counted for. Raises ValueError, in one
    sentence, where this importance leaves more however much is pruned.
    """
    bill = Bill(pruned, prune, pixels)
    gone = prune.rates_of_rounds(1 - bill.budget.share)[round_]
    try:
        return choose_within(
            bill,
            1 - gone,
            importance,
            granularity=prune.granularity,
            scope=prune.scope,
            within=pruned.groups,
            most_important_first=prune.most_important_first,
            finish=lambda groups: in_multiples(pruned, prune, importance, groups),
        )
    except OutOfReach as error:
        raise _refusal(prune, bill, error.least) from error


def in_multiples(
    pruned: PrunedNetwork, prune: PruneConfig, importance: Mapping[str, Tensor], groups: Groups
) -> Groups:
    """The decision with as many more filters as `prune.round_to` asks for."""
    if prune.round_to == 1:
        return groups
    sign = -1 if prune.most_important_first else 1
    return rounded_up(
        groups,
        {name: sign * each for name, each in importance.items()},
        pruned.network,
        pruned.structure,
        prune.round_to,
        within=pruned.groups,
    )


def require_within_reach(pruned: PrunedNetwork, pixels: int) -> None:
    """Raise ValueError, in one sentence, where even one group per layer, the same of all that are
    tied, costs more than the budget. Asks for shapes alone."""
    prune = pruned.prune
    if prune is None or prune.target is None:
        return
    number = granularity_of(prune.granularity).number
    places = {n: torch.arange(number(w.shape)) for n, w in pruned.weights.items()}
    bill = Bill(pruned, prune, pixels)
    first = {name: -place.double() for name, place in places.items()}
    one_each = {name: place == 0 for name, place in places.items()}
    least = bill(in_multiples(pruned, prune, first, one_each))
    if least > bill.budget.share:
        raise _refusal(prune, bill, least)


def _refusal(prune: PruneConfig, bill: Bill, least: float) -> ValueError:
    what = prune.granularity.replace("_", " ")
    return ValueError(
        f"prune.target must be within reach, got {prune.target}: method {prune.method!r} leaves "
        f"{bill.budget.measure}={least:.3f} of this network where it leaves one {what} per layer"
    )

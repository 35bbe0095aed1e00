"""A budget: how little must be pruned so that what is left of a network costs no more than that."""

import re
from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from pruning.compaction import Survivors
from pruning.prune import Groups, choose_groups

Measure = Literal["macs", "params"]

_BUDGET = re.compile(r"(macs|params)=((?:\d+\.?\d*|\.\d+)(?:e-\d+)?)")


@dataclass(frozen=True)
class Budget:
    """What a pruned network may cost: a share, in (0, 1), of the dense network's multiply-adds
    (macs) or parameters."""

    measure: Measure
    share: float


class OutOfReach(ValueError):
    """No rate brings the cost below the budget. least: what is left at the highest."""

    def __init__(self, least: float) -> None:
        super().__init__(f"{least:.4g} is left when all is pruned that may be")
        self.least = least


def budget_of(text: str) -> Budget:
    """The budget that "macs=0.5" or "params=0.5" says. Raises ValueError for any other text."""
    found = _BUDGET.fullmatch(text)
    share = float(found[2]) if found else 0.0
    if found is None or not 0 < share < 1:
        raise ValueError(
            "a target must be macs=SHARE or params=SHARE of the dense network's, a share between "
            f"0 and 1 such as macs=0.5, got {text!r}"
        )
    return Budget("macs" if found[1] == "macs" else "params", share)


def counts(
    network: nn.Module, survivors: Survivors, positions: Mapping[str, int]
) -> dict[str, int]:
    """macs, of one image, and params of the network that `compact` would make; it is not made.

    survivors: as `survivors_of` gives them; {} counts the network itself. positions: convolution or
    Linear layer -> how often its weight is used on an image.
    """
    sizes = {}
    for name, parameter in network.named_parameters():
        # Of a grouped convolution the columns are [row, column]: each row has as many.
        left = [index.shape[-1] for index in survivors.get(name, ())]
        sizes[name] = prod((*left, *parameter.shape[len(left) :]))
    macs = sum(n * sizes[f"{layer}.weight"] for layer, n in positions.items())
    return {"macs": macs, "params": sum(sizes.values())}


def choose_within(
    cost: Callable[[Groups], float],
    most: float,
    importance: Mapping[str, Tensor],
    *,
    granularity: str,
    scope: str,
    within: Groups | None = None,
    most_important_first: bool = False,
    finish: Callable[[Groups], Groups] = lambda groups: groups,
) -> Groups:
    """Prune as little as brings the cost to `most` or below: one step less would be above it.

    A step is the smallest that the scope can take: one group of a ranking over all layers; within
    layers the next rate at which some layer loses one more, which may be many at once. Each layer
    keeps its most important group: a budget is not met by cutting the network in two.

    cost: of a decision, and falls as more is pruned. The others: as in `choose_groups`. finish:
        what is done to a decision before it counts. Raises OutOfReach where no rate is enough.
    """

    sign = -1 if most_important_first else 1
    ranked = {name: sign * each for name, each in importance.items()}
    if scope == "global":
        ranked = _with_one_each(ranked, within)

    def chosen(rate: float) -> Groups:
        return finish(
            choose_groups(
                ranked,
                rate,
                granularity=granularity,
                scope=scope,
                within=within,
            )
        )

    rates = _rates(importance, scope, within)
    at = bisect_left(rates, True, key=lambda rate: cost(chosen(rate)) <= most)
    if at == len(rates):
        raise OutOfReach(cost(chosen(rates[-1])))
    return chosen(rates[at])


def _with_one_each(ranked: Mapping[str, Tensor], within: Groups | None) -> dict[str, Tensor]:
    """The same order, but for the highest group of each layer, which goes last."""
    safe = {}
    for name, each in ranked.items():
        left = each if within is None else each.masked_fill(~within[name], -torch.inf)
        safe[name] = each.clone()
        safe[name].view(-1)[left.argmax()] = torch.inf
    return safe


def _rates(importance: Mapping[str, Tensor], scope: str, within: Groups | None) -> list[float]:
    """Every rate at which something changes, from what is pruned already to all but one group of
    each layer."""
    sizes = {name: each.numel() for name, each in importance.items()}
    gone = {name: 0 if within is None else int((~within[name]).sum()) for name in sizes}
    if scope == "global":
        n = sum(sizes.values())
        return [k / n for k in range(sum(gone.values()), n - len(sizes) + 1)]
    least = max(gone[name] / n for name, n in sizes.items())
    rates = np.unique(np.concatenate([np.arange(n) / n for n in set(sizes.values())]))
    return [float(rate) for rate in rates if rate >= least]

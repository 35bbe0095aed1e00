"""What early stopping does to learning curves, without running a trial."""

import heapq
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from sweeps.plan.rungs import Rungs, Stopping, stratum_of
from trainables.config import TrialConfig

_DRAWS = 20


@dataclass(frozen=True)
class Curve:
    """A trial as the simulation sees it: its value after each epoch, to the end of training."""

    key: str
    stratum: str | None
    values: Sequence[float]


Decide = Callable[[Curve, int], bool]
"""Curve and number of epochs done -> whether the trial goes on."""


def by_rungs(rungs: Rungs) -> Decide:
    """What the scheduler of a sweep does: nobody is asked who is protected or through."""

    def decide(curve: Curve, epoch: int) -> bool:
        if curve.stratum is None or epoch >= len(curve.values):
            return True
        return rungs.decide(curve.stratum, curve.key, epoch, curve.values[epoch - 1]).go_on

    return decide


def simulate(curves: Iterable[Curve], decide: Decide, slots: int) -> dict[str, int]:
    """Trial key -> epochs it ran, when the trials start in order on so many slots.

    Every epoch takes the same time; results of one moment come in by the order of the starts.
    """
    waiting = enumerate(curves)
    running = [(1, place, curve) for place, curve in _take(waiting, slots)]
    heapq.heapify(running)
    epochs: dict[str, int] = {}
    while running:
        now, place, curve = heapq.heappop(running)
        done = epochs[curve.key] = epochs.get(curve.key, 0) + 1
        if decide(curve, done) and done < len(curve.values):
            heapq.heappush(running, (now + 1, place, curve))
            continue
        for next_place, next_curve in _take(waiting, 1):
            heapq.heappush(running, (now + 1, next_place, next_curve))
    return epochs


def _take(waiting: Iterable[tuple[int, Curve]], n: int) -> list[tuple[int, Curve]]:
    taken = []
    for item in waiting:
        if item[1].values:
            taken.append(item)
        if len(taken) == n:
            break
    return taken


def stopping_sentence(
    configs: Sequence[TrialConfig], stopping: Stopping, slots: int, *, rate_is_searched: bool
) -> str:
    """What a plan says that stopping may save.

    At most: all but one trial of each stratum stop after the warm-up. Expected: as if the order of
    the trials at their first epoch, drawn at random, stayed to the end; the mean of some draws.
    """
    total = sum(config.n_epochs for config in configs)
    strata = [stratum_of(config, rate_is_searched=rate_is_searched) for config in configs]
    most = 0
    for stratum in set(strata) - {None}:
        lengths = [c.n_epochs for c, s in zip(configs, strata, strict=True) if s == stratum]
        if len(lengths) >= stopping.min_peers:
            most += (len(lengths) - 1) * max(0, lengths[0] - stopping.warmup)
    run = 0
    for seed in range(_DRAWS):
        drawn = random.Random(seed)
        curves = [
            Curve(config.key, stratum, [drawn.random()] * config.n_epochs)
            for config, stratum in zip(configs, strata, strict=True)
        ]
        run += sum(simulate(curves, by_rungs(Rungs(stopping)), slots).values())
    return (
        f"early stopping by {stopping.metric} saves 0 to {most} of {total} epochs, about "
        f"{total - run / _DRAWS:.0f} where the order of trials at their first rung stays"
    )

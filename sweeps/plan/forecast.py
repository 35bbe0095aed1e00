"""What early stopping does to learning curves, without running a trial."""

import heapq
import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from sweeps.plan.rungs import Rungs, Stopping
from sweeps.plan.strata import Strata
from sweeps.plan.sweep import STOP, Sweep
from trainables.config import TrialConfig

_DRAWS = 20
_MOST_EPOCHS = 100_000  # of all draws together, each of which takes tens of microseconds


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


@dataclass(frozen=True)
class Savings:
    """Epochs that stopping may save: from none to `most` of `total`; expected: NaN if not told.

    n_competing: trials that have enough peers for one of them to be stopped. largest: most trials
    of one stratum.
    """

    total: int
    most: int
    expected: float
    n_competing: int
    largest: int


def savings(
    configs: Sequence[TrialConfig], stopping: Stopping, strata: Strata, slots: int
) -> Savings:
    """What stopping may save of these trials, with `slots` of them at a time.

    At most: all but one trial of each stratum stop after the warm-up. Expected: as if the order of
    the trials at their first epoch, drawn at random, stayed to the end; the mean of some draws.
    """
    peers: dict[str, list[TrialConfig]] = {}
    of = [strata.of(config) for config in configs]
    for config, stratum in zip(configs, of, strict=True):
        if stratum is not None:
            peers.setdefault(stratum, []).append(config)
    enough = [each for each in peers.values() if len(each) >= stopping.min_peers]
    most = sum((len(each) - 1) * max(0, each[0].n_epochs - stopping.warmup) for each in enough)
    total, run = sum(config.n_epochs for config in configs), 0
    n_draws = min(_DRAWS, _MOST_EPOCHS // max(total, 1))
    for seed in range(n_draws if most else 0):
        drawn = random.Random(seed)
        curves = [
            Curve(config.key, stratum, [drawn.random()] * config.n_epochs)
            for config, stratum in zip(configs, of, strict=True)
        ]
        run += sum(simulate(curves, by_rungs(Rungs(stopping)), slots).values())
    expected = total - run / n_draws if n_draws and most else math.nan
    largest = max(map(len, peers.values()), default=0)
    return Savings(total, most, expected, sum(map(len, enough)), largest)


def stopping_sentences(
    configs: Sequence[TrialConfig], sweep: Sweep, slots: int, *, chosen: bool = False
) -> list[str]:
    """What a plan says of early stopping: what it may save, or what it would where it is off.

    chosen: whether it was asked for, or turned off, on the command line: then nothing is offered.
    """
    if sweep.stopping is not None:
        what = f"early stopping by {sweep.stopping.metric}"
        return [_sentence(configs, sweep, slots, f"{what} may save", f"{what} stops nothing")]
    if chosen or not any(config.prune is not None and config.n_epochs for config in configs):
        return []
    said = [
        _sentence(
            *(configs, sweep.stopped_as(stop), slots),
            *(f"STOP={stop} ({competes}) could save", f"STOP={stop} would stop nothing"),
        )
        for stop, competes in STOP.items()
        if stop != "0"
    ]
    return [f"early stopping is off; {said[0]}", *said[1:]]


def _sentence(
    configs: Sequence[TrialConfig], sweep: Sweep, slots: int, saves: str, nothing: str
) -> str:
    stopping = sweep.stopping or Stopping()
    found = savings(configs, stopping, sweep.strata(best=stopping.best), slots)
    if not found.most:
        return f"{nothing}: {_why_nothing(found, stopping, sweep)}"
    text = f"{saves} 0 to {found.most:,} of {found.total:,} epochs"
    if not math.isnan(found.expected):
        text += f", about {found.expected:,.0f} where the order of trials at their first rung stays"
    return f"{text} ({found.n_competing} trials compete)"


def _why_nothing(found: Savings, stopping: Stopping, sweep: Sweep) -> str:
    if found.largest == 0:
        return "there is no trial that trains and is no control"
    agree = "rate, schedule and epochs" if stopping.best else f"seed, {', '.join(sweep.question)}"
    if found.largest < stopping.min_peers:
        there = "is one each" if found.largest == 1 else f"are at most {found.largest}"
        return (
            f"of trials that agree on {agree} there {there}, and a trial is only stopped beside "
            f"{stopping.min_peers - 1} or more"
        )
    return f"they train for no more than the {stopping.warmup} epochs that every trial gets"

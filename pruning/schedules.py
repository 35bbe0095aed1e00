"""How sparse after round r? A schedule gives the cumulative rate of every round."""

import math
from collections.abc import Callable
from itertools import pairwise

Schedule = Callable[[float, float], float]
"""(final rate, fraction of the rounds done, in (0, 1]) -> cumulative rate."""


def one_shot(rate: float, _: float) -> float:
    """All at once."""
    return rate


def iterative(rate: float, done: float) -> float:
    """Geometric: every round prunes the same fraction of what remains (Frankle & Carbin 2019)."""
    return 1 - (1 - rate) ** done


def linear(rate: float, done: float) -> float:
    """Every round prunes the same number."""
    return rate * done


def cubic(rate: float, done: float) -> float:
    """Fast first, slow at the end (Zhu & Gupta 2017, eq. 1, from sparsity 0)."""
    return rate * (1 - (1 - done) ** 3)


SCHEDULES: dict[str, Schedule] = {
    "one_shot": one_shot,
    "iterative": iterative,
    "linear": linear,
    "cubic": cubic,
}


def cumulative_rates(
    schedule: str, rate: float, rounds: int, own: Schedule | None = None
) -> tuple[float, ...]:
    """The cumulative rate after each round; the last is exactly `rate`.

    own: the schedule of that name, where it is none of SCHEDULES.

    rate in (0, 1); rounds: 1 for "one_shot", at least 2 for the others (one round of any schedule
    is "one_shot" under another name).
    Raises ValueError for anything else, and for a schedule whose rates fall, leave (0, 1), exceed
    `rate` on the way or do not reach it.
    """
    rises_by = own or SCHEDULES.get(schedule)
    if rises_by is None:
        raise ValueError(f"schedule must be one of {', '.join(SCHEDULES)}, got {schedule!r}")
    if not 0 < rate < 1:
        raise ValueError(f"rate must lie in (0, 1), got {rate}")
    if rounds < 1:
        raise ValueError(f"rounds must be at least 1, got {rounds}")
    if schedule == "one_shot" and rounds != 1:
        raise ValueError(f"a one_shot schedule has exactly 1 round, got {rounds}")
    if schedule != "one_shot" and rounds == 1:
        raise ValueError(
            f"a schedule of 1 round is one_shot: {schedule} must have at least 2 rounds, got 1"
        )
    rates = tuple(rises_by(rate, r / rounds) for r in range(1, rounds + 1))
    early = rates[:-1]
    rises = all(0 < a <= b for a, b in pairwise((*early, rate)))
    if not rises or not math.isclose(rates[-1], rate, abs_tol=1e-9):
        raise ValueError(
            f"a schedule must rise from above 0 to its rate and never exceed it, {schedule} with "
            f"rate {rate:g} goes {', '.join(f'{r:g}' for r in rates)}"
        )
    return (*early, rate)

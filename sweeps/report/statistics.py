"""Is interpretability related to rate, and to accuracy? The questions, and their answers.

A verdict is of the change over the range that the trials have (see `slope.py`), not of a
correlation: it has an interval, so that it can say "none", and not only "not significant".
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd

from sweeps.report.population import STRATA, Population, choose
from sweeps.report.relation import MIN_TRIALS, Correlation, centred, correlations
from sweeps.report.slope import Equivalence, Slope, equivalence, fit_slope
from sweeps.report.values import is_pruned, number

Verdict = Literal["related", "related, but little", "equivalent to none", "undecided", "unknown"]

MARGIN = 0.02
"""Smallest change of MIS over the range that is of interest.

A fifth of the spread of 835 networks' means, 0.80 to 0.91 (Zimmermann, Klindt & Brendel 2024,
Fig. 3): a smaller change would not show among them.
"""


@dataclass(frozen=True)
class Question:
    """Whether y goes with x. margin: smallest change of y of interest; None: none is stated."""

    x: str
    y: str
    x_name: str
    y_name: str
    margin: float | None = MARGIN


@dataclass(frozen=True)
class Answer:
    """What the trials of one stratum say to one question.

    unknown: why there is no slope, where there is none.
    other_way: methods within whose arms y goes the other way than the slope.
    """

    question: Question
    population: Population
    correlations: tuple[Correlation, ...]
    slope: Slope | None
    equivalence: Equivalence | None
    verdict: Verdict
    unknown: str
    other_way: tuple[str, ...]

    @property
    def n(self) -> int:
        return len(self.population.points)


def rate_column(trials: pd.DataFrame) -> str:
    """The column that says how much is pruned: measured, unless that leaves out scored trials."""
    scored = is_pruned(trials) & np.isfinite(number(trials, "mis/mean"))
    unmeasured = scored & ~np.isfinite(number(trials, "prune/sparsity"))
    return "rate" if (unmeasured & np.isfinite(number(trials, "rate"))).any() else "prune/sparsity"


def questions(rate: str = "prune/sparsity", margin: float = MARGIN) -> tuple[Question, ...]:
    """The four that every report asks.

    Of MIS itself and of its change against the same units of the dense network: the first also
    moves when pruning only selects which units are left, the second does not.
    rate: the column that says how much is pruned; "rate" is what was asked for, where no sparsity
    was measured. Raises ValueError for another column.
    """
    names = {"prune/sparsity": "measured sparsity", "rate": "nominal rate"}
    if rate not in names:
        raise ValueError(f"rate must be one of {', '.join(names)}, got {rate!r}")
    mis = {"mis/mean": "MIS", "mis/change": "change of MIS of the same units"}
    return tuple(
        Question(x, y, x_name, y_name, margin)
        for x, x_name in ((rate, names[rate]), ("val/top1", "top-1 accuracy"))
        for y, y_name in mis.items()
    )


def answers(
    trials: pd.DataFrame,
    *,
    rate: str = "prune/sparsity",
    margin: float = MARGIN,
    seed: int = 0,
) -> tuple[Answer, ...]:
    """Every question, of all pruned trials, of the retrained and of those not retrained.

    trials: as in `SweepFrames`, or `published_trials()`. seed: of the bootstrap. Nothing is
    corrected for the number of questions: each interval is right 95 times in 100 on its own.
    Never raises for what the trials lack: the answer says what is missing.
    """
    return tuple(
        answer(trials, question, stratum, seed=seed)
        for question in questions(rate, margin)
        for stratum in STRATA
    )


def answer(
    trials: pd.DataFrame, question: Question, stratum: str = "all", *, seed: int = 0
) -> Answer:
    """One question of one stratum."""
    population = choose(trials, question.x, question.y, stratum)
    found = decide(question, population)
    return replace(found, correlations=correlations(population, seed=seed))


def decide(question: Question, population: Population) -> Answer:
    """The answer without its correlations.

    related: the 95 % interval of the change leaves out 0; "but little" where two one-sided tests
    say that it is smaller than the margin. equivalent to none: they say so, and the interval
    holds 0. undecided: neither. unknown: there is no slope.
    """
    slope = fit_slope(population)
    if slope is None:
        unknown = _why_not(question, population)
        return Answer(question, population, (), None, None, "unknown", unknown, ())
    tested = None if question.margin is None else equivalence(slope, question.margin)
    small = tested is not None and tested.equivalent
    verdict: Verdict
    if slope.p < 0.05:
        verdict = "related, but little" if small else "related"
    else:
        verdict = "equivalent to none" if small else "undecided"
    other_way = _other_way(population, slope) if verdict.startswith("related") else ()
    return Answer(question, population, (), slope, tested, verdict, "", other_way)


def _other_way(population: Population, slope: Slope) -> tuple[str, ...]:
    points, arms = population.points, population.arms
    x = centred(points["x"].to_numpy(), arms)
    y = centred(points["y"].to_numpy(), arms)
    together = (
        pd.DataFrame({"method": points["method"], "xy": x * y * slope.change})
        .groupby("method")["xy"]
        .agg(["sum", "size"])
    )
    against = together[(together["sum"] < 0) & (together["size"] >= MIN_TRIALS)]
    return tuple(against.index)


def _why_not(question: Question, population: Population) -> str:
    points = population.points
    if not len(points):
        return "none of this kind has both values"
    for column, name in (("x", question.x_name), ("y", question.y_name)):
        if len(points) > 1 and points[column].nunique() == 1:
            return f"{name} is {points[column].iloc[0]:.3g} in all of them"
    arms = len(population.arms)
    return f"a line through {_count(arms, 'arm')} needs {max(arms, 1) + 2} trials at least"


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


@dataclass(frozen=True)
class Survivorship:
    """What would be concluded, had the trials that were stopped early been left out."""

    n_stopped: int
    with_stopped: Answer
    without_stopped: Answer

    @property
    def changes(self) -> bool:
        """Whether the conclusion would be another: another verdict, or another direction."""
        both = (self.with_stopped, self.without_stopped)
        return _conclusion(both[0]) != _conclusion(both[1])


def survivorship(trials: pd.DataFrame, question: Question, stratum: str = "all") -> Survivorship:
    """Ask a question twice: of all scored trials, and of those that were not stopped."""
    everyone = choose(trials, question.x, question.y, stratum)
    stopped = everyone.points["outcome"] == "stopped"
    survivors = replace(everyone, points=everyone.points[~stopped].reset_index(drop=True))
    return Survivorship(int(stopped.sum()), decide(question, everyone), decide(question, survivors))


def _conclusion(found: Answer) -> tuple[str, bool]:
    if found.slope is None or not found.verdict.startswith("related"):
        return found.verdict, False
    return found.verdict, found.slope.change > 0

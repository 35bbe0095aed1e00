"""Is interpretability related to rate, and to accuracy? The questions, and their answers.

A verdict is of the change over the range that the trials have (see `slope.py`), not of a
correlation: it has an interval, so that it can say "none", and not only "not significant".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd

from sweeps.plan.primary import AGAINST, OUTCOMES, Primary
from sweeps.report.read.values import is_pruned, number
from sweeps.report.statistics.correlation import MIN_TRIALS, Correlation, correlations
from sweeps.report.statistics.margin import Equivalence, Gap, equivalence, gaps
from sweeps.report.statistics.matched import fit_matched, with_halves
from sweeps.report.statistics.population import STRATA, Population, choose, prepared
from sweeps.report.statistics.slope import Slope, fit_slope

Verdict = Literal["related", "related, but little", "equivalent to none", "undecided", "unknown"]

ERROR = 0.05
"""How often a primary answer is wrong, and how often any of the exploratory ones is."""

_RATES = {"prune/sparsity": "measured sparsity", "rate": "nominal rate"}


@dataclass(frozen=True)
class Question:
    """Whether y goes with x; at_accuracy: at equal accuracy."""

    x: str
    y: str
    x_name: str
    y_name: str
    at_accuracy: bool = False


@dataclass(frozen=True)
class Answer:
    """What the trials of one stratum say to one question.

    The population is of one pair of network and data, and of one training where there are fewer
    than three. p, p_equivalence: of no relation, and of a change of the margin or more; adjusted
    for all that is asked (`judged`), NaN where there is none. n_tests: how many they were adjusted
    for. unknown: why there is no slope, where there is none. other_way: methods within whose arms
    y goes the other way than the slope.
    """

    question: Question
    population: Population
    correlations: tuple[Correlation, ...]
    slope: Slope | None
    equivalence: Equivalence | None
    verdict: Verdict
    unknown: str
    other_way: tuple[str, ...]
    primary: bool = False
    p: float = float("nan")
    p_equivalence: float = float("nan")
    n_tests: int = 1

    @property
    def n(self) -> int:
        return len(self.population.points)


def rate_column(trials: pd.DataFrame) -> str:
    """The column that says how much is pruned: measured, unless that leaves out scored trials."""
    scored = is_pruned(trials) & np.isfinite(number(trials, "mis/mean"))
    unmeasured = scored & ~np.isfinite(number(trials, "prune/sparsity"))
    return "rate" if (unmeasured & np.isfinite(number(trials, "rate"))).any() else "prune/sparsity"


def questions(rate: str = "prune/sparsity") -> tuple[Question, ...]:
    """Those that every report asks, the last at matched accuracy.

    Of MIS itself and of its change against the same units of the dense network: the first also
    moves when pruning only selects which units are left, the second does not.
    rate: the column that says how much is pruned; "rate" is what was asked for, where no sparsity
    was measured. Raises ValueError for another column.
    """
    if rate not in _RATES:
        raise ValueError(f"rate must be one of {', '.join(_RATES)}, got {rate!r}")
    alone = tuple(
        Question(x, y, x_name, y_name)
        for x, x_name in ((rate, _RATES[rate]), ("val/top1", "top-1 accuracy"))
        for y, y_name in OUTCOMES.items()
    )
    change = "mis/change"
    return (*alone, Question(rate, change, _RATES[rate], OUTCOMES[change], at_accuracy=True))


def answers(
    trials: pd.DataFrame, *, rate: str = "prune/sparsity", primary: Primary | None = None
) -> tuple[Answer, ...]:
    """Every question, of all pruned trials, of the retrained and of those not retrained.

    trials: as in `SweepFrames`, or `published_trials()`. primary: the question that the study
    named beforehand; None: all answers are exploratory.
    Never raises for what the trials lack: the answer says what is missing.
    """
    trials = prepared(trials)
    known = gaps(trials)
    found = [
        replace(
            each,
            primary=is_primary(question, stratum, primary),
            correlations=() if question.at_accuracy else correlations(each.population),
        )
        for question in questions(rate)
        for stratum in STRATA
        for each in asked(question, choose(trials, question.x, question.y, stratum), known)
    ]
    return judged(found)


def is_primary(question: Question, stratum: str, primary: Primary | None) -> bool:
    """Whether it is what the study named beforehand."""
    against = AGAINST[0] if question.x in _RATES else AGAINST[1]
    against = AGAINST[2] if question.at_accuracy else against
    return primary == Primary(question.y, against, stratum)


def asked(
    question: Question, population: Population, known: Mapping[str, Gap]
) -> tuple[Answer, ...]:
    """The answers before anything is judged, without their correlations: one, or one for each part
    of the trials that is asked by itself."""
    if question.at_accuracy:
        population = with_halves(population)
    return tuple(_answer(question, part, known) for part in population.parts())


def _answer(question: Question, population: Population, known: Mapping[str, Gap]) -> Answer:
    found: Slope | str | None
    if question.at_accuracy:
        found = fit_matched(population)
    else:
        found = fit_slope(population, alike=question.x in _RATES)
    if not isinstance(found, Slope):
        why = found or _why_not(question, population)
        return Answer(question, population, (), None, None, "unknown", why, ())
    small = equivalence(found, known)
    way = () if question.at_accuracy else _other_way(population, found)
    return Answer(question, population, (), found, small, "undecided", "", way)


def decide(
    question: Question, population: Population, known: Mapping[str, Gap] | None = None
) -> tuple[Answer, ...]:
    """The answers to one question as if nothing else were asked: at 5 % each."""
    found = asked(question, population, known or {})
    return tuple(judged([replace(each, primary=True)])[0] for each in found)


def judged(found: Sequence[Answer]) -> tuple[Answer, ...]:
    """The answers with their verdicts.

    The primary question is tested at 5 %, by Holm's correction over its trainings where it has
    two answers; all that is exploratory by Holm's over all of its tests together (Holm 1979).
    related: there is a change; "but little" where it is smaller than the margin. equivalent to
    none: it is smaller than the margin, and no change is not ruled out. undecided: neither.
    """
    first = [each for each in found if each.primary]
    rest = [each for each in found if not each.primary]
    # At most one of the two can be wrong of a question, so each has all of the error.
    related, small = holm(_p(first)), holm(_small(first))
    both = holm([*_p(rest), *_small(rest)])
    n_tests = int(np.isfinite(both).sum())
    judgements = [
        (each, p, p_small, int(np.isfinite(_p(first)).sum()))
        for each, p, p_small in zip(first, related, small, strict=True)
    ]
    judgements += [
        (each, p, p_small, n_tests)
        for each, p, p_small in zip(rest, both[: len(rest)], both[len(rest) :], strict=True)
    ]
    by_id = {
        id(each): replace(each, p=p, p_equivalence=p_small, n_tests=n, verdict=verdict(p, p_small))
        for each, p, p_small, n in judgements
    }
    return tuple(by_id[id(each)] for each in found)


def _p(found: Sequence[Answer]) -> list[float]:
    return [float("nan") if each.slope is None else each.slope.p for each in found]


def _small(found: Sequence[Answer]) -> list[float]:
    return [float("nan") if each.equivalence is None else each.equivalence.p for each in found]


def holm(p: Sequence[float]) -> list[float]:
    """Adjusted p values; NaN stays, and is no test."""
    values = np.asarray(p, dtype=float)
    order = np.argsort(values)[: int(np.isfinite(values).sum())]
    steps = values[order] * np.arange(len(order), 0, -1)
    adjusted = np.full(len(values), np.nan)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return [float(value) for value in adjusted]


def verdict(p: float, p_small: float) -> Verdict:
    """p: of no relation; p_small: of a change of the margin or more; NaN where there is none."""
    if np.isnan(p):
        return "unknown"
    if p < ERROR:
        return "related, but little" if p_small < ERROR else "related"
    return "equivalent to none" if p_small < ERROR else "undecided"


def _other_way(population: Population, slope: Slope) -> tuple[str, ...]:
    """Methods of several trials within whose arms y goes the other way."""
    points = population.points
    inside = points[["x", "y"]] - points.groupby(["training", "arm"])[["x", "y"]].transform("mean")
    together = (inside["x"] * inside["y"] * slope.change).groupby(points["method"])
    table = together.agg(["sum", "size"])
    return tuple(table.index[(table["sum"] < 0) & (table["size"] >= MIN_TRIALS)])


def _why_not(question: Question, population: Population) -> str:
    points = population.points
    if not len(points):
        return "none of this kind has both values"
    for column, name in (("x", question.x_name), ("y", question.y_name)):
        if len(points) > 1 and points[column].nunique() == 1:
            return f"{name} is {points[column].iloc[0]:.3g} in all of them"
    if (points.groupby("arm")["x"].nunique() < 2).all():
        return f"no arm has two values of {question.x_name} to compare"
    arms = population.n_arms
    return f"lines through {arms} arm{'s' * (arms != 1)} need {arms + 2} trials at least"

"""Do all scores of units say the same? Each asked the same question, and a control for each."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from sweeps.plan.metrics_of_units import VALUES
from sweeps.report.read.values import is_retrained, number, text
from sweeps.report.statistics.margin import FRACTION
from sweeps.report.statistics.population import Population, choose
from sweeps.report.statistics.questions import ERROR, holm
from sweeps.report.statistics.slope import Slope, fit_slope
from sweeps.report.statistics.trainings import LEVEL, MIN_TRAININGS, Estimate, over_trainings
from trainables.methods import ROTATED

Said = Literal["falls", "rises", "is undecided", "cannot be asked"]
Turned = Literal["falls", "rises", "changes by less", "is undecided"]
AGAINST = {"prune/sparsity": "sparsity", "val/top1": "top-1 accuracy"}
"""What scores may go with -> how it is called."""


@dataclass(frozen=True)
class Relation:
    """What one score says to one question. metric: of the score; name: for people. of: the metric
    that was asked, the change of the same units where it is known. p: corrected for all that is
    asked; NaN where nothing can be said."""

    metric: str
    name: str
    x: str
    of: str
    population: Population
    slope: Slope | None
    p: float = math.nan

    @property
    def said(self) -> Said:
        if self.slope is None or not math.isfinite(self.p):
            return "cannot be asked"
        if self.p >= ERROR:
            return "is undecided"
        return "rises" if self.slope.change > 0 else "falls"


@dataclass(frozen=True)
class Rotation:
    """How far a score falls where units are rotated. low, high: of the fall, 95 %, over trainings
    where there are three, else over images; NaN where no error is known. matters: a fifth of what
    training gives to the score, dense against untrained; NaN where that is not known."""

    metric: str
    name: str
    dense: float
    rotated: float
    low: float
    high: float
    matters: float
    n_trainings: int

    @property
    def said(self) -> Turned:
        if self.low > 0 and not self.high < self.matters:
            return "falls"
        if max(-self.low, self.high) < self.matters:
            return "changes by less"
        return "rises" if self.high < 0 else "is undecided"


def score_metrics(trials: pd.DataFrame) -> dict[str, str]:
    """The metric of each score of units that trials have -> its name: MIS, then ours, then those
    of the user's own."""
    ends = "/mean"
    found = {"mis/mean": "MIS"} | {f"{value}{ends}": value for value in VALUES}
    own = sorted(c for c in map(str, trials.columns) if re.fullmatch(r"own/[^/]+/mean", c))
    found |= {metric: metric.removesuffix(ends).removeprefix("own/") for metric in own}
    return {m: name for m, name in found.items() if np.isfinite(number(trials, m)).any()}


def relations(trials: pd.DataFrame) -> tuple[Relation, ...]:
    """Of every score, against sparsity and against accuracy, over the networks that were retrained
    where there are any. trials: `prepared`."""
    pruned = is_retrained(trials) & (number(trials, "rate") > 0)
    stratum = "retrained" if pruned.any() else "all"
    found = []
    for x in AGAINST:
        for metric, name in score_metrics(trials).items():
            change = metric.removesuffix("mean") + "change"
            of = change if np.isfinite(number(trials, change)).any() else metric
            population = choose(trials, x, of, stratum)
            slope = fit_slope(population, alike=x == "prune/sparsity")
            found.append(Relation(metric, name, x, of, population, slope))
    p = holm([math.nan if each.slope is None else each.slope.p for each in found])
    return tuple(
        Relation(r.metric, r.name, r.x, r.of, r.population, r.slope, own)
        for r, own in zip(found, p, strict=True)
    )


def rotations(trials: pd.DataFrame) -> tuple[Rotation, ...]:
    """Of every score that dense networks have both as they are and rotated. trials: `prepared`."""
    method = text(trials, "method")
    is_dense = (method == "dense") & ~is_retrained(trials)
    kinds = (is_dense, method == ROTATED, method == "untrained")
    found = []
    for metric, name in score_metrics(trials).items():
        dense, rotated, untrained = (
            number(trials[kind], metric).dropna().groupby(trials["training"]).mean()
            for kind in kinds
        )
        falls = (dense - rotated).dropna()
        if falls.empty:
            continue
        error = metric.removesuffix("mean") + "error"
        errors = [number(trials[kind], error).mean() for kind in kinds[:2]]
        fall = Estimate(float(falls.mean()), math.hypot(*errors), math.inf)
        if len(falls) >= MIN_TRAININGS:
            fall = over_trainings(falls.to_numpy())
        low, high = fall.interval(LEVEL)
        means = float(dense[falls.index].mean()), float(rotated[falls.index].mean())
        matters = FRACTION * abs(means[0] - untrained.mean()) if len(untrained) else math.nan
        found.append(Rotation(metric, name, *means, low, high, matters, len(falls)))
    return tuple(found)


def agreement_sentences(trials: pd.DataFrame) -> list[str]:
    """Whether scores say the same, where there are several, and which of them see units."""
    said = []
    if len(score_metrics(trials)) > 1:
        asked = relations(trials)
        said = [_same([each for each in asked if each.x == x], AGAINST[x]) for x in AGAINST]
    turned = rotations(trials)
    if turned:
        said.append(_of_rotation(turned))
    return [each for each in said if each]


def _same(asked: Sequence[Relation], x: str) -> str:
    told = [each for each in asked if each.said != "cannot be asked"]
    if not told:
        return ""
    by: dict[str, list[str]] = {}
    for each in told:
        by.setdefault(each.said, []).append(each.name)
    within = any(each.slope is not None and each.slope.over != "trainings" for each in told)
    where = " (within this training)" if within else ""
    open_ = by.pop("is undecided", [])
    kinds = [f"{_listed(n)} {said if len(n) == 1 else _PLURAL[said]}" for said, n in by.items()]
    if not kinds:
        return f"Against {x}{where} no score of units is decided ({_listed(open_)})."
    end = f"; {_listed(open_)} {'is' if len(open_) == 1 else 'are'} undecided" if open_ else ""
    if len(by) == 1:
        (said, names), *_ = by.items()
        if not open_ and len(names) > 1:
            return f"Against {x}{where} all {len(names)} scores of units say the same: each {said}."
        return f"Against {x}{where}: {kinds[0]}{end}."
    alone = [names[0] for names in by.values() if len(names) == 1]
    apart = "the scores do not all say the same"
    if alone and len(alone) < len(by):
        apart += f", and what {_listed(alone)} says is said by that score alone"
    return f"Against {x}{where}: {'; '.join(kinds)}{end}: {apart}."


_PLURAL = {"falls": "fall", "rises": "rise"}
_TURNED: dict[Turned, tuple[str, str]] = {
    "falls": ("falls", "fall"),
    "rises": ("rises", "rise"),
    "changes by less": (
        "changes by less than a fifth of what training gives it, and so sees the layer more than "
        "its units",
        "change by less than a fifth of what training gives them, and so see the layer more than "
        "its units",
    ),
    "is undecided": ("is undecided", "are undecided"),
}


def _of_rotation(turned: Sequence[Rotation]) -> str:
    n = min(each.n_trainings for each in turned)
    over = f" (over {n} trainings)" if n >= MIN_TRAININGS else " (within this training)"
    parts = []
    for said, words in _TURNED.items():
        names = [_numbers(each) for each in turned if each.said == said]
        if names:
            parts.append(f"{_listed(names)} {words[len(names) > 1]}")
    return (
        "With the units of each layer rotated, which keeps all information and takes away "
        f"axes{over}, {'; '.join(parts)}."
    )


def _numbers(each: Rotation) -> str:
    return f"{each.name} ({each.dense:.3f} to {each.rotated:.3f})"


def _listed(names: Sequence[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last

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
from sweeps.report.statistics.population import Population, choose
from sweeps.report.statistics.questions import ERROR, holm
from sweeps.report.statistics.slope import Slope, fit_slope
from trainables.methods import ROTATED

Said = Literal["falls", "rises", "is undecided", "cannot be asked"]
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
    """How far a score falls where units are rotated. error: of the difference."""

    metric: str
    name: str
    dense: float
    rotated: float
    error: float

    @property
    def falls(self) -> bool:
        """Whether by more than two standard errors."""
        return self.dense - self.rotated > 2 * self.error


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
    """Of every score that the dense networks have both as they are and rotated."""
    method = text(trials, "method")
    kinds = ((method == "dense") & ~is_retrained(trials), method == ROTATED)
    found = []
    for metric, name in score_metrics(trials).items():
        dense, rotated = (number(trials[kind], metric).dropna() for kind in kinds)
        if dense.empty or rotated.empty:
            continue
        errors = [
            number(trials[kind], metric.removesuffix("mean") + "error").mean() for kind in kinds
        ]
        means = float(dense.mean()), float(rotated.mean())
        found.append(Rotation(metric, name, *means, math.hypot(*errors)))
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
    if len(by) == 1:
        (said, _), *_ = by.items()
        return f"Against {x} all {len(told)} scores of units say the same: each {said}."
    kinds = "; ".join(
        f"{_listed(names)} {said if len(names) == 1 else _PLURAL[said]}"
        for said, names in by.items()
    )
    decided = [names for said, names in by.items() if said != "is undecided"]
    alone = [names[0] for names in decided if len(names) == 1]
    end = "the scores do not all say the same"
    if alone:
        end += f", and what {_listed(alone)} says is said by that score alone"
    return f"Against {x}: {kinds}: {end}."


_PLURAL = {"falls": "fall", "rises": "rise", "is undecided": "are undecided"}


def _of_rotation(turned: Sequence[Rotation]) -> str:
    falls = [_numbers(each) for each in turned if each.falls]
    stays = [_numbers(each) for each in turned if not each.falls]
    said = "With the units of each layer rotated, which keeps all information and takes away axes, "
    if falls:
        said += f"{_listed(falls)} fall{'s' * (len(falls) == 1)}"
    if falls and stays:
        said += "; "
    if stays:
        one = len(stays) == 1
        said += f"{_listed(stays)} {'does' if one else 'do'} not, and so "
        said += f"{'sees' if one else 'see'} the layer, and no units"
    return f"{said}."


def _numbers(each: Rotation) -> str:
    return f"{each.name} ({each.dense:.3f} to {each.rotated:.3f})"


def _listed(names: Sequence[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last

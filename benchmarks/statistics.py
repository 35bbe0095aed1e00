"""How often is what the report says wrong, and how often is what is so found? On simulated sweeps.

`make bench NAME=statistics`; python -m benchmarks statistics --sweeps 200 for a rough table.
"""

import argparse
import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.simulated import GAP, GAP_NOISE, Drawn, Truth, draw, layout
from sweeps.report.statistics.correlation import correlations
from sweeps.report.statistics.margin import FRACTION, Gap, equivalence
from sweeps.report.statistics.matched import fit_matched, with_halves
from sweeps.report.statistics.population import STRATA, Population, choose
from sweeps.report.statistics.questions import ERROR, Verdict, holm, verdict
from sweeps.report.statistics.slope import Slope, fit_slope
from sweeps.report.statistics.trainings import MIN_TRAININGS

SWEEPS = 1_000
MARGIN = FRACTION * GAP


@dataclass(frozen=True)
class Case:
    """What is so, what is asked, and which of what is said would be wrong.

    x: "rate" or "accuracy", or "matched": rate at equal accuracy. wrong: of "related", "none" and
    "misses" (the 95 % interval leaves out what is so).
    """

    name: str
    truth: Truth
    trainings: int = 1
    x: str = "rate"
    y: str = "change"
    wrong: tuple[str, ...] = ("related", "misses")
    arms: int = 6
    rates: tuple[float, ...] = (0.2, 0.4, 0.6, 0.8)
    survivors_only: bool = False


@dataclass
class Count:
    """Of n answers: how many said what."""

    n: int = 0
    said: dict[str, int] = field(default_factory=lambda: {"related": 0, "none": 0, "misses": 0})

    def rate(self, what: str) -> float:
        return self.said[what] / self.n


_DIFFER = 0.01  # sd between trainings
_THREE = (0.3, 0.5, 0.7)
_ALIKE = (0.03, -0.03, 0.0)
_LUCK = Truth(hidden=0.05, noise=0.004)
_HANGS = Truth(by_accuracy=0.15)

_DIFFERENT = Truth(of_trainings=_DIFFER)
_EFFECT, _EFFECT_DIFFERENT = Truth(effect=0.02), Truth(effect=0.02, of_trainings=_DIFFER)
_SELECTION = Truth(selection=0.05, of_trainings=_DIFFER)
_BOTH = Truth(of_arms=_ALIKE, of_trainings=_DIFFER)
_LEVELS = Truth(levels=0.1)
_HANGS_DIFFERENT = Truth(by_accuracy=0.15, of_trainings=_DIFFER)
_HANGS_EFFECT = Truth(effect=-0.03, by_accuracy=0.15)
_HIDDEN = Truth(by_accuracy=0.15, hidden=0.04)
_MISSES, _SIZE = ("misses",), ("none", "misses")

CASES = (
    Case("no effect", Truth()),
    Case("no effect, trainings differ", _DIFFERENT, 3),
    Case("no effect, trainings differ", _DIFFERENT, 5),
    Case("two trainings that differ, each by itself", _DIFFERENT, 2, wrong=_MISSES),
    Case("an effect of .02", _EFFECT, wrong=_MISSES),
    Case("an effect of .02, trainings differ", _EFFECT_DIFFERENT, 3, wrong=_SIZE),
    Case("an effect of .02, trainings differ", _EFFECT_DIFFERENT, 5, wrong=_SIZE),
    Case("an effect of the margin", Truth(effect=MARGIN), wrong=_SIZE),
    Case("selection alone, of the same units", _SELECTION, 5),
    Case("selection alone, of MIS", _SELECTION, 5, y="mis", wrong=()),
    Case("bad luck is stopped, all counted", _LUCK, arms=12),
    Case("bad luck is stopped, left out", _LUCK, arms=12, wrong=(), survivors_only=True),
    Case("arms with slopes of their own", Truth(of_arms=_ALIKE)),
    Case("arms and trainings with slopes of their own", _BOTH, 5),
    Case("two rates, three arms", Truth(), arms=3, rates=(0.3, 0.6)),
    Case("heavy tails", Truth(kind="heavy")),
    Case("heavy tails", Truth(kind="heavy", of_trainings=_DIFFER), 5),
    Case("unequal noise of arms", Truth(kind="unequal")),
    Case("noise grows with the rate", Truth(kind="growing")),
    Case("noise grows with the rate", Truth(kind="growing", of_trainings=_DIFFER), 5),
    Case(
        "levels of arms go with accuracy", _LEVELS, 1, "accuracy", "change", ("related",), 6, _THREE
    ),
    Case(
        "levels of arms go with accuracy", _LEVELS, 5, "accuracy", "change", ("related",), 6, _THREE
    ),
    Case("MIS hangs on accuracy alone", _HANGS, x="matched"),
    Case("MIS hangs on accuracy alone", _HANGS, 5, x="matched"),
    Case("the same, trainings differ", _HANGS_DIFFERENT, 5, x="matched"),
    Case("on accuracy, and an effect of -.03", _HANGS_EFFECT, x="matched", wrong=_MISSES),
    Case("on accuracy, and an effect of -.03", _HANGS_EFFECT, 5, x="matched", wrong=_MISSES),
    Case("something hidden moves both", _HIDDEN, x="matched", wrong=()),
    Case("something hidden moves both", _HIDDEN, 5, x="matched", wrong=()),
)


def count(case: Case, n_sweeps: int, seed: int = 0) -> Count:
    """What the report says of so many sweeps of a case."""
    trials = layout(case.arms, case.rates, case.trainings)
    given = Truth()
    template = choose(draw(np.random.default_rng(0), trials, given).on(trials), "rate", "mis/mean")
    found = Count()
    for number in range(n_sweeps):
        rng = np.random.default_rng([seed, number])
        drawn = draw(rng, trials, case.truth)
        population = _measured(template, trials["place"].notna().to_numpy(), drawn, case)
        if case.survivors_only:
            population = population.only(population.points["top1"] > 0.55)
        gaps = _gaps(rng, template.trainings)
        for own, so in _asked(population, drawn, case):
            slope = _fit(own, case)
            found.n += 1
            if isinstance(slope, Slope):
                small = equivalence(slope, gaps)
                said = verdict(slope.p, math.nan if small is None else small.p)
                found.said["related"] += said.startswith("related")
                found.said["none"] += _is_none(said)
                found.said["misses"] += not slope.low <= so <= slope.high
    return found


def _fit(own: Population, case: Case) -> Slope | str | None:
    if case.x == "matched":
        return fit_matched(with_halves(own))
    return fit_slope(own, alike=case.x == "rate")


def _is_none(said: Verdict) -> bool:
    return said in ("equivalent to none", "related, but little")


def _measured(template: Population, rows: np.ndarray, drawn: Drawn, case: Case) -> Population:
    y = drawn.mis if case.y == "mis" else drawn.change
    columns = {"y": y, "a": drawn.halves[0], "b": drawn.halves[1], "top1": drawn.top1}
    if case.x == "accuracy":
        columns["x"] = drawn.top1
    values = {name: column[rows] for name, column in columns.items()}
    return dataclasses.replace(template, points=template.points.assign(**values))


def _asked(population: Population, drawn: Drawn, case: Case) -> Iterator[tuple[Population, float]]:
    """The populations that have an answer of their own, and the change that is so."""
    names = population.trainings
    of_arms = float(np.mean(case.truth.of_arms)) if case.truth.of_arms else 0.0
    if len(names) >= MIN_TRAININGS:
        yield population, case.truth.effect + of_arms
    elif len(names) == 1:
        yield population, float(drawn.slopes[0]) + of_arms
    else:
        for place, name in enumerate(names):
            own = population.only(population.points["training"] == name)
            yield own, float(drawn.slopes[place]) + of_arms


def _gaps(rng: np.random.Generator, names: Sequence[str]) -> dict[str, Gap]:
    error = math.hypot(GAP_NOISE, GAP_NOISE)
    return {name: Gap(GAP + rng.normal(0, error), error) for name in names}


def pages(n_sweeps: int, n_trainings: int = 5, seed: int = 0) -> Count:
    """Of pages of sweeps in which nothing goes with anything: on how many is any answer "related".

    Four questions of three kinds of networks, corrected as a page's exploratory answers are.
    """
    trials = layout(6, _THREE, n_trainings)
    late = trials["place"] >= 3
    trials = trials.assign(retraining=trials["retraining"].mask(late, "recalibrate"))
    rows = trials["place"].notna().to_numpy()
    truth, found = Truth(of_trainings=_DIFFER), Count()
    everyone = draw(np.random.default_rng(0), trials, truth).on(trials)
    templates = [choose(everyone, "rate", "mis/mean", name) for name in STRATA]
    for number in range(n_sweeps):
        rng = np.random.default_rng([seed, number])
        drawn, gaps = draw(rng, trials, truth), _gaps(rng, templates[0].trainings)
        noise = draw(rng, trials, truth)  # an accuracy that has nothing to do with MIS or rate
        p: list[float] = []
        small: list[float] = []
        for template in templates:
            own = rows & trials["key"].isin(template.points["key"]).to_numpy()
            for y in (drawn.mis, drawn.change):
                shuffled = noise.top1[rng.permutation(len(rows))]
                for x, alike in ((trials["rate"].to_numpy(), True), (shuffled, False)):
                    points = template.points.assign(x=x[own], y=y[own])
                    asked = dataclasses.replace(template, points=points)
                    slope = fit_slope(asked, alike=alike)
                    none = None if slope is None else equivalence(slope, gaps)
                    p.append(math.nan if slope is None else slope.p)
                    small.append(math.nan if none is None else none.p)
        found.n += 1
        found.said["related"] += bool(np.nanmin(holm([*p, *small])[: len(p)]) < ERROR)
        found.said["misses"] += bool(np.nanmin(p) < ERROR)
    return found


CORRELATED = {
    "12 arms of 2": (1, 12, 2),
    "6 arms of 3": (1, 6, 3),
    "6 arms of 4": (1, 6, 4),
    "3 arms of 12": (1, 3, 12),
    "5 trainings, 6 arms of 4": (5, 6, 4),
}
"""Name -> trainings, arms, trials an arm."""


def coverage(shape: tuple[int, int, int], kind: str, n_sweeps: int, r: float = 0.5) -> float:
    """How often the interval of a correlation within arms holds what is so: r, of trainings their
    own with sd .15 of Fisher's z about it."""
    n_trainings, n_arms, size = shape
    trials = layout(n_arms, tuple(np.linspace(0.1, 0.9, size)), n_trainings).assign(
        method="structured"
    )
    trials.loc[trials["place"].isna(), "method"] = "dense"
    everyone = draw(np.random.default_rng(0), trials, Truth()).on(trials)
    template = choose(everyone, "rate", "mis/mean")
    training = template.points["training"].factorize()[0]
    holds = 0
    for number in range(n_sweeps):
        rng = np.random.default_rng([1, number])
        spread = 0.15 if n_trainings > 1 else 0.0
        own = np.tanh(np.arctanh(r) + rng.normal(0, spread, n_trainings))[training]
        x, noise = rng.standard_normal((2, len(template.points)))
        points = template.points.assign(x=x, y=own * x + np.sqrt(1 - own**2) * noise)
        found = correlations(dataclasses.replace(template, points=points))
        one = next(c for c in found if (c.kind, c.over) == (kind, "within arms"))
        so = r if kind == "pearson" else 6 / np.pi * np.arcsin(r / 2)
        holds += one.low <= so <= one.high
    return holds / n_sweeps


def main(options: list[str]) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks statistics", description=__doc__)
    parser.add_argument("--sweeps", type=int, default=SWEEPS, help="of each row")
    n = parser.parse_args(options).sweeps
    console = Console(width=130)
    error = 200 * math.sqrt(ERROR * (1 - ERROR) / n)
    table = Table(
        title=f"of 100 answers, {n:,} sweeps a row; * is wrong, and at most 5 (± {error:.1f}, two "
        "standard errors) is stated"
    )
    for heading in ("what is so", "trainings", "asked", "related", "none", "interval misses"):
        table.add_column(heading)
    for case in CASES:
        found = count(case, n)
        cells = [
            f"{100 * found.rate(what):.1f}{' *' if what in case.wrong else ''}"
            for what in found.said
        ]
        table.add_row(case.name, str(case.trainings), case.x, *cells)
    page = pages(n // 4)
    table.add_row("nothing, a whole page", "5", "12", f"{100 * page.rate('related'):.1f} *", "", "")
    alone = f"{100 * page.rate('misses'):.1f}"
    table.add_row("the same, had nothing been corrected", "5", "12", alone, "", "")
    console.print(table)
    held = Table(title=f"of 100 intervals of a correlation of .5, so many hold it; {n:,} sweeps")
    for heading in ("", "pearson", "spearman"):
        held.add_column(heading)
    for name, shape in CORRELATED.items():
        held.add_row(
            name, *(f"{100 * coverage(shape, kind, n):.1f}" for kind in ("pearson", "spearman"))
        )
    console.print(held)


if __name__ == "__main__":
    main([])

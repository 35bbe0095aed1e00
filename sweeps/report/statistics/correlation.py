"""How closely do two quantities go together? Correlations within arms, with their intervals."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from sweeps.report.statistics.population import Population
from sweeps.report.statistics.slope import varies
from sweeps.report.statistics.trainings import MIN_TRAININGS, over_trainings

MIN_TRIALS = 4  # less the means that were taken off: fewer leave Fisher's interval no width

Kind = Literal["pearson", "spearman"]
KINDS: tuple[Kind, ...] = ("pearson", "spearman")
POOLED, WITHIN = "pooled", "within arms"


@dataclass(frozen=True)
class Correlation:
    """One coefficient. low, high: its 95 % interval, NaN where none is known to hold.

    over: "pooled", which mixes levels of arms with what happens within them and so has neither an
    interval nor a test; "within arms", of the deviations from each arm's mean; or the same of the
    arms of one method, by its name. training: which, where there are fewer than three; "" where it
    is the mean over trainings.
    """

    kind: Kind
    over: str
    training: str
    n: int
    value: float
    low: float
    high: float


def correlations(population: Population) -> tuple[Correlation, ...]:
    """Pearson and Spearman: pooled, within arms, and within the arms of every method.

    Within one training by Fisher's transformation with n less (arms - 1) (for Spearman with the
    factor of Bonett & Wright 2000, Psychometrika 65:23). With three trainings or more (or draws of
    one given network), whose trials depend on one another, a t interval over their transformed
    coefficients. Where
    fewer than 4 trials are left, or a quantity does not vary, there is no coefficient.
    """
    points = population.points
    x, y = points["x"].to_numpy(float), points["y"].to_numpy(float)
    found = [_pooled(x, y, kind) for kind in KINDS]
    methods = sorted(points["method"].unique())
    over = {WITHIN: np.ones(len(points), dtype=bool)}
    if len(methods) > 1:
        over |= {method: (points["method"] == method).to_numpy() for method in methods}
    for name, rows in over.items():
        parts = _parts(population, rows)
        for kind in KINDS:
            own = [_fisher(x, y, part, name, training, kind) for training, part in parts.items()]
            found += _together([each for each in own if each is not None], len(parts))
    return tuple(each for each in found if each is not None)


def centred(values: np.ndarray, arms: Sequence[np.ndarray]) -> np.ndarray:
    """Deviations from the arm's mean. arms: row numbers of each."""
    result = values.astype(float)
    for rows in arms:
        result[rows] -= result[rows].mean()
    return result


def _parts(population: Population, rows: np.ndarray) -> dict[str, list[np.ndarray]]:
    """Replicate -> row numbers of each of its arms that has two trials or more."""
    points, names = population.points[rows], population.replicate[rows]
    parts: dict[str, list[np.ndarray]] = {}
    for (name, _), own in points.groupby([names, points["arm"]], sort=True):
        if len(own) > 1:
            parts.setdefault(str(name), []).append(own.index.to_numpy())
    return parts


def _pooled(x: np.ndarray, y: np.ndarray, kind: Kind) -> Correlation | None:
    if len(x) < MIN_TRIALS or not (varies(x) and varies(y)):
        return None
    value = _coefficient(x, y, kind)
    return Correlation(kind, POOLED, "", len(x), value, math.nan, math.nan)


def _fisher(
    x: np.ndarray, y: np.ndarray, arms: list[np.ndarray], over: str, training: str, kind: Kind
) -> Correlation | None:
    rows = np.concatenate(arms)
    left = len(rows) - (len(arms) - 1)
    a, b = (centred(values, arms)[rows] for values in (x, y))
    if left < MIN_TRIALS or not (varies(a) and varies(b)):
        return None
    value = _coefficient(a, b, kind)
    factor = 1 + value * value / 2 if kind == "spearman" else 1.0
    half = float(stats.norm.ppf(0.975)) * math.sqrt(factor / (left - 3))
    z = _transformed(value)
    ends = math.tanh(z - half), math.tanh(z + half)
    return Correlation(kind, over, training, len(rows), value, *ends)


def _together(own: list[Correlation], n_trainings: int) -> list[Correlation]:
    """One coefficient over three trainings or more; else those of each."""
    if n_trainings < MIN_TRAININGS:
        return own
    if len(own) < MIN_TRAININGS:
        return []
    mean = over_trainings(np.array([_transformed(each.value) for each in own]))
    value, low, high = (math.tanh(end) for end in (mean.value, *mean.interval(0.95)))
    return [Correlation(own[0].kind, own[0].over, "", sum(c.n for c in own), value, low, high)]


def _transformed(r: float) -> float:
    return math.atanh(min(max(r, -1 + 1e-12), 1 - 1e-12))


def _coefficient(x: np.ndarray, y: np.ndarray, kind: Kind) -> float:
    if kind == "spearman":
        x, y = stats.rankdata(x), stats.rankdata(y)
    return float(np.corrcoef(x, y)[0, 1])

"""By how much does one quantity change over the range of another? One line for each arm.

What is asked of the rate is the mean slope of the arms that the study chose, each weighted alike;
of accuracy, of which some arms have hardly any range, each arm weighs by the spread that it has.
Every arm has an intercept of its own: arms are chosen and no sample of anything.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy import stats

from sweeps.report.statistics.population import Population
from sweeps.report.statistics.trainings import LEVEL, MIN_TRAININGS, Estimate, over_trainings

Over = Literal["trainings", "draws", "trials"]
SHORT = 0.5  # of the range: an arm that has less of it cannot tell what happens over it


@dataclass(frozen=True)
class Slope:
    """The straight line through the trials of each arm, as the change of y from x_low to x_high.

    over: "trainings": a t test over the slopes of at least three trainings, of other trainings
    too; "draws": the same over at least three draws (seeds) of one given network, of that network
    alone; "trials": within one training, of that training alone.
    x_low, x_high: the widest range of x that one arm has, the same for all trainings. n_arms: arms
    that have half of it or more; the others say nothing. found: the change. low, high: its 95 %
    interval. p_arms: of arms that all have one slope; NaN where it cannot be tested. changes: of
    each training.
    """

    over: Over
    n: int
    n_arms: int
    n_trainings: int
    x_low: float
    x_high: float
    found: Estimate
    p_arms: float
    changes: dict[str, float]

    @property
    def change(self) -> float:
        return self.found.value

    @property
    def error(self) -> float:
        return self.found.error

    @property
    def df(self) -> float:
        return self.found.df

    @property
    def p(self) -> float:
        return self.found.p

    @property
    def low(self) -> float:
        return self.found.interval(LEVEL)[0]

    @property
    def high(self) -> float:
        return self.found.interval(LEVEL)[1]


def fit_slope(population: Population, *, alike: bool = True) -> Slope | None:
    """The change of y over the range of x, over trainings (or draws of one given network) where
    there are three or more.

    alike: whether arms weigh alike, those that have half of the range or more; else all arms, by
    their spread of x.

    None where x or y does not vary within an arm, no degree of freedom is left, or the trials are
    several `parts`, which are asked one by one.
    """
    points = population.points
    x, y = points["x"].to_numpy(float), points["y"].to_numpy(float)
    arm, arms = pd.factorize(points["arm"], sort=True)
    replicate, replicates = pd.factorize(population.replicate, sort=True)
    ends = arm_range(x, arm)
    if ends is None or not varies(y) or len(population.parts()) > 1:
        return None
    low, high = ends
    # To numbers from 0 to 1, so that the change over the range is the coefficient.
    cell, shortest = replicate * len(arms) + arm, SHORT if alike else 0.0
    lines = _lines((x - low) / (high - low), y, cell, len(replicates), shortest)
    over = kind_of(population)
    if over == "draws":  # an arm that some draws lack would set their means apart
        lines.slopes[:, np.isnan(lines.slopes).any(axis=0)] = np.nan
    told = np.isfinite(lines.slopes).any(axis=1)
    slopes = lines.slopes[told]
    if not told.any():
        return None
    weights = np.where(np.isfinite(slopes), 1.0 if alike else lines.spread[told], 0)
    weights = weights / weights.sum(axis=1, keepdims=True)
    found: Estimate | None
    means = (np.nan_to_num(slopes) * weights).sum(axis=1)
    if len(slopes) >= MIN_TRAININGS:
        found, p_arms = over_trainings(means), _arms_differ(slopes)
    elif over == "trials":
        found, p_arms = _within(lines, weights[0]), _lines_differ(lines)
    else:
        return None  # fewer have a slope
    if found is None:
        return None
    names = replicates[told] if over == "trainings" else population.trainings
    values = means if over == "trainings" else [found.value]
    changes = dict(zip(map(str, names), map(float, values), strict=True))
    return Slope(
        over=over,
        n=len(x),
        n_arms=int(np.isfinite(slopes).any(axis=0).sum()),
        n_trainings=len(changes),
        x_low=low,
        x_high=high,
        found=found,
        p_arms=p_arms,
        changes=changes,
    )


def kind_of(population: Population) -> Over:
    """Over what an answer is."""
    if len(population.trainings) > 1:
        return "trainings"
    return "draws" if population.replicate.nunique() > 1 else "trials"


def varies(values: np.ndarray) -> bool:
    """Whether values differ by more than rounding."""
    return len(values) > 1 and bool(np.ptp(values) > 1e-12 * max(1.0, np.abs(values).max()))


def arm_range(x: np.ndarray, arm: np.ndarray) -> tuple[float, float] | None:
    """The widest range of one arm; None where no arm has two values. arm: int [trial]."""
    if not len(x):
        return None
    low, high = _ends(x, arm)
    widest = int(np.argmax(high - low))
    apart = high[widest] - low[widest] > 1e-12 * max(1.0, float(np.abs(x).max()))
    return (float(low[widest]), float(high[widest])) if apart else None


def _ends(x: np.ndarray, group: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    low, high = np.full(group.max() + 1, np.inf), np.full(group.max() + 1, -np.inf)
    np.minimum.at(low, group, x)
    np.maximum.at(high, group, x)
    return low, high


@dataclass(frozen=True)
class _Lines:
    """The trials of arms that can tell, as deviations from the mean of their arm and training.

    arm: int [trial]. xx, xy, yy: sums of products over the trials of each of these arms. slopes,
    spread (xx again): [training, arm], NaN where an arm cannot tell.
    """

    x: np.ndarray
    y: np.ndarray
    arm: np.ndarray
    xx: np.ndarray
    xy: np.ndarray
    yy: np.ndarray
    slopes: np.ndarray
    spread: np.ndarray


def _lines(
    x: np.ndarray, y: np.ndarray, cell: np.ndarray, n_trainings: int, shortest: float
) -> _Lines:
    """cell: int [trial], one for each arm of each training, training by training."""
    low, high = _ends(x, cell)
    size = np.bincount(cell)
    tells = (size > 1) & (high - low >= max(shortest, 1e-9))
    stays = tells[cell]
    x, y, cell = x[stays], y[stays], cell[stays]
    n = np.maximum(size, 1)
    x = x - (np.bincount(cell, x, len(n)) / n)[cell]
    y = y - (np.bincount(cell, y, len(n)) / n)[cell]
    xx, xy, yy = (np.bincount(cell, part, len(n)) for part in (x * x, x * y, y * y))
    shape = n_trainings, -(-len(n) // n_trainings)
    slopes, spread = np.full((2, math.prod(shape)), np.nan)
    slopes[: len(n)][tells], spread[: len(n)][tells] = xy[tells] / xx[tells], xx[tells]
    xx, xy, yy = (part[tells] for part in (xx, xy, yy))
    arm = (np.cumsum(tells) - 1)[cell]
    return _Lines(x, y, arm, xx, xy, yy, slopes.reshape(shape), spread.reshape(shape))


def _within(lines: _Lines, weights: np.ndarray) -> Estimate | None:
    """The mean slope of the arms of one training, with its error. weights: of all arms.

    Residuals are those of one slope for all arms; the variance is HC2, with the degrees of freedom
    of Bell & McCaffrey 2002 (Survey Methodology 28:169), since noise may grow with x. Where slopes
    of arms differ, what differs counts as noise: the interval is rather too wide.
    """
    n_arms, x = len(lines.xx), lines.x
    if len(x) - n_arms - 1 < 1:
        return None
    alike = lines.arm[:, None] == lines.arm[None, :]
    left = np.eye(len(x)) - alike / alike.sum(axis=1) - np.outer(x, x) / (x @ x)
    weight = x / lines.xx[lines.arm] * weights[weights > 0][lines.arm]
    return robust(float(weight @ lines.y), weight, left, left @ lines.y)


def robust(value: float, weight: np.ndarray, left: np.ndarray, residual: np.ndarray) -> Estimate:
    """An estimate weight @ y with its HC2 error.

    left: [n, n], what makes residuals of y. A trial that is fitted exactly has no say in it.
    """
    kept = np.diag(left)
    known = kept > 1e-9
    scaled = np.where(known, weight / np.sqrt(np.where(known, kept, 1)), 0)
    variance = float((scaled**2) @ residual**2)
    together = np.outer(scaled, scaled) * left
    df = float(np.trace(together) ** 2 / (together**2).sum())
    return Estimate(value, math.sqrt(variance), df)


def _lines_differ(lines: _Lines) -> float:
    """p of the F test of one slope for all arms of a training."""
    more, df = len(lines.xx) - 1, len(lines.x) - 2 * len(lines.xx)
    if more < 1 or df < 1:
        return math.nan
    apart = float((lines.yy - lines.xy**2 / lines.xx).sum())
    together = float(lines.yy.sum() - lines.xy.sum() ** 2 / lines.xx.sum())
    if apart <= 1e-12 * together:
        return math.nan
    return float(stats.f.sf((together - apart) / more / (apart / df), more, df))


def _arms_differ(slopes: np.ndarray) -> float:
    """p of the F test of arms against arms within trainings, of those that all trainings have."""
    table = slopes[:, np.isfinite(slopes).all(axis=0)]
    n_trainings, n_arms = table.shape
    if n_arms < 2:
        return math.nan
    means = table.mean(axis=0)
    left = table - means - table.mean(axis=1, keepdims=True) + table.mean()
    df = (n_arms - 1) * (n_trainings - 1)
    noise = float((left**2).sum()) / df
    between = n_trainings * float(((means - means.mean()) ** 2).sum()) / (n_arms - 1)
    return float(stats.f.sf(between / noise, n_arms - 1, df)) if noise > 0 else math.nan

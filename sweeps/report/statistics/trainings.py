"""The training as the unit: trials that share a dense network are not independent."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

LEVEL = 0.95  # of two-sided intervals
MIN_TRAININGS = 3  # with fewer, each is told by itself, and nothing of trainings in general


@dataclass(frozen=True)
class Estimate:
    """A value with its standard error, and the degrees of freedom of its t distribution."""

    value: float
    error: float
    df: float

    @property
    def p(self) -> float:
        """Two-sided, of a value of 0."""
        if self.error == 0:
            return 0.0 if self.value else 1.0
        return float(2 * stats.t.sf(abs(self.value) / self.error, self.df))

    def interval(self, level: float) -> tuple[float, float]:
        """The two-sided interval of that level, in (0, 1)."""
        half = float(stats.t.ppf((1 + level) / 2, self.df)) * self.error
        return self.value - half, self.value + half

    def above(self, bound: float) -> float:
        """One-sided p of a value of `bound` or less."""
        if self.error == 0:
            return 0.0 if self.value > bound else 1.0
        return float(stats.t.sf((self.value - bound) / self.error, self.df))


def over_trainings(values: np.ndarray) -> Estimate:
    """The mean of one value for each training, and its error by their spread."""
    spread = float(values.std(ddof=1)) / math.sqrt(len(values))
    return Estimate(float(values.mean()), spread, len(values) - 1)


def interval_over_seeds(values: pd.Series) -> dict[str, float]:
    """value, the mean of one value per seed, n of them that have one, and low and high, its 95 %
    interval by t; without an interval where there are fewer than two."""
    values = values.dropna()
    found = {"value": float(values.mean()), "n": float(len(values))}
    if len(values) < 2:
        return found
    low, high = over_trainings(values.to_numpy(dtype=float)).interval(LEVEL)
    return found | {"low": low, "high": high}

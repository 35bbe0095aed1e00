"""How closely do two quantities go together? Correlations with bootstrap intervals."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from sweeps.report.population import Population

N_RESAMPLES = 2_000
MANY = 500  # trials from which on Fisher's interval is as good, and a bootstrap takes minutes
MIN_TRIALS = 4  # three points of nothing correlate by .9 more often than every fourth time

Kind = Literal["pearson", "spearman"]
KINDS: tuple[Kind, ...] = ("pearson", "spearman")


@dataclass(frozen=True)
class Correlation:
    """One coefficient. low, high: 95 % interval; p: two-sided, of no correlation.

    over: "pooled"; "within arms", of the deviations from the arm's means, so that what differs
    between arms counts for nothing; or the name of a method.
    """

    kind: Kind
    over: str
    n: int
    value: float
    low: float
    high: float
    p: float


def correlations(population: Population, *, seed: int = 0) -> tuple[Correlation, ...]:
    """Pearson and Spearman: pooled, within arms, and of every method alone.

    Intervals are percentiles of a stratified bootstrap: trials are drawn anew within each arm, as
    many as it has. The arms stay: they are what the study chose to compare, no sample of anything.
    From 500 trials on they are Fisher's (for Spearman with the factor of Bonett & Wright 2000).
    Where there are fewer than 4 trials, or a quantity does not vary, there is no coefficient.
    """
    points, arms = population.points, population.arms
    x, y = points["x"].to_numpy(), points["y"].to_numpy()
    groups: dict[str, Sequence[np.ndarray]] = {"pooled": arms}
    methods = points["method"].to_numpy()
    if len(set(methods)) > 1:
        for method in sorted(set(methods)):
            groups[method] = [arm for arm in arms if methods[arm[0]] == method]
    found = [
        _correlation(x, y, drawn, over, kind, seed)
        for over, drawn in groups.items()
        for kind in KINDS
    ]
    if len(arms) > 1:
        x_in, y_in = centred(x, arms), centred(y, arms)
        shared = [arm for arm in arms if len(arm) > 1]
        lost = len(shared) - 1  # means that were taken off, beyond the one that always is
        found += [
            _correlation(x_in, y_in, shared, "within arms", kind, seed, lost) for kind in KINDS
        ]
    return tuple(one for one in found if one is not None)


def centred(values: np.ndarray, arms: Sequence[np.ndarray]) -> np.ndarray:
    """Deviations from the arm's mean."""
    result = values.astype(float)
    for rows in arms:
        result[rows] -= result[rows].mean()
    return result


def _correlation(
    x: np.ndarray,
    y: np.ndarray,
    arms: Sequence[np.ndarray],
    over: str,
    kind: Kind,
    seed: int,
    lost: int = 0,
) -> Correlation | None:
    rows = np.concatenate(arms) if arms else np.empty(0, dtype=int)
    n = len(rows)
    if n - lost < MIN_TRIALS or not (varies(x[rows]) and varies(y[rows])):
        return None
    value = float(_coefficient(x[rows], y[rows], kind))
    ends = _fisher(value, n - lost, kind) if n >= MANY else _bootstrap(x, y, arms, kind, seed)
    low, high = ends
    return Correlation(kind, over, n, value, low, high, _p_value(value, n - 2 - lost))


def varies(values: np.ndarray) -> bool:
    """Whether values differ by more than rounding."""
    return len(values) > 1 and bool(np.ptp(values) > 1e-12 * max(1.0, np.abs(values).max()))


def _coefficient(x: np.ndarray, y: np.ndarray, kind: Kind) -> np.ndarray:
    """Along the last axis; NaN where a quantity does not vary."""
    if kind == "spearman":
        x, y = stats.rankdata(x, axis=-1), stats.rankdata(y, axis=-1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # constant resamples are NaN, and are left out
        return np.asarray(stats.pearsonr(x, y, axis=-1).statistic)


def _bootstrap(
    x: np.ndarray, y: np.ndarray, arms: Sequence[np.ndarray], kind: Kind, seed: int
) -> tuple[float, float]:
    rng = np.random.default_rng(seed)
    drawn = [arm[rng.integers(0, len(arm), (N_RESAMPLES, len(arm)))] for arm in arms]
    rows = np.concatenate(drawn, axis=1)
    values = _coefficient(x[rows], y[rows], kind)
    values = values[np.isfinite(values)]
    if not len(values):
        return -1.0, 1.0
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def _fisher(r: float, n: int, kind: Kind) -> tuple[float, float]:
    variance = (1 + r * r / 2 if kind == "spearman" else 1) / (n - 3)
    half = stats.norm.ppf(0.975) * np.sqrt(variance)
    z = np.arctanh(np.clip(r, -1 + 1e-12, 1 - 1e-12))
    return float(np.tanh(z - half)), float(np.tanh(z + half))


def _p_value(r: float, df: int) -> float:
    """The t test of a correlation; `df` counts the means that were taken off first."""
    left = max(1 - r * r, 0.0)
    if left == 0:
        return 0.0
    return float(2 * stats.t.sf(abs(r) * np.sqrt(df / left), df))

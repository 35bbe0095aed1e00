"""By how much does one quantity change over the range of another? Mixed model and equivalence."""

import math
import warnings
from dataclasses import dataclass

import numpy as np
from scipy import stats
from statsmodels.regression.linear_model import OLS
from statsmodels.regression.mixed_linear_model import MixedLM

from sweeps.report.population import Population
from sweeps.report.relation import centred, varies

LEVEL = 0.95
_MIXED = "mixed model, random intercept of each arm"
_FIXED = "least squares, an intercept of its own for each arm"
_PLAIN = "least squares, one intercept"


@dataclass(frozen=True)
class Slope:
    """The straight line through the trials, as the change of y from x_low to x_high.

    x_low, x_high: the widest range of x that one arm has (that all trials have, where intercepts
    are shared): nothing is said beyond, nor of gaps between arms. low, high: 95 % interval of the
    change. df: degrees of freedom of its t distribution: trials, less an
    intercept of each arm, less one.
    """

    how: str
    note: str  # why not the mixed model, where it is not; else empty
    n: int
    n_arms: int
    x_low: float
    x_high: float
    change: float
    error: float
    low: float
    high: float
    p: float
    df: int


@dataclass(frozen=True)
class Equivalence:
    """Two one-sided t tests (Schuirmann 1987) of a change of less than `margin` either way.

    low, high: the 90 % interval; both tests reject at 5 % where it lies within ± margin.
    """

    margin: float
    low: float
    high: float
    p: float

    @property
    def equivalent(self) -> bool:
        return self.p < 0.05


def fit_slope(population: Population) -> Slope | None:
    """y on x with a random intercept of each arm; seeds are the replicates within an arm.

    The model is y = a + b x + u_arm + e, by REML. Where it cannot be fitted (one arm, no variance
    between arms, no convergence) its intercepts are fixed instead, one for each arm. Intervals are
    of a t and not of the normal distribution, which would be too sure of a dozen trials. None
    where x or y does not vary or no degree of freedom is left.
    """
    points, arms = population.points, population.arms
    x, y = points["x"].to_numpy(float), points["y"].to_numpy(float)
    if not varies(x) or not varies(y):
        return None
    low, high = _range(x, arms)
    # To numbers near 1, so that the change over the range is the coefficient.
    unit, scale = (x - low) / (high - low), float(y.std())
    found = _fit(unit, (y - y.mean()) / scale, points["arm"].to_numpy(), arms)
    if found is None:
        return None
    change, error, df, how, note = found
    change, error = change * scale, error * scale
    half = float(stats.t.ppf((1 + LEVEL) / 2, df)) * error
    p = float(2 * stats.t.sf(abs(change) / error, df)) if error > 0 else 0.0
    ends = (change - half, change + half)
    return Slope(how, note, len(x), len(arms), low, high, change, error, *ends, p, df)


def equivalence(slope: Slope, margin: float) -> Equivalence:
    """Is the change over the range smaller than `margin`? Raises ValueError unless it is > 0."""
    if not 0 < margin < math.inf:
        raise ValueError(f"the smallest change of interest must be positive, got {margin}")
    half = float(stats.t.ppf(LEVEL, slope.df)) * slope.error
    p = 0.0 if abs(slope.change) < margin else 1.0
    if slope.error > 0:
        above = stats.t.sf((slope.change + margin) / slope.error, slope.df)
        below = stats.t.cdf((slope.change - margin) / slope.error, slope.df)
        p = float(max(above, below))
    return Equivalence(margin, slope.change - half, slope.change + half, p)


def _range(x: np.ndarray, arms: list[np.ndarray]) -> tuple[float, float]:
    widest = x[max(arms, key=lambda rows: float(np.ptp(x[rows])))]
    over = widest if varies(centred(x, arms)) else x
    return float(over.min()), float(over.max())


Fit = tuple[float, float, int, str, str]


def _fit(x: np.ndarray, y: np.ndarray, arm: np.ndarray, arms: list[np.ndarray]) -> Fit | None:
    """(coefficient, standard error, df, how, note)."""
    n, n_arms = len(x), len(arms)
    if n_arms == 1:
        return _least_squares(x, y, np.ones((n, 1)), _PLAIN, "there is one arm only")
    if not varies(centred(x, arms)):
        note = "no arm has more than one value to compare"
        return _least_squares(x, y, np.ones((n, 1)), _PLAIN, note)
    df = n - n_arms - 1
    if df < 1:
        return None
    mixed = _mixed(x, y, arm)
    if mixed is not None:
        return (*mixed, df, _MIXED, "")
    dummies = (arm[:, None] == np.unique(arm)[None, :]).astype(float)
    note = "the variance between arms is too small, or the arms too few, for a mixed model"
    return _least_squares(x, y, dummies, _FIXED, note)


def _mixed(x: np.ndarray, y: np.ndarray, arm: np.ndarray) -> tuple[float, float] | None:
    design = np.column_stack([np.ones_like(x), x])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what they warn of is looked at below
        try:
            result = MixedLM(y, design, groups=arm).fit(reml=True, method=["powell"])
            between = float(result.cov_re[0, 0])
            change, error = float(result.fe_params[1]), float(result.bse_fe[1])
        except (np.linalg.LinAlgError, ValueError):
            return None
    if not result.converged or not (math.isfinite(error) and error > 0):
        return None
    # On the boundary its standard error is not to be trusted.
    return (change, error) if between > 1e-6 * float(result.scale) else None


def _least_squares(
    x: np.ndarray, y: np.ndarray, intercepts: np.ndarray, how: str, note: str
) -> Fit | None:
    df = len(x) - intercepts.shape[1] - 1
    if df < 1:
        return None
    result = OLS(y, np.column_stack([intercepts, x])).fit()
    return float(result.params[-1]), float(result.bse[-1]), df, how, note

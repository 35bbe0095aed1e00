"""At matched accuracy: of networks that work equally well, does pruning change MIS?

Accuracy on a few hundred images is known with an error, and to adjust for it as it was measured
leaves part of its effect to sparsity. Accuracy on one half of the validation images is therefore
the instrument for accuracy on the other (two-stage least squares).
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sweeps.report.read.values import (
    HALVES,
    is_pruned,
    is_retrained,
    number,
    run_to_the_end,
    text,
)
from sweeps.report.statistics.population import Population, choose, prepared
from sweeps.report.statistics.slope import Slope, arm_range, kind_of, robust
from sweeps.report.statistics.trainings import MIN_TRAININGS, Estimate, over_trainings

CLOSE = 0.05  # of accuracy: what is called to work equally well
STRONG = 10.0  # F of an instrument, below which the estimate is not to be trusted (Staiger & Stock)

CAVEAT = "This holds if nothing else moves accuracy and MIS together."
NO_HALVES = "the accuracy on two halves of the validation images was not measured"


def with_halves(population: Population) -> Population:
    """The trials whose accuracy was measured on both halves of the validation images."""
    known = population.points[["a", "b"]].notna().all(axis=1)
    left_out = dict(population.left_out)
    if (~known).any():
        left_out["without an accuracy on two halves of the images"] = int((~known).sum())
    return Population(population.stratum, population.only(known).points, left_out)


def fit_matched(population: Population) -> Slope | str:
    """The change of y over the range of x at equal accuracy; one sentence where there is none."""
    points = population.points
    if points.empty:
        return NO_HALVES
    arm, arms = pd.factorize(points["arm"], sort=True)
    training, trainings = pd.factorize(population.replicate, sort=True)
    over = kind_of(population)
    columns = points[["x", "y", "a", "b"]].to_numpy(float, copy=True)
    ends = arm_range(columns[:, 0], arm)
    if ends is None:
        return "no arm has two values of it"
    low, high = ends
    columns[:, 0] = (columns[:, 0] - low) / (high - low)
    own = {
        str(name): _adjusted(columns[training == place], arm[training == place])
        for place, name in enumerate(trainings)
    }
    known = {name: found for name, found in own.items() if found is not None}
    if len(trainings) == 1 and known:
        found = next(iter(known.values()))
    elif len(known) >= MIN_TRAININGS:
        found = over_trainings(np.array([each.value for each in known.values()]))
    else:
        return "accuracy differs too little beyond what goes with it to be told from its own error"
    changes = {name: each.value for name, each in known.items()}
    if over != "trainings":
        changes = {population.trainings[0]: found.value}
    return Slope(
        over=over,
        n=len(points),
        n_arms=len(arms),
        n_trainings=len(changes),
        x_low=low,
        x_high=high,
        found=found,
        p_arms=math.nan,
        changes=changes,
    )


def _adjusted(columns: np.ndarray, arm: np.ndarray) -> Estimate | None:
    """The coefficient of x in y = arm + x + accuracy, each half the instrument of the other once,
    with its HC2 error.

    columns: [trial, 4], x, y and both accuracies. None where too few trials are left, or the
    instrument is weak.
    """
    size = np.bincount(arm)
    shared = size[arm] > 1
    columns, arm = columns[shared], arm[shared]
    sums = [np.bincount(arm, column, len(size)) for column in columns.T]
    x, y, a, b = (columns - (np.array(sums) / np.maximum(size, 1)).T[arm]).T
    df = len(x) - int((size > 1).sum()) - 2
    if df < 1 or x @ x == 0 or _strength(x, a, b, df) < STRONG:
        return None
    values, weight, residual = [], np.zeros(len(x)), np.zeros(len(x))
    for accuracy, instrument in ((a, b), (b, a)):
        design, instruments = np.column_stack([x, accuracy]), np.column_stack([x, instrument])
        solve = np.linalg.solve(instruments.T @ design, instruments.T)
        coefficients = solve @ y
        values.append(coefficients[0])
        weight += solve[0] / 2
        residual += (y - design @ coefficients) / 2
    alike = arm[:, None] == arm[None, :]
    design = np.column_stack([x, a + b])
    left = np.eye(len(x)) - alike / alike.sum(axis=1) - design @ np.linalg.pinv(design)
    return robust(float(np.mean(values)), weight, left, residual)


def _strength(x: np.ndarray, a: np.ndarray, b: np.ndarray, df: int) -> float:
    """F of one half's accuracy as the instrument of the other's, beyond x."""
    a, b = (half - x * (x @ half) / (x @ x) for half in (a, b))
    if a @ a == 0 or b @ b == 0 or a @ b <= 0:
        return 0.0
    share = min(float((a @ b) ** 2 / ((a @ a) * (b @ b))), 1 - 1e-12)
    return share / (1 - share) * df


@dataclass(frozen=True)
class Matched:
    """The networks that match their control on one half of the images: a description, no test.

    n of n_all networks. accuracy: their mean difference to it on the other half. change: the mean
    difference in `mis/change`. error: of change, over trainings; NaN of fewer than three.
    """

    n: int
    n_all: int
    n_trainings: int
    accuracy: float
    change: float
    error: float


def matched_subset(trials: pd.DataFrame, stratum: str) -> Matched | None:
    """Pruned networks within CLOSE of the control of their training: of those retrained, the
    dense network that was retrained, of others the dense one; without those that were stopped
    early, whose accuracy is not final. None where nothing is known."""
    here = run_to_the_end(prepared(trials))
    found = choose(here, HALVES[0], "mis/change", stratum).points
    retrained = dict(
        zip(text(here, "key")[is_pruned(here)], is_retrained(here)[is_pruned(here)], strict=True)
    )
    values = pd.DataFrame({"a": number(here, HALVES[0]), "b": number(here, HALVES[1])})
    values = values.assign(change=number(here, "mis/change"), training=here["training"])
    # Of the dense network itself the change is 0.
    values["change"] = values["change"].mask(~is_retrained(here), 0.0)
    controls = values[text(here, "method") == "dense"]
    level = controls.groupby([controls["training"], is_retrained(here)[controls.index]]).mean()
    of = pd.MultiIndex.from_arrays([found["training"], found["key"].map(retrained)])
    control = level.reindex(of).reset_index(drop=True)
    known = found.assign(
        away=found["x"] - control["a"],
        accuracy=found["b"] - control["b"],
        change=found["y"] - control["change"],
    ).dropna(subset=["away", "accuracy", "change"])
    if known.empty:
        return None
    close = known[known["away"].abs() <= CLOSE]
    means = close.groupby("training")[["accuracy", "change"]].mean()
    changes = means["change"].to_numpy(float)
    error = over_trainings(changes).error if len(means) >= MIN_TRAININGS else math.nan
    accuracy, change = means["accuracy"].mean(), means["change"].mean()
    return Matched(len(close), len(known), len(means), accuracy, change, error)

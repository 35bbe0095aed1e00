"""Sweeps whose truth is known: what the statistics of the report are tried on.

Accuracy falls with the rate; MIS is drawn by what a `Truth` says. All numbers are of MIS over the
range of rates, or of top-1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from sweeps.report.statistics.population import prepared

RATES = (0.2, 0.4, 0.6, 0.8)
GAP, GAP_NOISE = 0.1, 0.004  # MIS of dense minus untrained, and its error in each of the two


@dataclass(frozen=True)
class Truth:
    """What is so. effect: change of MIS from the lowest to the highest rate, mean over arms.

    of_arms: changes that each arm has beside it. of_trainings: sd between trainings of a change
    that all arms of one share. by_accuracy: MIS for 1 of top-1. hidden: sd of something unmeasured
    that moves accuracy by as much and MIS by half. selection: MIS that a higher rate gains since
    other units are left; their change of the same units has none of it. levels: sd of the arms'
    levels of accuracy; MIS has a tenth of it. gap: whether an untrained network is there.
    """

    effect: float = 0.0
    of_arms: tuple[float, ...] = ()
    of_trainings: float = 0.0
    noise: float = 0.01
    kind: Literal["normal", "heavy", "unequal", "growing"] = "normal"
    by_accuracy: float = 0.0
    hidden: float = 0.0
    selection: float = 0.0
    levels: float = 0.0


def layout(
    n_arms: int = 6, rates: Sequence[float] = RATES, n_trainings: int = 1, n_criteria: int = 1
) -> pd.DataFrame:
    """The trials of a sweep before anything is measured, and a dense and an untrained network of
    each training. Arms differ in their method, three at most, and then in their schedule."""
    methods = ("unstructured", "structured", "connection")
    rows = []
    for seed in range(n_trainings):
        rows.append({"method": "dense", "retraining": "none", "seed": seed, "rate": 0.0})
        rows.append({"method": "untrained", "retraining": "recalibrate", "seed": seed, "rate": 0.0})
        for arm in range(n_arms):
            for rate in rates:
                rows.append(
                    {
                        "method": methods[arm % 3],
                        "schedule": f"schedule {arm // 3}",
                        "criterion": "l1",
                        "retraining": "finetune",
                        "seed": seed,
                        "rate": rate,
                        "place": arm,
                    }
                )
    trials = pd.DataFrame(rows).assign(recipe="", outcome="completed", **{"mis/error": GAP_NOISE})
    trials["key"] = [f"{place:04d}" for place in range(len(trials))]
    trials["prune/sparsity"] = trials["rate"]
    return prepared(trials)


@dataclass(frozen=True)
class Drawn:
    """What was measured of the trials of a layout, an array each; halves: [2, trial]."""

    top1: np.ndarray
    halves: np.ndarray
    mis: np.ndarray
    change: np.ndarray
    slopes: np.ndarray  # the true change of each training, mean over arms

    def on(self, trials: pd.DataFrame) -> pd.DataFrame:
        """The trials with it."""
        values = {"val/top1": self.top1, "val/top1_a": self.halves[0], "val/top1_b": self.halves[1]}
        return trials.assign(**values, **{"mis/mean": self.mis, "mis/change": self.change})


def draw(rng: np.random.Generator, trials: pd.DataFrame, truth: Truth) -> Drawn:
    """Measure the trials of a layout."""
    is_pruned = trials["place"].notna().to_numpy()
    arm = trials["place"].fillna(0).to_numpy(int)
    seed, rate = trials["seed"].to_numpy(int), trials["rate"].to_numpy()
    is_dense = (trials["method"] == "dense").to_numpy()
    n, n_arms, n_trainings = len(trials), arm.max() + 1, seed.max() + 1
    inside = rate[is_pruned]
    x = np.where(is_pruned, (rate - inside.min()) / max(np.ptp(inside), 1e-9), 0)
    hidden = rng.normal(0, truth.hidden, n)
    level = rng.normal(0, truth.levels, n_arms)
    falls = rng.uniform(0.15, 0.45, n_arms)
    top1 = 0.75 - falls[arm] * x**2 + level[arm] + hidden + rng.normal(0, 0.03, n)
    top1 = np.where(is_pruned, top1, np.where(is_dense, 0.8, 0.05)).clip(0.02, 0.98)
    halves = rng.binomial(400, top1, (2, n)) / 400
    slopes = truth.effect + rng.normal(0, truth.of_trainings, n_trainings)
    slope = slopes[seed]
    if truth.of_arms:
        slope = slope + np.array(truth.of_arms)[arm % len(truth.of_arms)]
    base = 0.68 + rng.normal(0, 0.01, n_trainings)[seed]
    change = slope * x + truth.by_accuracy * (top1 - 0.75 - level[arm]) + hidden / 2
    change = change + rng.normal(0, 0.01, n_arms)[arm] + level[arm] / 10
    change = np.where(is_pruned, change + truth.noise * _noise(rng, truth.kind, x, arm), 0)
    mis = base + change + truth.selection * x * is_pruned
    mis = mis + np.where(is_pruned, 0, rng.normal(0, GAP_NOISE, n) - GAP * ~is_dense)
    return Drawn(halves.mean(axis=0), halves, mis, np.where(is_pruned, change, 0), slopes)


def stopped(trials: pd.DataFrame, below: float) -> pd.DataFrame:
    """The same where trials of less accuracy were stopped, and scored as they were."""
    low = trials["place"].notna() & (trials["val/top1"] < below)
    return trials.assign(outcome=np.where(low, "stopped", "completed"))


def _noise(rng: np.random.Generator, kind: str, x: np.ndarray, arm: np.ndarray) -> np.ndarray:
    """Of standard deviation 1, in the middle of things."""
    if kind == "heavy":
        return rng.standard_t(3, len(x)) / np.sqrt(3)
    scale = {"unequal": np.where(arm % 2, 0.4, 1.6), "growing": 0.4 + 1.2 * x}.get(kind, 1.0)
    return scale * rng.standard_normal(len(x))

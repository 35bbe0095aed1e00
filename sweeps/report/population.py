"""Which trials a question is asked of, and which are left out and why."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from sweeps.report.values import flag, is_pruned, is_retrained, number, text

ARM = ("method", "criterion", "schedule", "retraining", "recipe")
"""What a trial is apart from its rate and its seed: trials that share it are one arm."""

STRATA = {"all": "pruned", "retrained": "retrained", "not retrained": "pruned, not retrained"}
"""Stratum -> how its networks are called."""


@dataclass(frozen=True)
class Population:
    """The trials that a question can be asked of.

    points: a row a trial, columns x, y (finite), arm, method, seed, outcome, held.
    left_out: reason -> number of trials, of the stratum's own.
    """

    stratum: str
    points: pd.DataFrame
    left_out: dict[str, int]

    @property
    def arms(self) -> list[np.ndarray]:
        """Row numbers of the trials of each arm."""
        return [np.asarray(rows) for rows in self.points.groupby("arm", sort=True).indices.values()]

    @property
    def n_seeds(self) -> int:
        return int(self.points["seed"].nunique())


def outcomes(trials: pd.DataFrame) -> pd.DataFrame:
    """The trials with `mis/change`: MIS minus that of the same units of the dense network."""
    if "mis/change" in trials or "mis/dense_same_units" not in trials:
        return trials
    change = number(trials, "mis/mean") - number(trials, "mis/dense_same_units")
    return trials.assign(**{"mis/change": change})


def choose(trials: pd.DataFrame, x: str, y: str, stratum: str = "all") -> Population:
    """The pruned trials of a stratum that have both values.

    Left out: networks that are not pruned; controls that prune the most important first; trials
    whose layers collapsed, that failed, that are known not to be measured, or whose values are
    missing or not finite. A trial that was stopped early has its values and stays: without it only
    survivors would be compared.
    trials: as in `SweepFrames`; columns that are absent count as missing values.
    Raises ValueError for an unknown stratum.
    """
    if stratum not in STRATA:
        raise ValueError(f"stratum must be one of {', '.join(STRATA)}, got {stratum!r}")
    here = outcomes(trials)
    if stratum != "all":
        here = here[~is_pruned(here) | (is_retrained(here) == (stratum == "retrained"))]
    xs, ys = number(here, x), number(here, y)
    reasons = {
        "not pruned": ~is_pruned(here),
        "pruned the most important first": flag(here, "most_important_first"),
        "collapsed": text(here, "outcome") == "collapsed",
        "failed": text(here, "outcome") == "failed",
        "typed in by hand": flag(here, "placeholder"),
        "of a run whose other values were typed in": flag(here, "placeholder_run"),
        "without a finite value": ~(np.isfinite(xs) & np.isfinite(ys)),
    }
    stays, left_out = pd.Series(True, index=here.index), {}
    for reason, holds in reasons.items():
        if (stays & holds).any():
            left_out[reason] = int((stays & holds).sum())
        stays &= ~holds
    points = pd.DataFrame(
        {
            "x": xs,
            "y": ys,
            "arm": arm_names(here),
            "method": text(here, "method"),
            "seed": number(here, "seed").fillna(0),
            "outcome": text(here, "outcome"),
            "held": ~text(here, "prune.held").isin(["False"]),
        }
    )
    return Population(stratum, points[stays].reset_index(drop=True), left_out)


def arm_names(trials: pd.DataFrame) -> pd.Series:
    """What a trial is apart from its rate and its seed, as text."""
    name = pd.Series("", index=trials.index)
    for column in ARM:
        name = name + " " + text(trials, column)
    return name.str.split().str.join(" ")

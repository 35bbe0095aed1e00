"""How small is none? A fifth of what training gives to MIS, in the same sweep."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sweeps.report.read.pairs import pairs
from sweeps.report.read.values import is_retrained, number, text
from sweeps.report.statistics.population import prepared
from sweeps.report.statistics.slope import Slope
from sweeps.report.statistics.trainings import MIN_TRAININGS, Estimate, over_trainings

FRACTION = 0.2
"""Of dense minus untrained: a change that is smaller is called none. A choice: MIS has no scale of
its own, since it depends on the images and the similarity."""
CLEAR = 2.0  # standard errors by which the gap must be above 0, before anything is called none


@dataclass(frozen=True)
class Gap:
    """MIS of the dense network minus that of an untrained one. error: over images and units."""

    value: float
    error: float


@dataclass(frozen=True)
class Equivalence:
    """Two one-sided t tests (Schuirmann 1987) of a change of less than FRACTION x gap either way.

    margin: mean of FRACTION x gap. The gap is measured, too, so that what is tested is change
    plus, and minus, FRACTION x gap of each training; within one, with the gap's own error.
    """

    margin: float
    p: float


def gaps(trials: pd.DataFrame) -> dict[str, Gap]:
    """The gap of each training that has a dense and an untrained network with a MIS.

    An untrained network is of the training of its pair and seed; of given weights it serves all
    seeds.
    """
    here, found = prepared(trials), dict[str, Gap]()
    for rows in pairs(here).values():
        found |= _gaps_of_pair(here[rows])
    return found


def _gaps_of_pair(here: pd.DataFrame) -> dict[str, Gap]:
    mis, error = number(here, "mis/mean"), number(here, "mis/error")
    is_dense = (text(here, "method") == "dense") & ~is_retrained(here) & np.isfinite(mis)
    is_untrained = (text(here, "method") == "untrained") & np.isfinite(mis)
    alike, found = text(here, "seed"), {}
    for name in here.loc[is_dense, "training"].unique():
        dense = is_dense & (here["training"] == name)
        untrained = is_untrained & alike.isin(set(alike[dense]))
        if untrained.any():
            parts = [(mis[rows].mean(), error[rows].mean()) for rows in (dense, untrained)]
            (high, high_error), (low, low_error) = parts
            found[str(name)] = Gap(float(high - low), math.hypot(high_error, low_error))
    return found


def equivalence(slope: Slope, known: Mapping[str, Gap]) -> Equivalence | None:
    """Is the change over the range smaller than FRACTION of the gap?

    None where a training has no gap, or the gap is not above 0 by two standard errors.
    """
    names = [name for name in slope.changes if name in known]
    if len(names) < len(slope.changes):
        return None
    values = np.array([known[name].value for name in names])
    if slope.over != "trainings":
        gap = Estimate(float(values[0]), known[names[0]].error, math.inf)
    elif len(names) >= MIN_TRAININGS:
        gap = over_trainings(values)
    if not gap.value > CLEAR * gap.error:  # also where its error is not known
        return None
    margin = FRACTION * gap.value
    if slope.over != "trainings":
        error = math.hypot(slope.error, FRACTION * gap.error)
        up, down = (Estimate(s * slope.change + margin, error, slope.df) for s in (1, -1))
    else:
        changes = np.array([slope.changes[name] for name in names])
        up, down = (over_trainings(s * changes + FRACTION * values) for s in (1, -1))
    return Equivalence(margin, max(up.above(0), down.above(0)))

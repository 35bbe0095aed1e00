"""Can the numbers be trusted? One check a way in which such a study goes wrong.

The ways are those found in released studies: masks that grew back, a dense network that was
another one, no retrained control, dead units that score near 1, values typed in, one training;
and trials of one sweep that were not made alike.
"""

from collections.abc import Mapping, Sequence
from typing import get_args

import pandas as pd

from sweeps.report.checks.check import Check, Status, listed
from sweeps.report.checks.design import (
    check_controls,
    check_dense,
    check_masks,
    check_retrained_control,
    check_same_dense,
    check_sparsity,
    check_trials,
)
from sweeps.report.checks.making import check_made_alike, check_trainings
from sweeps.report.checks.scores import (
    check_dead_units,
    check_probe_images,
    check_same_units,
    check_scores_differ,
    check_shuffled,
    check_untrained,
    check_validation_images,
)
from sweeps.report.read.pairs import pairs

_WORST_FIRST = get_args(Status)[1:] + get_args(Status)[:1]
_MOST_SAID = 4  # of the pairs of a sweep

__all__ = ["Check", "checks"]


def checks(
    trials: pd.DataFrame,
    *,
    units: Mapping[str, pd.DataFrame] | None = None,
    missing: int = 0,
    failed: int = 0,
) -> list[Check]:
    """All checks, in the order in which a reader asks.

    trials: as in `SweepFrames`, or `published_trials()`. Of the trials' params those are read, by
    their dotted names, that stand as columns: prune.held, network.…, data.…, score.…; and the tags
    device, precision, torch and code. units: trial key -> table of its units.
    missing, failed: planned trials without a finished run.
    What the trials do not tell is "unknown"; nothing is raised for it.
    """
    apart = [(name, _of_pair(trials[rows], units or {})) for name, rows in pairs(trials).items()]
    return [
        check_trials(trials, missing, failed),
        *_together(apart),
        check_trainings(trials),
    ]


def _of_pair(trials: pd.DataFrame, units: Mapping[str, pd.DataFrame]) -> list[Check]:
    """Of one pair of network and data: numbers of several are nowhere compared."""
    return [
        check_masks(trials),
        check_sparsity(trials),
        check_same_dense(trials),
        check_dense(trials),
        check_retrained_control(trials),
        *check_controls(trials),
        check_untrained(trials),
        check_dead_units(trials, units),
        check_scores_differ(trials),
        *check_same_units(trials),
        check_shuffled(trials),
        check_probe_images(trials),
        check_validation_images(trials),
        check_made_alike(trials),
    ]


def _together(apart: Sequence[tuple[str, list[Check]]]) -> list[Check]:
    """A check of several pairs is as its worst, and says which these are."""
    by_name: dict[str, list[tuple[str, Check]]] = {}
    for pair, found in apart:
        for check in found:
            by_name.setdefault(check.name, []).append((pair, check))
    return [_worst(name, found) for name, found in by_name.items()]


def _worst(name: str, found: Sequence[tuple[str, Check]]) -> Check:
    status = min((check.status for _, check in found), key=_WORST_FIRST.index)
    said: dict[str, list[str]] = {}  # -> the pairs of which it is said
    for pair, check in found:
        if check.status == status:
            said.setdefault(check.said, []).append(pair)
    parts = [f"{listed(names)}: {what}" if names[0] else what for what, names in said.items()]
    more = [f"and so for {n} more"] if (n := len(parts) - _MOST_SAID) > 0 else []
    return Check(name, status, "; ".join([*parts[:_MOST_SAID], *more]))

"""Can the numbers be trusted? One check a way in which such a study goes wrong.

The ways are those found in released studies: masks that grew back, a dense network that was
another one, no retrained control, dead units that score near 1, values typed in, one training;
and trials of one sweep that were not made alike.
"""

from collections.abc import Mapping

import pandas as pd

from sweeps.report.checks.check import Check
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
    return [
        check_trials(trials, missing, failed),
        check_masks(trials),
        check_sparsity(trials),
        check_same_dense(trials),
        check_dense(trials),
        check_retrained_control(trials),
        *check_controls(trials),
        check_untrained(trials),
        check_dead_units(trials, units or {}),
        check_scores_differ(trials),
        *check_same_units(trials),
        check_shuffled(trials),
        check_probe_images(trials),
        check_validation_images(trials),
        check_made_alike(trials),
        check_trainings(trials),
    ]

"""Checks of what computed the trials: alike, and from several trainings."""

import pandas as pd

from sweeps.report.checks.check import Check, Status, listed
from sweeps.report.read.values import is_pruned, text
from sweeps.report.statistics.population import prepared
from sweeps.report.statistics.trainings import MIN_TRAININGS
from trainables.config.replicates import DRAWS, identity_fields

_MADE_ON = {"precision": "precision", "device": "device", "torch": "torch", "code": "code version"}
"""Tag of a trial -> what it is called."""
_CHANGES_NUMBERS = ("precision", "data.", "score.", "compute.precision")
_MEANT = (*DRAWS, "score.rotated")  # replicates, and a control


def check_made_alike(trials: pd.DataFrame) -> Check:
    """Do trials differ in precision, data or score (red), or in device, torch or code (amber)?

    A draw of other images (data.seed) is a replicate's. What a trial does not tell differs from
    what others tell.
    """
    name = "made alike"
    fields = [n for n in identity_fields() if n.startswith(_CHANGES_NUMBERS[1:])]
    names = {n: n for n in fields if n not in _MEANT} | _MADE_ON
    found = {column: text(trials, column) for column in names}
    if not any((found[column] != "").any() for column in _MADE_ON):
        return Check(name, "unknown", "the trials do not say what computed them")
    apart = {
        column: [value or "not told" for value in values.unique()]
        for column, values in found.items()
        if values.nunique() > 1
    }
    if not apart:
        told = ", ".join(v.iloc[0] for c, v in found.items() if c in _MADE_ON and v.iloc[0])
        return Check(name, "ok", f"all {len(trials)} trials: {told}")
    status: Status = "failed" if any(c.startswith(_CHANGES_NUMBERS) for c in apart) else "unknown"
    said = "; ".join(f"{names[column]} ({listed(values)})" for column, values in apart.items())
    return Check(name, status, f"trials differ in {said}: their numbers need not compare")


def check_trainings(trials: pd.DataFrame) -> Check:
    """Is anything known of how much a result differs from training to training?

    A training is a distinct dense network: of given weights there is one, whatever the seeds.
    Networks and training sets that a study compares are no trainings of one another.
    """
    name = "several trainings"
    pruned = prepared(trials[is_pruned(trials)])
    if pruned.empty:
        return Check(name, "unknown", "no trial is pruned")
    n, seeds = pruned["training"].nunique(), text(pruned, "seed").nunique()
    of_each = pruned.groupby("pair")["training"].nunique()
    if of_each.min() >= MIN_TRAININGS:
        return Check(name, "ok", f"{n} dense networks")
    if len(of_each) > 1:
        least = int(of_each.min())
        said = f"{len(of_each)} pairs of network and data, of one only {least} training"
        said += "s" * (least != 1)
        return Check(name, "unknown", f"{said}: how another training would come out is not known")
    said = "one dense network" if n == 1 else f"{n} dense networks"
    said += f" under {seeds} seeds" if seeds > n else ""
    return Check(name, "unknown", f"{said}: how another training would come out is not known")

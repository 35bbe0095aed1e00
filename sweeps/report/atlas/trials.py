"""What the atlas says of each network: what it is called, and its numbers."""

from collections.abc import Collection, Sequence
from typing import Any

import pandas as pd

from sweeps.plan.metrics import METRICS
from sweeps.report.page.table import cell
from sweeps.report.read.frames import SweepFrames
from sweeps.report.read.values import is_pruned, is_retrained, number, text

_TOLD = ("val/top1", "prune/sparsity", "mis/mean", "mis/change", "dissection/interpretable")


def about_trials(
    frames: SweepFrames, keys: Sequence[str], **parts: Collection[str]
) -> list[dict[str, Any]]:
    """Of each trial its key, label, group (for a list in groups), numbers as [name, text], and
    of each part whether its units have one.

    parts: name -> the keys of the trials that have it.
    """
    trials = frames.trials.set_index("key", drop=False)
    told = [metric for metric in METRICS if metric.name in _TOLD and metric.name in trials]
    found = []
    for row in trials.loc[list(keys)].to_dict("records"):
        facts = []
        for metric in told:
            value, error = row.get(metric.name), row.get(metric.error)
            if isinstance(value, float) and value == value:
                known = isinstance(error, float) and error == error
                spread = f" ± {error:.3f}" if known else ""
                facts.append([metric.heading, cell(metric, value) + spread])
        label, outcome = str(row["label"]), str(row["outcome"])
        group = str(row["method"]).replace("_", " ")
        more = f" ({outcome})" if outcome not in ("completed", "") else ""
        about = {"key": str(row["key"]), "label": label + more, "group": group, "facts": facts}
        found.append(about | {part: row["key"] in those for part, those in parts.items()})
    return found


def start(frames: SweepFrames, keys: Sequence[str]) -> list[int]:
    """Which two the page opens with: the first, and one that was pruned and retrained, of those at
    once that work half as well as the first the one in the middle by sparsity; else one that was
    pruned."""
    trials = frames.trials.set_index("key", drop=False).loc[list(keys)]
    pruned, retrained = is_pruned(trials), is_retrained(trials)
    at_once, top1 = text(trials, "schedule") == "one_shot", number(trials, "val/top1")
    works = top1 >= top1.iloc[0] / 2
    for wanted in (pruned & retrained & at_once & works, pruned & retrained, pruned):
        if wanted.any():
            return [0, list(keys).index(middle(trials[wanted]))]
    return [0, min(1, len(keys) - 1)]


def middle(trials: pd.DataFrame) -> str:
    """The key of the network in the middle by sparsity."""
    ordered = number(trials, "prune/sparsity").sort_values(kind="stable")
    return str(trials.loc[ordered.index[len(ordered) // 2], "key"])

"""The trials of a sweep as a table: the same numbers for the terminal and for files."""

import math

import pandas as pd
from rich.box import SIMPLE
from rich.table import Table

# Beside the label; what the terminal has no room for is in the files.
_COLUMNS = {
    "sparsity": "prune/sparsity",
    "top-1": "val/top1",
    "MIS": "mis/mean",
    "change": "mis/change",
    "units": "mis/n_units",
    "dead": "mis/n_dead",
}
_FILE_COLUMNS = _COLUMNS | {
    "tasks solved": "mis/task_accuracy",
    "MIS, dead as 0.5": "mis/mean_dead_as_half",
    "top-5": "val/top5",
    "loss": "val/loss",
    "sparsity of network": "prune/sparsity_network",
    "collapsed layers": "prune/n_collapsed",
}


def summary(trials: pd.DataFrame) -> pd.DataFrame:
    """A row a trial, dense networks first; `change` of MIS: to the same units of the dense network.

    trials: as in `SweepFrames`.
    """
    trials = trials.assign(**{"mis/change": trials["mis/mean"] - trials["mis/dense_same_units"]})
    is_pruned = ~trials["method"].isin(["dense", "untrained"])
    ordered = trials.assign(pruned=is_pruned).sort_values(
        ["pruned", "method", "rate", "retraining", "schedule", "criterion", "seed"]
    )
    table = ordered.reindex(columns=["label", *_FILE_COLUMNS.values(), "outcome", "key"])
    return table.rename(columns={metric: name for name, metric in _FILE_COLUMNS.items()})


def terminal_table(table: pd.DataFrame, title: str) -> Table:
    """`summary` for people."""
    shown = Table(title=title, title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0))
    shown.add_column("trial", no_wrap=True)
    for name in _COLUMNS:
        shown.add_column(name, justify="right", no_wrap=True)
    section = None
    for row in table.to_dict("records"):
        kind = str(row["label"]).split()[0]
        if section not in (None, kind):
            shown.add_section()
        section = kind
        label = str(row["label"])
        if row["outcome"] != "completed":
            label += f" ({row['outcome']})"
        shown.add_row(label, *(_cell(name, float(row[name])) for name in _COLUMNS))
    return shown


def _cell(name: str, value: float) -> str:
    if math.isnan(value):
        return "–"
    if name in ("units", "dead"):
        return f"{value:.0f}"
    return f"{value:+.3f}" if name == "change" else f"{value:.3f}"

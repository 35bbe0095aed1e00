"""The trials of a sweep as a table: the same numbers for the terminal, the page and files."""

import math

import pandas as pd
from rich.box import SIMPLE
from rich.table import Table

from sweeps.plan.metric import Metric
from sweeps.plan.metrics import METRICS
from trainables.methods import GIVEN, METHODS, ROTATED

COLUMNS = tuple(metric for metric in METRICS if metric.heading)
_KINDS = ["dense", "untrained", ROTATED, *METHODS, GIVEN]
_RETRAINED = ["none", "recalibrate", "finetune", "rewind_weights", "rewind_learning_rate"]
_BY = ["kind", "most_important_first", "chance", "how", "schedule", "rate", "seed"]


def ordered(trials: pd.DataFrame) -> pd.DataFrame:
    """Networks that are not pruned first, then method by method, controls last."""
    keys = pd.DataFrame(
        {
            "kind": trials["method"].map({name: i for i, name in enumerate(_KINDS)}),
            "chance": trials["criterion"] == "random",
            "how": trials["retraining"].map({name: i for i, name in enumerate(_RETRAINED)}),
            **{name: trials[name] for name in _BY if name in trials},
        }
    )
    return trials.loc[keys.sort_values(_BY, kind="stable").index]


def summary(trials: pd.DataFrame) -> pd.DataFrame:
    """A row per trial, dense networks first, with the columns of COLUMNS by their headings.

    `change` of MIS: to the same units of the dense network. trials: as in `SweepFrames`.
    """
    metrics = {column.name: column.heading for column in COLUMNS}
    errors = {c.error: f"{c.heading} error" for c in COLUMNS if c.error}
    chosen = ["label", *metrics, *errors, "outcome", "key", "run_id"]
    return ordered(trials).reindex(columns=chosen).rename(columns=metrics | errors)


def terminal_table(table: pd.DataFrame, title: str) -> Table:
    """`summary` for people."""
    shown = Table(title=title, title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0))
    shown.add_column("trial", overflow="fold", min_width=20)
    columns = [column for column in COLUMNS if column.terminal]
    for column in columns:
        shown.add_column(column.heading, justify="right", no_wrap=True)
    section = None
    for row in table.to_dict("records"):
        kind = str(row["label"]).split()[0]
        if section not in (None, kind):
            shown.add_section()
        section = kind
        label = str(row["label"])
        if row["outcome"] != "completed":
            label += f" ({row['outcome']})"
        shown.add_row(label, *(cell(column, row[column.heading]) for column in columns))
    return shown


def cell(column: Metric, value: object) -> str:
    """A number as it is written; a dash where there is none."""
    number = float(value) if isinstance(value, (int, float)) else math.nan
    if not math.isfinite(number):
        return "–"
    if column.kind == "count":
        return f"{number:,.0f}"
    if column.kind == "amount":
        return _amount(number)
    return f"{number:+.3f}" if column.kind == "change" else f"{number:.3f}"


def _amount(number: float) -> str:
    for size, letter in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(number) >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number:.3g}"

"""The unit of a class, the last before the network's answer, beside the accuracy of its class."""

import textwrap
from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mis import images_needed
from sweeps.plan.section import Section
from sweeps.report.read.answers import of_each
from sweeps.report.read.frames import SweepFrames
from sweeps.report.read.values import has, number, run_to_the_end
from sweeps.report.sections.alive_units import dense_keys
from sweeps.report.sections.lines import hue_handles, unit_addresses
from sweeps.report.sections.series import main_series, series_in, tidy
from sweeps.report.sections.style import GREY, INK, MARKERS, legend, new_figure, sparsity_axis
from sweeps.report.statistics.class_units import Pair, Relation, class_units, relation
from sweeps.report.statistics.population import compared, training_of

_NONE = (
    "No trial of this sweep left both its answers and scores of the units of its classes, of five "
    "classes or more."
)
_UNITS = ["layer", "channel", "state", "mis", "dense_mis"]
_ACROSS, _CHANGES = "rank correlation", "rank correlation of changes"
_TITLES = {
    _ACROSS: "MIS and accuracy",
    _CHANGES: "their changes",
}


def _class_units(frames: SweepFrames) -> pd.DataFrame | str:
    """Kind `class`: of each dense network a class, its accuracy (value) and the MIS of its unit;
    `relation`: their rank correlation over classes, or that of their changes, of the dense networks
    (name dense) or of a series at a rate; `over`: of what the interval is; `said`: how many
    images of a class there are."""
    if not {"mis", "state"} <= frames.of_units.columns:
        return _NONE
    dense = _tables(frames, dense_keys(frames))
    rows = [
        {"kind": "class", "name": each["class"], "mis": each["mis"], "images": each["images"]}
        | {"metric": "accuracy", "value": each["accuracy"], "keys": key}
        | {"layer": each["layer"], "channel": each["channel"]}
        for key, table in dense.items()
        for each in table.to_dict("records")
    ]
    trained = training_of(frames.trials)
    rows += _relations(dense, trained, _ACROSS, {"kind": "relation", "name": "dense"})
    rows += _images(frames.trials, max(map(len, dense.values()), default=0))
    for series in main_series(compared(frames.trials)):
        for rate, trials in run_to_the_end(series.rows).groupby("rate"):
            tables = _tables(frames, set(trials["key"]))
            sparsity = trials["prune/sparsity"].mean() if has(trials, "prune/sparsity") else np.nan
            row = series.row("relation", rate=rate, **{"prune/sparsity": sparsity})
            for metric in (_ACROSS, _CHANGES):
                rows += _relations(tables, trained, metric, row)
    return tidy(rows) if any(row["kind"] == "relation" for row in rows) else _NONE


def _images(trials: pd.DataFrame, n_classes: int) -> list[dict[str, Any]]:
    """A row that says whether a class's unit can be shown by images of its class alone."""
    names = ("data.probe_images", "score.n_tasks", "score.n_explanations")
    if not n_classes or not has(trials, *names):
        return []
    probe, tasks, explanations = (number(trials, name).max() for name in names)
    if not np.isfinite([probe, tasks, explanations]).all():
        return []
    of_class = probe / n_classes
    taken = images_needed(int(tasks), int(explanations)) // 2  # at either end
    few = "" if of_class >= taken else ": images of others are among them"
    text = f"({of_class:.0f} probe images a class, a unit's tasks show {taken:.0f}{few})"
    return [{"kind": "said", "name": text, "metric": "images per class", "value": of_class}]


def _tables(frames: SweepFrames, keys: Collection[str]) -> dict[str, pd.DataFrame]:
    """Key -> its classes, of the trials that left what is needed."""
    found = {
        key: class_units(frames.of_units.read([key], _UNITS), answers)
        for key, answers in of_each(frames.of_predictions, keys).items()
    }
    return {key: table for key, table in found.items() if len(table)}


def _relations(
    tables: dict[str, pd.DataFrame], trained: dict[str, str], metric: str, row: dict[str, Any]
) -> list[dict[str, Any]]:
    """The row of one correlation; none where it cannot be told. trained: key -> its training."""
    of: dict[str, list[Pair]] = {}
    for key, table in tables.items():
        if (pair := _pair(table, metric)) is not None:
            of.setdefault(trained[key], []).append(pair)
    found = relation(list(of.values()))
    if found is None:
        return []
    return [row | _said(found) | {"metric": metric, "keys": ",".join(tables)}]


def _pair(table: pd.DataFrame, metric: str) -> Pair | None:
    if metric == _ACROSS:
        return table["mis"].to_numpy(float), table["accuracy"].to_numpy(float)
    if not {"dense_mis", "dense_accuracy"} <= set(table):
        return None
    mis, accuracy = (table[n] - table[f"dense_{n}"] for n in ("mis", "accuracy"))
    return mis.to_numpy(float), accuracy.to_numpy(float)


def _said(found: Relation) -> dict[str, Any]:
    ends = {"value": found.value, "low": found.low, "high": found.high}
    return ends | {"over": found.over, "n": found.n}


def _draw(table: pd.DataFrame) -> Figure:
    figure, (classes, across, changes) = new_figure(3, 2.9)
    _draw_classes(classes, table)
    relations = table[table["kind"] == "relation"]
    for axes, metric in ((across, _ACROSS), (changes, _CHANGES)):
        here = relations[relations["metric"] == metric]
        level = here[here["name"] == "dense"]
        if len(level):
            axes.axhline(level["value"].iloc[0], color=GREY, lw=1.2)
            axes.axhspan(*level[["low", "high"]].iloc[0], color=GREY, alpha=0.15, lw=0)
        for series in series_in(here):
            x, y = series.rows["prune/sparsity"], series.rows["value"]
            ends = (y - series.rows["low"], series.rows["high"] - y)
            axes.errorbar(x, y, ends, color=series.colour, lw=1.4, elinewidth=0.8)
            axes.scatter(x, y, s=20, color=series.colour, marker=MARKERS[series.hue], zorder=3)
        axes.axhline(0, color=INK, lw=0.6)
        axes.set_ylim(-1.05, 1.05)
        axes.set_title(_TITLES[metric], loc="left")
        sparsity_axis(axes, small=True)
    across.set_ylabel("rank correlation")
    every = series_in(relations)
    handles = [*hue_handles(every), Line2D([], [], color=GREY, lw=1.2, label="dense")]
    legend(figure, handles)
    return figure


def _draw_classes(axes: Axes, table: pd.DataFrame) -> None:
    """Of the dense networks, one marker a class and training."""
    classes = table[table["kind"] == "class"]
    for place, (_, own) in enumerate(classes.groupby("keys", sort=False)):
        look: dict[str, Any] = {"s": 14, "color": INK, "alpha": max(0.25, 1 - 0.3 * place)}
        axes.scatter(own["mis"], own["value"], **look).set_urls(unit_addresses(own, "a"))
    said = table[(table["kind"] == "relation") & (table["name"] == "dense")]
    if len(said):
        row = said.iloc[0]
        ends = f" ({row['low']:+.2f} to {row['high']:+.2f})" if np.isfinite(row["low"]) else ""
        axes.set_title(f"dense: {row['value']:+.2f}{ends}", loc="left")
    notes = [textwrap.fill(text, 38) for text in table.loc[table["kind"] == "said", "name"]]
    axes.set_xlabel("\n".join(["MIS of the class's unit", *notes]))
    axes.set_ylabel("accuracy of the class")


CLASS_UNITS = Section(
    "class_units",
    "The units of the classes",
    "Are the classes that a network gets right those whose unit one can understand?",
    "Left, each class of the dense networks; a click shows its unit in the atlas. Middle, the rank "
    "correlation over classes of the MIS of a class's unit, in the last layer, with the accuracy "
    "of the class; right, that of the two changes against the dense network: do the classes that "
    "pay for pruning lose their clear unit? "
    "Intervals of 95 %, not corrected for their number: over trainings where there are three or "
    "more (column over; trials that share a dense network are averaged), else over classes, within "
    "this training. A unit can only be shown by images of its class where there are n_tasks × "
    "(n_explanations + 1) of these among the probe images.",
    _class_units,
    _draw,
)

"""How far a pruned network still answers what its dense network does."""

import itertools
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sweeps.plan.section import Section
from sweeps.report.read.answers import of_each
from sweeps.report.read.frames import SweepFrames
from sweeps.report.read.values import baseline, has
from sweeps.report.sections.alive_units import dense_keys
from sweeps.report.sections.lines import (
    draw_levels,
    draw_series,
    hue_handles,
    kind_handles,
    level_handles,
    scatter_trials,
)
from sweeps.report.sections.series import (
    all_series,
    level_rows,
    line_rows,
    network_rows,
    series_in,
    tidy,
)
from sweeps.report.sections.style import INK, MARKERS, legend, new_figure, sparsity_axis
from sweeps.report.statistics.population import compared, training_of

_AGREEMENT, _TOP1 = "val/agreement", "val/top1"
_STEPS = 21  # of the curve of chance


def _answers(frames: SweepFrames) -> pd.DataFrame | str:
    trials = frames.trials
    if not has(trials, _AGREEMENT, "prune/sparsity"):
        return "The trials of this sweep were not compared with their dense networks' answers."
    series = list(all_series(compared(trials)))
    rows: list[dict[str, Any]] = []
    for each in series:
        line = line_rows(each, trials, _AGREEMENT)
        if line and line[0]["kind"] != "start":  # nothing is pruned: the dense network itself
            at_0 = {"rate": 0.0, "prune/sparsity": 0.0, "metric": _AGREEMENT, "value": 1.0}
            line = [each.row("start", **at_0), *line]
        rows += line + network_rows(each, _TOP1, _AGREEMENT)
    if not rows:
        return "No pruned network of this sweep was compared with its dense network's answers."
    rows += level_rows(trials, _AGREEMENT)
    return tidy([*rows, *_of_dense(frames)])


def _of_dense(frames: SweepFrames) -> list[dict[str, Any]]:
    """How far two trainings agree, and what chance gives: errors that have nothing in common."""
    keys = dense_keys(frames)
    tables = of_each(frames.of_predictions, keys)
    if not tables:
        return []
    rows: list[dict[str, Any]] = []
    trained = training_of(frames.trials)
    shares = [
        float((one["answer_1"] == other["answer_1"]).mean())
        for (key, one), (other_key, other) in itertools.combinations(tables.items(), 2)
        if trained[key] != trained[other_key]
        and str(one["images"].iloc[0]) == str(other["images"].iloc[0])
    ]
    if shares:
        among = {"metric": _AGREEMENT, "value": float(np.mean(shares)), "n": len(tables)}
        rows.append(
            {"kind": "level", "name": "another training", "keys": ",".join(tables), **among}
        )
    dense = baseline(frames.trials, "dense", "none", _TOP1)
    n_classes = max(int(table["truth"].nunique()) for table in tables.values())
    if n_classes > 1 and dense == dense:
        for top1 in np.linspace(0, 1, _STEPS):
            value = top1 * dense + (1 - top1) * (1 - dense) / (n_classes - 1)
            rows.append({"kind": "chance", _TOP1: top1, "metric": _AGREEMENT, "value": value})
    return rows


def _draw(table: pd.DataFrame) -> Figure:
    figure, (over, beside) = new_figure(2, 3.5, sharey=True)
    lines = table[table["kind"].isin(["start", "mean"])]
    for each in series_in(lines):
        draw_series(over, each, black=True)
    draw_levels(over, table)
    draw_levels(beside, table)
    sparsity_axis(over, small=True)
    over.set_ylabel("same answer as the dense network")
    _beside_accuracy(beside, table)
    series = series_in(table)
    handles = [*hue_handles(series), *kind_handles(series, black=True), *level_handles(table)]
    if (table["kind"] == "chance").any():
        handles.append(Line2D([], [], color=INK, lw=0.8, label="errors in common: none"))
    legend(figure, handles)
    return figure


def _beside_accuracy(axes: Axes, table: pd.DataFrame) -> None:
    networks = table[table["kind"] == "network"]
    for each in series_in(networks):
        ink, rows = each.colour if each.retrained else INK, each.rows
        x, y, keys = rows[_TOP1], rows["value"], rows["keys"]
        scatter_trials(axes, x, y, keys, ink, MARKERS[each.hue], size=14)
    chance = table[table["kind"] == "chance"]
    axes.plot(chance.get(_TOP1, []), chance["value"], color=INK, lw=0.8, zorder=1)
    axes.set_ylim(-0.02, 1.02)
    if len(networks):
        reach = networks[_TOP1].max() - networks[_TOP1].min()
        margin = 0.05 + 0.05 * reach
        axes.set_xlim(
            max(0, networks[_TOP1].min() - margin), min(1, networks[_TOP1].max() + margin)
        )
    axes.set_xlabel("top-1 accuracy")


ANSWERS = Section(
    "answers",
    "Answers of the dense network",
    "Does a pruned network still give the answers of its dense network?",
    "The fraction of the validation images to which both answer the same class, right or wrong. "
    "Retraining alone changes answers, too (dense retrained), and so does another training of the "
    "same network. Right: what accuracy alone would give, had the two no errors in common.",
    _answers,
    _draw,
)

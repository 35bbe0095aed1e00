"""Does the criterion mean anything, and does the score? What must be there beside the answer."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sweeps.plan.metrics import label
from sweeps.plan.section import Section
from sweeps.report.read.frames import SweepFrames
from sweeps.report.read.values import has
from sweeps.report.sections.criteria import arms
from sweeps.report.sections.lines import scatter_trials
from sweeps.report.sections.series import all_series, mean_rows, series_in, tidy
from sweeps.report.sections.style import (
    COLOURS,
    GREY,
    INK,
    MARKERS,
    in_order,
    legend,
    named,
    new_figure,
    sparsity_axis,
)
from sweeps.report.statistics.population import compared, leading_criterion

_ARMS = {
    "own": ("the study's criterion", "-", "o"),
    "random": ("pruned by chance", ":", "x"),
    "within": ("by chance, as many per layer", "-.", "+"),
    "reversed": ("most important first", "", "v"),
}
_HOW = ["method", "schedule", "retraining"]
_CONTROLS = ["random", "within", "reversed"]
_VALUES = ("val/top1", "mis/mean")
_SCORES = {
    "mis/mean": ("MIS", "-"),
    "mis/pixels_mean": ("by raw pixels", "--"),
    "mis/shuffled_mean": ("activations shuffled", ":"),
}


def _criterion_controls(frames: SweepFrames) -> pd.DataFrame | str:
    trials = _arms(frames)
    controls = trials[trials["arm"].isin(_CONTROLS)]
    if controls.empty:
        return "The sweep has no controls: nothing was pruned by chance or the wrong way round."
    others = sorted(set(trials["arm"]) - set(_ARMS), key=in_order)
    rows: list[dict[str, Any]] = []
    for value in _VALUES:
        for method in [m for m in COLOURS if m in set(controls["method"])]:
            for arm in (*_ARMS, *others):
                mine = trials[(trials["method"] == method) & (trials["arm"] == arm)]
                said = {"kind": "mean", "method": method, "arm": arm}
                rows += [{**said, **row} for row in mean_rows(mine, value)]
    return tidy(rows) if rows else "The controls of this sweep have neither an accuracy nor a MIS."


def _arms(frames: SweepFrames) -> pd.DataFrame:
    """The controls, and beside them the trials that differ from them in the criterion alone, with
    the column `arm`: "own" is the study's criterion, any other is called by its name. Of the
    controls that are of one criterion, those of the study's."""
    trials = arms(frames.trials[frames.trials["method"].isin(COLOURS)])
    # Of a criterion that saw several numbers of images the trials that saw most.
    how = [*_HOW, "rate", "scored", "arm"]
    most = trials.groupby(how, dropna=False)["images"].transform("max")
    trials = trials[trials["images"] == most]
    meant = trials[trials["arm"] == "own"]
    leads = leading_criterion(meant) if len(meant) else ""
    others_own = trials["arm"].isin(["within", "reversed"]) & (trials["scored"] != leads)
    is_other = (trials["arm"] == "own") & (trials["criterion"] != leads)
    trials = trials.assign(arm=trials["arm"].mask(is_other, trials["criterion"]))[~others_own]
    is_control = trials["arm"].isin(_CONTROLS)
    beside = trials[~is_control].merge(trials.loc[is_control, _HOW].drop_duplicates(), on=_HOW)
    return pd.concat([beside, trials[is_control]])


def _draw_criterion_controls(table: pd.DataFrame) -> Figure:
    methods, values = list(dict.fromkeys(table["method"])), list(dict.fromkeys(table["metric"]))
    figure, panels = new_figure(
        len(methods), 0.8 + 2.0 * len(values), rows=len(values), sharey=True
    )
    for place, axes in enumerate(panels):
        value, method = values[place // len(methods)], methods[place % len(methods)]
        _draw_arms(axes, table[(table["metric"] == value) & (table["method"] == method)], method)
        sparsity_axis(axes, small=True)
        if place < len(methods):
            axes.set_title(named(method), color=COLOURS[method], loc="left")
        if place % len(methods) == 0:
            axes.set_ylabel(label(value).partition(",")[0])
        if place < len(panels) - len(methods):
            axes.set_xlabel("")
    handles = [
        Line2D([], [], color=GREY if arm == "own" else INK, ls=line, marker=marker, label=name)
        for arm, (name, line, marker) in _ARMS.items()
    ]
    look: dict[str, Any] = {"color": GREY, "ls": "none", "mfc": "none"}
    for other in sorted(set(table["arm"]) - set(_ARMS), key=in_order):
        handles.append(Line2D([], [], marker=MARKERS[other], label=named(other), **look))
    legend(figure, handles)
    return figure


def _draw_arms(axes: Axes, table: pd.DataFrame, method: str) -> None:
    for arm, rows in table.groupby("arm", sort=False):
        x, y, keys = rows["prune/sparsity"], rows["value"], rows["keys"]
        if arm in _ARMS:
            _, line, marker = _ARMS[str(arm)]
            ink = COLOURS[method] if arm == "own" else INK
            axes.plot(x, y, ls=line or "none", color=ink, lw=1.5)
            scatter_trials(axes, x, y, keys, ink, marker)
        else:
            marker = MARKERS[str(arm)]
            scatter_trials(axes, x, y, keys, COLOURS[method], marker, hollow=True)


def _score_controls(frames: SweepFrames) -> pd.DataFrame | str:
    trials = compared(frames.trials)
    if not has(trials, "mis/mean", "mis/shuffled_mean"):
        return "The trials have no control of the score (mis/shuffled_mean)."
    series = [each for each in all_series(trials) if each.main]
    shown = [each for each in series if each.retrained] or series
    shown = [each for each in shown if each.schedule == shown[0].schedule]
    rows = [
        each.row("mean", **row)
        for each in shown
        for value in _SCORES
        for row in mean_rows(each.rows, value)
    ]
    return tidy(rows) if rows else "The networks that are compared have no control of the score."


def _draw_score_controls(table: pd.DataFrame) -> Figure:
    figure, (axes,) = new_figure()
    shown = series_in(table)
    for each in shown:
        for value, points in each.rows.groupby("metric", sort=False):
            colour = GREY if value == "mis/shuffled_mean" else each.colour
            x, y, keys = points["prune/sparsity"], points["value"], points["keys"]
            axes.plot(x, y, ls=_SCORES[str(value)][1], color=colour, lw=1.4)
            hollow = value != "mis/mean"
            scatter_trials(axes, x, y, keys, colour, MARKERS[each.hue], hollow=hollow)
    axes.axhline(0.5, color=GREY, lw=0.9, zorder=0)
    sparsity_axis(axes)
    axes.set_ylabel("mean confidence over tasks (chance: 0.5)")
    there = set(table["metric"])
    lines = [
        Line2D([], [], color=INK, ls=line, label=name)
        for value, (name, line) in _SCORES.items()
        if value in there
    ]
    hues = [
        Line2D([], [], color=COLOURS[hue], marker=MARKERS[hue], label=named(hue))
        for hue in dict.fromkeys(each.hue for each in shown)
    ]
    legend(axes, [*hues, *lines])
    return figure


CRITERION_CONTROLS = Section(
    "controls",
    "Controls of the criterion",
    "Does the criterion know more than chance?",
    "A criterion that means something lies above pruning by chance, and far above pruning the "
    "most important first. Over all layers at once it must lie above chance with as many per "
    "layer, too: else it has found layers that bear pruning, and any of their groups would do.",
    _criterion_controls,
    _draw_criterion_controls,
)
SCORE_CONTROLS = Section(
    "score_controls",
    "Controls of the score",
    "Does the score measure units, or only the images?",
    "The same tasks solved by raw pixels say what the images give away by themselves; shuffled "
    "activations must give 0.5.",
    _score_controls,
    _draw_score_controls,
)

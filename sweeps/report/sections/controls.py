"""Does the criterion mean anything, and does the score? What must be there beside the answer."""

from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sweeps.report.read.frames import SweepFrames
from sweeps.report.sections.criteria import arms
from sweeps.report.sections.series import (
    all_series,
    has,
    mean_points,
    pruned,
    scatter_trials,
)
from sweeps.report.sections.sparsity import Points
from sweeps.report.sections.style import (
    COLOURS,
    GREY,
    INK,
    LABELS,
    MARKERS,
    in_order,
    legend,
    named,
    new_figure,
    sparsity_axis,
)
from sweeps.report.statistics.population import leading_criterion

_ARMS = {
    "own": ("the study's criterion", "-", "o"),
    "random": ("pruned by chance", ":", "x"),
    "within": ("by chance, as many per layer", "-.", "+"),
    "reversed": ("most important first", "", "v"),
}
_CONTROLS = ["random", "within", "reversed"]
_SCORES = {
    "mis/mean": ("MIS", "-"),
    "mis/pixels_mean": ("by raw pixels", "--"),
    "mis/shuffled_mean": ("activations shuffled", ":"),
}


def criterion_controls(frames: SweepFrames, released: Points) -> Figure | str:
    """Pruning by chance, and with the most important first, beside the criterion itself."""
    trials = _arms(frames)
    controls = trials[trials["arm"].isin(_CONTROLS)]
    if controls.empty:
        return "The sweep has no controls: nothing was pruned by chance or the wrong way round."
    others = sorted(set(trials["arm"]) - set(_ARMS), key=in_order)
    methods = [method for method in COLOURS if method in set(controls["method"])]
    values = [v for v in ("val/top1", "mis/mean") if has(trials, v, "prune/sparsity")]
    if not values:
        return "The controls of this sweep have neither an accuracy nor a MIS."
    figure, panels = new_figure(
        len(methods), 0.8 + 2.0 * len(values), rows=len(values), sharey=True
    )
    for place, axes in enumerate(panels):
        value, method = values[place // len(methods)], methods[place % len(methods)]
        of_method = trials[trials["method"] == method]
        for arm, (_, line, marker) in _ARMS.items():
            points = mean_points(of_method[of_method["arm"] == arm], value)
            ink = COLOURS[method] if arm == "own" else INK
            axes.plot(points["x"], points["y"], ls=line or "none", color=ink, lw=1.5)
            scatter_trials(axes, points["x"], points["y"], points["keys"], ink, marker)
        for other in others:
            points = mean_points(of_method[of_method["arm"] == other], value)
            x, y, keys = points["x"], points["y"], points["keys"]
            scatter_trials(axes, x, y, keys, COLOURS[method], MARKERS[other], hollow=True)
        sparsity_axis(axes, small=True)
        if place < len(methods):
            axes.set_title(named(method), color=COLOURS[method], loc="left")
        if place % len(methods) == 0:
            axes.set_ylabel(LABELS[value].partition(",")[0])
        if place < len(panels) - len(methods):
            axes.set_xlabel("")
    handles = [
        Line2D([], [], color=GREY if arm == "own" else INK, ls=line, marker=marker, label=name)
        for arm, (name, line, marker) in _ARMS.items()
    ]
    look: dict[str, Any] = {"color": GREY, "ls": "none", "mfc": "none"}
    handles += [
        Line2D([], [], marker=MARKERS[other], label=named(other), **look) for other in others
    ]
    legend(figure, handles)
    return figure


def _arms(frames: SweepFrames) -> pd.DataFrame:
    """The controls, and beside them the trials that differ from them in the criterion alone, with
    the column `arm`: "own" is the study's criterion, any other is called by its name. Of the
    controls that are of one criterion, those of the study's."""
    trials = arms(frames.trials[frames.trials["method"].isin(COLOURS)])
    meant = trials[trials["arm"] == "own"]
    leads = leading_criterion(meant) if len(meant) else ""
    others_own = trials["arm"].isin(["within", "reversed"]) & (trials["scored"] != leads)
    is_other = (trials["arm"] == "own") & (trials["criterion"] != leads)
    trials = trials.assign(arm=trials["arm"].mask(is_other, trials["criterion"]))[~others_own]
    how = ["method", "schedule", "retraining"]
    is_control = trials["arm"].isin(_CONTROLS)
    beside = trials[~is_control].merge(trials.loc[is_control, how].drop_duplicates(), on=how)
    return pd.concat([beside, trials[is_control]])


def score_controls(frames: SweepFrames, released: Points) -> Figure | str:
    """The score beside the same tasks solved by raw pixels, and beside shuffled activations."""
    trials = pruned(frames)
    if not has(trials, "mis/mean", "mis/shuffled_mean"):
        return "The trials have no control of the score (mis/shuffled_mean)."
    figure, (axes,) = new_figure()
    series = [each for each in all_series(trials) if each.main]
    shown = [each for each in series if each.retrained] or series
    shown = [each for each in shown if each.schedule == shown[0].schedule]
    values = {value: how for value, how in _SCORES.items() if has(trials, value)}
    for each in shown:
        for value, (_, line) in values.items():
            points = mean_points(each.trials, value)
            colour = GREY if value == "mis/shuffled_mean" else each.colour
            axes.plot(points["x"], points["y"], ls=line, color=colour, lw=1.4)
            x, y, marker = points["x"], points["y"], MARKERS[each.hue]
            hollow = value != "mis/mean"
            scatter_trials(axes, x, y, points["keys"], colour, marker, hollow=hollow)
    axes.axhline(0.5, color=GREY, lw=0.9, zorder=0)
    sparsity_axis(axes)
    axes.set_ylabel("mean confidence over tasks (chance: 0.5)")
    lines = [Line2D([], [], color=INK, ls=line, label=name) for name, line in values.values()]
    markers = {each.hue: MARKERS[each.hue] for each in shown}
    hues = [
        Line2D([], [], color=COLOURS[hue], marker=marker, label=named(hue))
        for hue, marker in markers.items()
    ]
    legend(axes, [*hues, *lines])
    return figure

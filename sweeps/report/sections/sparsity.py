"""The six figures of von Rad & Seuffert 2024 (arXiv 2409.19727), redrawn from a sweep.

Always at the measured sparsity, with standard errors, beside the networks that are not pruned, and
with the points that the authors released in a group that can be hidden.
"""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from sweeps.report.read.frames import SweepFrames
from sweeps.report.sections.series import (
    Series,
    all_series,
    baseline,
    draw_levels,
    draw_series,
    has,
    hue_handles,
    kind_handles,
    pruned,
    scatter_trials,
)
from sweeps.report.sections.style import (
    COLOURS,
    GREY,
    INK,
    LABELS,
    MARKERS,
    RELEASED,
    WITHOUT,
    label_ends,
    legend,
    named,
    new_figure,
    sparsity_axis,
)

Points = pd.DataFrame
"""The authors' released points: key, method, rate, retraining, schedule, prune/sparsity, …"""

_BASELINES = (
    ("dense", "none", "dense"),
    ("dense retrained", "finetune", "dense"),
    ("untrained", "recalibrate", "untrained"),
)


def without_finetuning(frames: SweepFrames, released: Points) -> Figure | str:
    """(1) Accuracy against sparsity of networks that are not retrained."""
    trials = pruned(frames)
    trials = trials[trials["retraining"].isin(WITHOUT)]
    if not has(trials, "val/top1", "prune/sparsity"):
        return "No pruned network of this sweep was left without retraining."
    theirs = released[released["retraining"] == "none"]
    return _against_sparsity(frames, trials, theirs, "val/top1", black=False)


def all_methods(frames: SweepFrames, released: Points) -> Figure | str:
    """(4) Accuracy against sparsity of everything; in black what is not retrained."""
    trials = pruned(frames)
    if not has(trials, "val/top1", "prune/sparsity"):
        return "No pruned network of this sweep has an accuracy."
    return _against_sparsity(frames, trials, released, "val/top1", black=True)


def interpretability(frames: SweepFrames, released: Points) -> Figure | str:
    """(5) MIS against sparsity; in black what is not retrained."""
    trials = pruned(frames)
    if not has(trials, "mis/mean", "prune/sparsity"):
        return "No pruned network of this sweep has a MIS."
    return _against_sparsity(frames, trials, released, "mis/mean", black=True)


def change_of_same_units(frames: SweepFrames, released: Points) -> Figure | str:
    """Beyond the paper: (5) without what is only a selection of units."""
    trials = pruned(frames)
    if not has(trials, "mis/change", "prune/sparsity"):
        return "The sweep has no dense network to compare its units with."
    return _against_sparsity(frames, trials, released.iloc[:0], "mis/change", black=True)


def _against_sparsity(
    frames: SweepFrames, trials: pd.DataFrame, released: Points, value: str, *, black: bool
) -> Figure:
    figure, (axes,) = new_figure()
    series = list(all_series(trials))
    black = black and any(each.retrained for each in series)
    ends: dict[str, tuple[float, str, str]] = {}
    for each in sorted(series, key=lambda s: s.retrained):
        points = draw_series(axes, each, frames, value, black=black)
        if len(points):
            # Later ones replace: a method is named where its retrained main line ends.
            shown = (each.retrained or not black) and (each.main or each.hue not in ends)
            if shown and each.schedule != "iterative" or each.hue not in ends:
                ends[each.hue] = (points["y"].iloc[-1], named(each.hue), each.colour)
    theirs = _draw_released(axes, released, value)
    levels = draw_levels(axes, frames, value)
    _finish(axes, value)
    label_ends(axes, [*ends.values(), *levels])
    markers = hue_handles(series) if black else []
    legend(axes, [*markers, *kind_handles(series, black=black), *theirs])
    return figure


def _finish(axes: Axes, value: str) -> None:
    sparsity_axis(axes)
    axes.set_ylabel(LABELS[value])
    if value == "val/top1":
        axes.set_ylim(0, 1)


def _draw_released(
    axes: Axes, released: Points, value: str, x: str = "prune/sparsity"
) -> list[Line2D]:
    """The authors' points where they measured both; their legend."""
    if not has(released, value, x):
        return []
    there = released.dropna(subset=[value, x])
    for method, rows in there.groupby("method"):
        keys = [(key,) for key in rows["key"]]
        colour, marker = COLOURS.get(str(method), GREY), MARKERS.get(str(method), "*")
        scatter_trials(axes, rows[x], rows[value], keys, colour, marker, hollow=True)
        axes.collections[-1].set_gid(RELEASED)
    handle = Line2D([], [], ls="", marker="o", mfc="none", mec=GREY, label="hollow: released")
    handle.set_gid(RELEASED)
    return [handle]


def over_epochs(frames: SweepFrames, released: Points) -> Figure | str:
    """(2) Accuracy over epochs after one-shot pruning, a panel a method."""
    once = [
        s for s in all_series(pruned(frames)) if s.schedule == "one_shot" and s.retrained and s.main
    ]
    if not once:
        return "No network of this sweep was pruned at once and retrained."
    if "val/top1" not in frames.epochs:
        return "The trials of this sweep left no table of their epochs (epochs.parquet)."
    figure, panels = new_figure(len(once), 2.9, sharey=True)
    level = baseline(frames.trials, "dense", "none", "val/top1")
    for axes, series in zip(panels, once, strict=True):
        _draw_epochs(axes, series, frames.epochs)
        axes.axhline(level, color=GREY, lw=0.9, zorder=0)
        axes.set_title(named(series.hue), color=series.colour, loc="left")
        axes.set_xlabel("epoch after pruning")
        axes.set_ylim(0, 1)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    panels[0].set_ylabel(LABELS["val/top1"])
    panels[0].annotate(
        "dense", (0, level), (3, 2), xycoords=("axes fraction", "data"),
        textcoords="offset points", fontsize=8, color=GREY,
    )  # fmt: skip
    return figure


def _draw_epochs(axes: Axes, series: Series, epochs: pd.DataFrame) -> None:
    """A line a rate, the sparser the fainter, named where it ends."""
    rates = sorted(series.trials["rate"].unique())
    ends = []
    for place, rate in enumerate(rates):
        keys = series.trials.loc[series.trials["rate"] == rate, "key"]
        curve = epochs[epochs["key"].isin(keys)].groupby("epoch")["val/top1"].mean().dropna()
        if len(curve):
            shade = 1 - 0.6 * place / max(1, len(rates) - 1)
            axes.plot(curve.index, curve, "-", color=series.colour, alpha=shade, lw=1.6)
            if len(curve) <= 20:
                axes.plot(curve.index, curve, "o", color=series.colour, alpha=shade, ms=3)
            ends.append((float(curve.iloc[-1]), f"{rate:g}", series.colour))
    axes.set_ylim(0, 1)
    label_ends(axes, ends)
    axes.text(1.02, 1.02, "rate", transform=axes.transAxes, fontsize=8, color=GREY)


def rounds_against_once(frames: SweepFrames, released: Points) -> Figure | str:
    """(3) Pruned in rounds against at once, a panel a method."""
    trained = [s for s in all_series(pruned(frames)) if s.retrained]
    hues = [h for h in dict.fromkeys(s.hue for s in trained) if _in_rounds(trained, h)]
    if not hues:
        return "The sweep has no method that was pruned both at once and in rounds."
    figure, panels = new_figure(len(hues), 3.0, sharey=True)
    theirs: list[Line2D] = []
    for axes, hue in zip(panels, hues, strict=True):
        for series in trained:
            if series.hue == hue:
                draw_series(axes, series, frames, "val/top1")
        rows = (released["method"] == hue) & ~released["retraining"].isin(WITHOUT)
        theirs = _draw_released(axes, released[rows], "val/top1") or theirs
        _finish(axes, "val/top1")
        sparsity_axis(axes, small=True)
        axes.set_title(named(hue), color=COLOURS[hue], loc="left")
    for axes in panels[1:]:
        axes.set_ylabel("")
    legend(figure, [*kind_handles([s for s in trained if s.hue in hues]), *theirs])
    return figure


def _in_rounds(series: Sequence[Series], hue: str) -> bool:
    schedules = {each.schedule for each in series if each.hue == hue}
    return "one_shot" in schedules and len(schedules) > 1


def accuracy_and_mis(frames: SweepFrames, released: Points) -> Figure | str:
    """(6) Accuracy against MIS, a point a rate."""
    trials = pruned(frames)
    if not has(trials, "val/top1", "mis/mean"):
        return "No pruned network of this sweep has both an accuracy and a MIS."
    figure, (axes,) = new_figure()
    series = list(all_series(trials))
    for each in sorted(series, key=lambda s: s.retrained):
        _scatter(axes, each, INK if not each.retrained else each.colour)
    theirs = _draw_released(axes, released, "mis/mean", x="val/top1")
    _name_baselines(axes, frames)
    axes.set_xlabel(LABELS["val/top1"])
    axes.set_ylabel(LABELS["mis/mean"])
    axes.set_xlim(-0.02, 1)
    axes.text(1, 1.01, "larger: sparser", transform=axes.transAxes, ha="right", fontsize=8)
    ink = Line2D([], [], ls="", marker="o", color=INK, ms=5, label="no colour: not retrained")
    markers = hue_handles(series)
    for handle in markers:
        handle.set_linestyle("")
    legend(axes, [*markers, ink, *theirs])
    return figure


def _scatter(axes: Axes, series: Series, colour: str) -> None:
    there = series.trials.dropna(subset=["val/top1", "mis/mean", "prune/sparsity"])
    scatter_trials(
        axes,
        there["val/top1"],
        there["mis/mean"],
        [(key,) for key in there["key"]],
        colour,
        MARKERS[series.hue],
        size=10 + 45 * there["prune/sparsity"] ** 2,
        alpha=0.85 if series.retrained else 0.6,
    )


def _name_baselines(axes: Axes, frames: SweepFrames) -> None:
    """Stars with names: the dense network and it retrained lie close, one is named above."""
    places = []
    for name, retraining, method in _BASELINES:
        x, y = (baseline(frames.trials, method, retraining, v) for v in ("val/top1", "mis/mean"))
        if x == x and y == y:
            places.append((y, x, name, retraining))
    for rank, (y, x, name, retraining) in enumerate(sorted(places)):
        right = x < 0.85  # of the point, where there is room
        hollow = retraining == "finetune"
        axes.plot(x, y, "*", color=INK, mfc="none" if hollow else INK, ms=9, zorder=4)
        axes.annotate(
            name,
            (x, y),
            xytext=(7 if right else -7, 5 if rank == len(places) - 1 else -10),
            textcoords="offset points",
            fontsize=8,
            ha="left" if right else "right",
        )

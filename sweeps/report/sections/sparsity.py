"""Accuracy and interpretability over sparsity, and over each other: most figures of the paper.

Always at the measured sparsity, with standard errors, beside the networks that are not pruned, and
with the points that von Rad & Seuffert released (arXiv 2409.19727).
"""

from collections.abc import Iterable
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sweeps.plan.metrics import label
from sweeps.plan.section import Section
from sweeps.report.paper.overlay import released_rows
from sweeps.report.read.frames import SweepFrames
from sweeps.report.read.values import baseline, has
from sweeps.report.sections.lines import (
    draw_levels,
    draw_released,
    draw_series,
    hue_handles,
    kind_handles,
    scatter_trials,
)
from sweeps.report.sections.series import (
    Series,
    all_series,
    level_rows,
    line_rows,
    network_rows,
    series_in,
    tidy,
)
from sweeps.report.sections.style import (
    INK,
    MARKERS,
    WITHOUT,
    label_ends,
    legend,
    named,
    new_figure,
    sparsity_axis,
)
from sweeps.report.statistics.population import compared

_TOP1, _MIS = "val/top1", "mis/mean"
_STARS = (
    ("dense", "none", "dense"),
    ("dense retrained", "finetune", "dense"),
    ("untrained", "recalibrate", "untrained"),
)


def _without_finetuning(frames: SweepFrames) -> pd.DataFrame | str:
    trials = compared(frames.trials)
    trials = trials[trials["retraining"].isin(WITHOUT)]
    if not has(trials, _TOP1, "prune/sparsity"):
        return "No pruned network of this sweep was left without retraining."
    return _over_sparsity(
        frames, trials, _TOP1, released_rows(_TOP1, retraining="none", at_rate=True)
    )


def _all_methods(frames: SweepFrames) -> pd.DataFrame | str:
    trials = compared(frames.trials)
    if not has(trials, _TOP1, "prune/sparsity"):
        return "No pruned network of this sweep has an accuracy."
    return _over_sparsity(frames, trials, _TOP1, released_rows(_TOP1))


def _interpretability(frames: SweepFrames) -> pd.DataFrame | str:
    trials = compared(frames.trials)
    if not has(trials, _MIS, "prune/sparsity"):
        return "No pruned network of this sweep has a MIS."
    return _over_sparsity(frames, trials, _MIS, released_rows(_MIS))


def _change_of_same_units(frames: SweepFrames) -> pd.DataFrame | str:
    trials = compared(frames.trials)
    if not has(trials, "mis/change", "prune/sparsity"):
        return "The sweep has no dense network to compare its units with."
    return _over_sparsity(frames, trials, "mis/change")


def _over_sparsity(
    frames: SweepFrames, trials: pd.DataFrame, value: str, released: Iterable[dict[str, Any]] = ()
) -> pd.DataFrame:
    lines = [row for each in all_series(trials) for row in line_rows(each, frames.trials, value)]
    return tidy([*lines, *level_rows(frames.trials, value), *released])


def _draw_coloured(table: pd.DataFrame) -> Figure:
    return _draw_over_sparsity(table, black=False)


def _draw_over_sparsity(table: pd.DataFrame, *, black: bool = True) -> Figure:
    """black: what is not retrained has no colour, where anything is retrained."""
    figure, (axes,) = new_figure()
    series = series_in(table)
    black = black and any(each.retrained for each in series)
    ends: dict[str, tuple[float, str, str]] = {}
    for each in sorted(series, key=lambda s: s.retrained):
        draw_series(axes, each, black=black)
        # Later ones replace: a method is named where its retrained main line ends.
        shown = (each.retrained or not black) and (each.main or each.hue not in ends)
        if shown and each.schedule != "iterative" or each.hue not in ends:
            ends[each.hue] = (each.rows["value"].iloc[-1], named(each.hue), each.colour)
    theirs = draw_released(axes, table)
    levels = draw_levels(axes, table)
    value = table["metric"].iloc[0]
    sparsity_axis(axes)
    axes.set_ylabel(label(value))
    if value == _TOP1:
        axes.set_ylim(0, 1)
    label_ends(axes, [*ends.values(), *levels])
    markers = hue_handles(series) if black else []
    legend(axes, [*markers, *kind_handles(series, black=black), *theirs])
    return figure


def _accuracy_and_mis(frames: SweepFrames) -> pd.DataFrame | str:
    trials = compared(frames.trials)
    if not has(trials, _TOP1, _MIS):
        return "No pruned network of this sweep has both an accuracy and a MIS."
    sparsity = {"prune/sparsity": "prune/sparsity"}
    rows = [
        row for each in all_series(trials) for row in network_rows(each, _TOP1, _MIS, **sparsity)
    ]
    for name, retraining, method in _STARS:
        x, y = (baseline(frames.trials, method, retraining, v) for v in (_TOP1, _MIS))
        if x == x and y == y:
            rows.append({"kind": "level", "name": name, _TOP1: x, "metric": _MIS, "value": y})
    return tidy([*rows, *released_rows(_MIS, x=_TOP1)])


def _draw_accuracy_and_mis(table: pd.DataFrame) -> Figure:
    figure, (axes,) = new_figure()
    series = series_in(table)
    for each in sorted(series, key=lambda s: s.retrained):
        _scatter(axes, each, each.colour if each.retrained else INK)
    theirs = draw_released(axes, table, x=_TOP1)
    _draw_stars(axes, table[table["kind"] == "level"].sort_values(["value", _TOP1]))
    axes.set_xlabel(label(_TOP1))
    axes.set_ylabel(label(_MIS))
    axes.set_xlim(-0.02, 1)
    axes.text(1, 1.01, "larger: sparser", transform=axes.transAxes, ha="right", fontsize=8)
    ink = Line2D([], [], ls="", marker="o", color=INK, ms=5, label="no colour: not retrained")
    legend(axes, [*hue_handles(series, joined=False), ink, *theirs])
    return figure


def _scatter(axes: Axes, series: Series, colour: str) -> None:
    rows, marker = series.rows, MARKERS[series.hue]
    size, alpha = 10 + 45 * rows["prune/sparsity"] ** 2, 0.85 if series.retrained else 0.6
    scatter_trials(
        *(axes, rows[_TOP1], rows["value"], rows["keys"], colour, marker), size=size, alpha=alpha
    )


def _draw_stars(axes: Axes, levels: pd.DataFrame) -> None:
    """With names: the dense network and it retrained lie close, one is named above."""
    names = zip(levels["name"], levels[_TOP1], levels["value"], strict=True)
    for rank, (name, x, y) in enumerate(names):
        right = x < 0.85  # of the point, where there is room
        hollow = name == "dense retrained"
        axes.plot(x, y, "*", color=INK, mfc="none" if hollow else INK, ms=9, zorder=4)
        axes.annotate(
            name,
            (x, y),
            xytext=(7 if right else -7, 5 if rank == len(levels) - 1 else -10),
            textcoords="offset points",
            fontsize=8,
            ha="left" if right else "right",
        )


_BARS = "Bars are one standard error: over seeds where there are several, else over images."

WITHOUT_FINETUNING = Section(
    "accuracy_without_finetuning",
    "Accuracy without fine-tuning",
    "How much accuracy does pruning alone take away?",
    "What pruning takes away before anything is trained again, and how much of it is stale "
    f"BatchNorm statistics. {_BARS} Released unstructured points stand at the rate asked for.",
    _without_finetuning,
    _draw_coloured,
    "1",
)
ALL_METHODS = Section(
    "accuracy_vs_sparsity",
    "Accuracy and sparsity",
    "How sparse can a network be before it loses accuracy?",
    "All methods at the sparsity that came out, not at the rate that was asked for. Without "
    f"colour: not fine-tuned. {_BARS}",
    _all_methods,
    _draw_over_sparsity,
    "4",
)
INTERPRETABILITY = Section(
    "mis_vs_sparsity",
    "Interpretability and sparsity",
    "Are the units of sparser networks easier to understand?",
    "Mean over the units that are left alive, which are fewer and others from point to point: "
    "see the next figure for the same units. Hollow: what the authors released, on ImageNet. "
    "Their MIS was made with harder images and is on another scale.",
    _interpretability,
    _draw_over_sparsity,
    "5",
)
CHANGE = Section(
    "mis_change_vs_sparsity",
    "Change of the same units",
    "Does a unit become easier to understand than it was?",
    "MIS minus what the same units had in the dense network: without it, pruning away the "
    "worst units looks like becoming clearer.",
    _change_of_same_units,
    _draw_over_sparsity,
)
ACCURACY_AND_MIS = Section(
    "accuracy_vs_mis",
    "Accuracy and interpretability",
    "Are better networks easier to understand?",
    "One point per network. A network at chance that keeps a high MIS says that MIS is no "
    "certificate of a network that works.",
    _accuracy_and_mis,
    _draw_accuracy_and_mis,
    "6",
)

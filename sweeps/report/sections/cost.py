"""What it costs: the pruned network to run, and the trials that were stopped for it."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from sweeps.report.read.frames import SweepFrames
from sweeps.report.sections.series import (
    Series,
    all_series,
    has,
    hue_handles,
    pruned,
    scatter_trials,
)
from sweeps.report.sections.sparsity import Points
from sweeps.report.sections.style import GREY, INK, LABELS, MARKERS, legend, new_figure

_COSTS = ("cost/macs", "cost/params", "cost/latency")


def pareto(frames: SweepFrames, released: Points) -> Figure | str:
    """Accuracy against cost, as fractions of the dense network's; what nothing beats is joined."""
    trials = pruned(frames)
    costs = [cost for cost in _COSTS if has(trials, cost, "val/top1")]
    if not costs:
        return "The trials have no costs (cost/macs, cost/params, cost/latency)."
    figure, panels = new_figure(len(costs), 3.2, sharey=True)
    series = list(all_series(trials))
    for axes, cost in zip(panels, costs, strict=True):
        whole = _of_dense(frames, cost)
        for each in series:
            _scatter(axes, each, cost, whole)
        front = pareto_front(trials[cost] / whole, trials["val/top1"])
        axes.plot(front["cost"], front["value"], color=INK, lw=1, drawstyle="steps-post", zorder=1)
        axes.set_xlabel(
            LABELS[cost].partition(",")[0] + ("" if whole == 1 else "\n÷ the dense network's")
        )
        axes.set_ylim(0, 1)
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(3))  # else the panels' numbers touch
    panels[0].set_ylabel(LABELS["val/top1"])
    markers = hue_handles(series)
    for handle in markers:
        handle.set_linestyle("")
    hollow = Line2D([], [], ls="", marker="o", mfc="none", mec=GREY, label="hollow: not retrained")
    front_handle = Line2D([], [], color=INK, lw=1, label="nothing is better and cheaper")
    legend(figure, [*markers, hollow, front_handle])
    return figure


def _of_dense(frames: SweepFrames, cost: str) -> float:
    """Of the dense network, as each trial measured it; 1 where none knows."""
    if has(frames.trials, f"{cost}_dense"):
        return float(frames.trials[f"{cost}_dense"].median())
    dense = frames.trials.loc[frames.trials["method"] == "dense", cost].mean()
    return float(dense) if dense == dense else 1.0


def _scatter(axes: Axes, series: Series, cost: str, whole: float) -> None:
    if not has(series.trials, cost, "val/top1"):
        return
    there = series.trials.dropna(subset=[cost, "val/top1"])
    keys = [(key,) for key in there["key"]]
    marker, hollow = MARKERS[series.hue], not series.retrained
    x = there[cost] / whole
    scatter_trials(axes, x, there["val/top1"], keys, series.colour, marker, hollow=hollow)


def pareto_front(cost: pd.Series, value: pd.Series) -> pd.DataFrame:
    """Columns cost, value, the cheapest first: the points than which none is better and cheaper."""
    points = pd.DataFrame({"cost": cost, "value": value}).dropna()
    points = points.sort_values(["cost", "value"], ascending=[True, False])
    best = points["value"].cummax().shift(fill_value=-np.inf)
    return points[points["value"] > best].reset_index(drop=True)


def stopped(frames: SweepFrames, released: Points) -> Figure | str:
    """Accuracy over epochs of every trial that trained; where a trial was stopped, a cross."""
    trials = frames.trials
    ended = trials[trials["outcome"] == "stopped"]
    if ended.empty:
        return "No trial was stopped early."
    if "val/top1" not in frames.epochs:
        return (
            f"{len(ended)} trials were stopped early; they left no table of their epochs "
            "(epochs.parquet)."
        )
    figure, (axes,) = new_figure()
    for key, curve in frames.epochs.groupby("key", observed=True):
        curve = curve.sort_values("epoch").dropna(subset=["val/top1"])
        if not len(curve):
            continue
        was_stopped = key in set(ended["key"])
        ink, width = ("#d55e00", 1.4) if was_stopped else (GREY, 0.7)
        alpha = 1.0 if was_stopped else 0.45
        axes.plot(curve["epoch"], curve["val/top1"], color=ink, lw=width, alpha=alpha)
        if was_stopped:
            last = curve.iloc[-1]
            scatter_trials(
                axes, [last["epoch"]], [last["val/top1"]], [(str(key),)], ink, "x", size=40
            )
    axes.set_xlabel("epoch after pruning")
    axes.set_ylabel(LABELS["val/top1"])
    axes.set_ylim(0, 1)
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    legend(
        axes,
        [
            Line2D([], [], color="#d55e00", marker="x", label="stopped early, then scored"),
            Line2D([], [], color=GREY, lw=0.9, label="trained to its end"),
        ],
    )
    return figure

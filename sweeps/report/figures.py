"""The figures of the paper, drawn from a sweep: accuracy, sparsity, interpretability."""

import textwrap
from collections.abc import Iterator
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

# Okabe & Ito's palette, which colour-blind readers can tell apart.
COLOURS = {
    "unstructured": "#0072B2",
    "unstructured_layerwise": "#56B4E9",
    "structured": "#D55E00",
    "structured_global": "#E69F00",
    "connection": "#009E73",
    "connection_global": "#CC79A7",
}
_STYLES = {"one_shot": "-", "iterative": "--", "linear": "-.", "cubic": ":"}
_MARKERS = {"one_shot": "o", "iterative": "s", "linear": "^", "cubic": "D"}
_WITHOUT = {"none": ("x", ":"), "recalibrate": ("+", "-.")}
_WITHOUT_NAMES = {"none": "as pruned", "recalibrate": "BatchNorm recalibrated"}

_LABELS = {
    "prune/sparsity": "sparsity (fraction of prunable weights that are zero)",
    "val/top1": "top-1 accuracy",
    "mis/mean": "MIS, mean over alive units",
}


def figures(trials: pd.DataFrame, caption: str) -> dict[str, Figure]:
    """File name -> figure, with the caption below; `trials` as in `SweepFrames`."""
    drawn = {
        "accuracy_vs_sparsity": _against_sparsity(trials, "val/top1", "Accuracy and sparsity"),
        "mis_vs_sparsity": _against_sparsity(trials, "mis/mean", "Interpretability and sparsity"),
        "accuracy_vs_mis": _accuracy_vs_mis(trials),
    }
    for figure in drawn.values():
        below = textwrap.fill(caption, 125)
        figure.supxlabel(below, fontsize=7, color="0.4", x=0.01, ha="left", multialignment="left")
    return drawn


def _axes(title: str) -> tuple[Figure, Axes]:
    figure, axes = plt.subplots(figsize=(7.6, 4.4), layout="constrained")
    axes.set_title(title, loc="left", fontsize=12, fontweight="bold")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6)
    return figure, axes


def _series(trials: pd.DataFrame) -> Iterator[tuple[tuple[Any, ...], pd.DataFrame]]:
    pruned = trials[trials["method"].isin(COLOURS)]
    keys = ["method", "schedule", "criterion", "retraining"]
    yield from pruned.groupby(keys, sort=False)


def _against_sparsity(trials: pd.DataFrame, value: str, title: str) -> Figure:
    figure, axes = _axes(title)
    for (method, schedule, _, retraining), group in _series(trials):
        # Seeds of one setting are averaged; the line joins rates, and starts where rate 0 is: at
        # the dense network, or at the one retrained by the same recipe.
        points = group.groupby("rate")[["prune/sparsity", value]].mean().sort_index()
        start = _baseline(trials, "dense", "finetune" if retraining == "finetune" else "none")
        x = [0.0, *points["prune/sparsity"]] if len(start) else [*points["prune/sparsity"]]
        y = [start[value].mean(), *points[value]] if len(start) else [*points[value]]
        every = slice(1, None) if len(start) else slice(None)
        colour = COLOURS[method]
        if retraining == "finetune":
            style, marker = _STYLES[schedule], _MARKERS[schedule]
            axes.plot(x, y, style, color=colour, lw=1.6)
            axes.plot(x[every], y[every], marker, color=colour, ms=5)
        else:
            marker, style = _WITHOUT[retraining]
            axes.plot(x, y, style, color=colour, lw=1, alpha=0.6, zorder=1)
            axes.plot(x[every], y[every], marker, color=colour, ms=6, mew=1.6)
    _reference_lines(axes, trials, value)
    axes.set_xlabel(_LABELS["prune/sparsity"])
    axes.set_ylabel(_LABELS[value])
    axes.set_xlim(-0.01, 1)
    if value == "val/top1":
        axes.set_ylim(0, 1)
    _legend(axes, trials)
    return figure


def _baseline(trials: pd.DataFrame, method: str, retraining: str) -> pd.DataFrame:
    return trials[(trials["method"] == method) & (trials["retraining"] == retraining)]


def _reference_lines(axes: Axes, trials: pd.DataFrame, value: str) -> None:
    """Levels of the networks that are not pruned."""
    levels = {
        "dense": _baseline(trials, "dense", "none")[value].mean(),
        "dense retrained": _baseline(trials, "dense", "finetune")[value].mean(),
        "untrained": _baseline(trials, "untrained", "recalibrate")[value].mean(),
    }
    highest = max((level for level in levels.values() if level == level), default=0.0)
    for name, level in levels.items():
        if level == level:  # not NaN: this baseline is among the finished trials
            axes.axhline(
                level, color="0.5", lw=0.8, ls=":" if name == "untrained" else "-", zorder=0
            )
            left = name == "untrained"  # where the right end is crowded
            axes.annotate(
                name,
                (0 if left else 1, level),
                xytext=(0, 3 if left or level == highest else -10),
                textcoords="offset points",
                ha="left" if left else "right",
                fontsize=8,
                color="0.3",
            )


def _accuracy_vs_mis(trials: pd.DataFrame) -> Figure:
    figure, axes = _axes("Accuracy and interpretability")
    for (method, schedule, _, retraining), group in _series(trials):
        fine_tuned = retraining == "finetune"
        marker = _MARKERS[schedule] if fine_tuned else _WITHOUT[retraining][0]
        axes.scatter(
            group["val/top1"],
            group["mis/mean"],
            s=20 + 60 * group["prune/sparsity"],
            marker=marker,
            color=COLOURS[method],
            alpha=0.9 if fine_tuned else 0.7,
        )
    for _, row in trials[~trials["method"].isin(COLOURS)].iterrows():
        left = row["val/top1"] < 0.5
        axes.scatter(row["val/top1"], row["mis/mean"], s=90, marker="*", color="black", zorder=3)
        axes.annotate(
            row["label"],
            (row["val/top1"], row["mis/mean"]),
            xytext=(7 if left else -7, 5),
            textcoords="offset points",
            fontsize=8,
            ha="left" if left else "right",
        )
    axes.set_xlabel(_LABELS["val/top1"])
    axes.set_ylabel(_LABELS["mis/mean"])
    axes.set_xlim(0, 1)
    axes.text(1, 1.02, "larger: sparser", transform=axes.transAxes, ha="right", fontsize=8)
    _legend(axes, trials)
    return figure


def _legend(axes: Axes, trials: pd.DataFrame) -> None:
    pruned = trials[trials["method"].isin(COLOURS)]
    present = [method for method in COLOURS if method in set(pruned["method"])]
    handles = [Line2D([], [], color=COLOURS[m], lw=3, label=m) for m in present]
    tuned = set(pruned.loc[pruned["retraining"] == "finetune", "schedule"])
    handles += [
        Line2D([], [], color="0.3", ls=_STYLES[s], marker=_MARKERS[s], label=f"fine-tuned, {s}")
        for s in _STYLES
        if s in tuned
    ]
    handles += [
        Line2D([], [], color="0.3", ls=style, lw=1, marker=marker, label=_WITHOUT_NAMES[kind])
        for kind, (marker, style) in _WITHOUT.items()
        if kind in set(pruned["retraining"])
    ]
    axes.legend(
        handles=handles, fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5)
    )

"""The figures of the paper, drawn from a sweep: accuracy, sparsity, interpretability."""

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
_WITHOUT = {"none": ("0.15", "x", ":"), "recalibrate": ("0.55", "+", ":")}
_WITHOUT_NAMES = {"none": "as pruned", "recalibrate": "BatchNorm recalibrated"}

_LABELS = {
    "prune/sparsity": "sparsity (fraction of prunable weights that are zero)",
    "val/top1": "top-1 accuracy",
    "mis/mean": "MIS, mean over alive units",
}


def figures(trials: pd.DataFrame) -> dict[str, Figure]:
    """File name -> figure; `trials` as in `SweepFrames`."""
    return {
        "accuracy_vs_sparsity": _against_sparsity(trials, "val/top1", "Accuracy and sparsity"),
        "mis_vs_sparsity": _against_sparsity(trials, "mis/mean", "Interpretability and sparsity"),
        "accuracy_vs_mis": _accuracy_vs_mis(trials),
    }


def _axes(title: str) -> tuple[Figure, Axes]:
    figure, axes = plt.subplots(figsize=(7.2, 4.4), layout="constrained")
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
        # Seeds of one setting are averaged; the line joins rates.
        points = group.groupby("rate")[["prune/sparsity", value]].mean().sort_index()
        x, y = points["prune/sparsity"], points[value]
        colour = COLOURS[method]
        if retraining == "finetune":
            axes.plot(x, y, _STYLES[schedule], marker=_MARKERS[schedule], color=colour, ms=5)
        else:
            dark, marker, style = _WITHOUT[retraining]
            axes.plot(x, y, style, color=dark, lw=1, zorder=1)
            axes.plot(x, y, marker, color=colour, ms=6, mew=1.6)
    _reference_lines(axes, trials, value)
    axes.set_xlabel(_LABELS["prune/sparsity"])
    axes.set_ylabel(_LABELS[value])
    axes.set_xlim(0, 1)
    if value == "val/top1":
        axes.set_ylim(0, 1)
    _legend(axes, trials)
    return figure


def _reference_lines(axes: Axes, trials: pd.DataFrame, value: str) -> None:
    baselines = {
        "dense": ("dense", "none", "-", -10),
        "dense retrained": ("dense", "finetune", "--", 3),
        "untrained": ("untrained", "recalibrate", ":", -10),
    }
    for label, (method, retraining, style, offset) in baselines.items():
        group = trials[(trials["method"] == method) & (trials["retraining"] == retraining)]
        if len(group):
            axes.axhline(group[value].mean(), color="0.4", lw=1, ls=style, zorder=0)
            axes.annotate(
                label,
                (0.005, group[value].mean()),
                xytext=(0, offset),
                textcoords="offset points",
                fontsize=8,
                color="0.3",
            )


def _accuracy_vs_mis(trials: pd.DataFrame) -> Figure:
    figure, axes = _axes("Accuracy and interpretability")
    for (method, schedule, _, retraining), group in _series(trials):
        fine_tuned = retraining == "finetune"
        marker = _MARKERS[schedule] if fine_tuned else _WITHOUT[retraining][1]
        filled = fine_tuned or None
        axes.scatter(
            group["val/top1"],
            group["mis/mean"],
            s=20 + 60 * group["prune/sparsity"],
            marker=marker,
            color=COLOURS[method],
            alpha=0.9 if filled else 0.7,
        )
    for _, row in trials[~trials["method"].isin(COLOURS)].iterrows():
        axes.scatter(row["val/top1"], row["mis/mean"], s=90, marker="*", color="black", zorder=3)
        axes.annotate(
            row["label"],
            (row["val/top1"], row["mis/mean"]),
            xytext=(-6, 6),
            textcoords="offset points",
            fontsize=8,
            ha="right",
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
        Line2D([], [], color=dark, ls=style, marker=marker, label=_WITHOUT_NAMES[kind])
        for kind, (dark, marker, style) in _WITHOUT.items()
        if kind in set(pruned["retraining"])
    ]
    axes.legend(
        handles=handles, fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5)
    )

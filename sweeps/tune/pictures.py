"""What a trial's run shows as images in MLflow: its learning curve, its layers."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from trainables.artifacts import EPOCHS, UNITS
from trainables.workspace import whole_file

CURVE, LAYERS = "learning_curve.png", "mis_by_layer.png"
# Not those of the report's style: importing that takes MLflow into every worker.
_BLUE, _GREY, _INK = "#0072b2", "#808080", "#222222"


def draw_trial(folder: Path, title: str) -> None:
    """Write the images beside the tables of a finished trial, from what the tables hold.

    A trial that trained nothing has no learning curve; one without a unit alive has no bars.
    """
    if (folder / EPOCHS).exists():
        _draw_curve(pd.read_parquet(folder / EPOCHS), title, folder / CURVE)
    layers = layer_means(pd.read_parquet(folder / UNITS))
    if layers["mis"].notna().any():
        _draw_layers(layers, title, folder / LAYERS)


def layer_means(units: pd.DataFrame) -> pd.DataFrame:
    """By layer, in the order of the network: mean `mis` over alive units, `dense` that of the
    same units in the dense network (NaN where it is not known), `alive` their number, `n` of all.
    """
    units = units.assign(dense_mis=units.get("dense_mis", float("nan")))
    alive = units["mis"].notna() & (units.get("state", pd.Series("alive", units.index)) == "alive")
    grouped = units.assign(alive=alive, mis=units["mis"].where(alive)).groupby("layer", sort=False)
    means = grouped.agg(mis=("mis", "mean"), alive=("alive", "sum"), n=("alive", "size"))
    dense = units[alive].groupby("layer", sort=False)["dense_mis"].mean()
    means["dense"] = dense.reindex(means.index)
    return means.loc[sorted(means.index, key=_by_numbers)]


def _by_numbers(name: str) -> list[tuple[bool, int, str]]:
    """ "conv10" after "conv9"; the classifier last."""
    parts = re.split(r"(\d+)", name)
    told = [(not p.isdecimal(), int(p) if p.isdecimal() else 0, p) for p in parts if p]
    return [(name in ("fc", "classifier"), 0, ""), *told]


def _figure(
    width: float, height: float, *, bottom: float, top: float, panels: int = 1
) -> tuple[Any, list[Any]]:
    """bottom, top: inches below and above the axes."""
    from matplotlib.figure import Figure  # half a second that a trial of a notebook need not take

    # By hand, in inches: a layout that finds its margins draws everything twice.
    figure = Figure(figsize=(width, height))
    left, right, wide, high = 0.7, 0.12, width, height
    figure.subplots_adjust(
        left=left / wide,
        right=1 - right / wide,
        bottom=bottom / high,
        top=1 - top / high,
        wspace=panels * (left + right) / (wide - panels * (left + right)),
    )
    axes = list(figure.subplots(1, panels, squeeze=False).flat)
    for each in axes:
        each.spines[["top", "right"]].set_visible(False)
        each.grid(alpha=0.3, linewidth=0.5, axis="y")
        each.tick_params(labelsize=8)
        each.set_axisbelow(True)
    return figure, axes


def _save(figure: Any, title: str, path: Path) -> None:
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")
    with whole_file(path) as partial:
        figure.savefig(partial, format="png", dpi=110)


def _draw_curve(epochs: pd.DataFrame, title: str, path: Path) -> None:
    shown = {"val/top1": "top-1 accuracy, validation", "train/loss": "loss, training"}
    shown = {name: label for name, label in shown.items() if name in epochs}
    if not shown:
        return
    figure, axes = _figure(3.6 * len(shown), 2.8, bottom=0.48, top=0.35, panels=len(shown))
    rounds = epochs.get("round", pd.Series(1.0, epochs.index))
    cuts = epochs.loc[rounds.diff().fillna(0) > 0, "epoch"] - 0.5
    for each, (name, label) in zip(axes, shown.items(), strict=True):
        each.plot(epochs["epoch"], epochs[name], "o-", color=_BLUE, ms=3.5, lw=1.5)
        for cut in cuts:  # where the next round pruned
            each.axvline(cut, color=_GREY, lw=0.8, ls=":")
        each.set_xlabel("epoch" + (" (dotted: pruned again)" if len(cuts) else ""), fontsize=8)
        each.set_ylabel(label, fontsize=8)
        each.xaxis.get_major_locator().set_params(integer=True)
    _save(figure, title, path)


def _draw_layers(layers: pd.DataFrame, title: str, path: Path) -> None:
    figure, (axes,) = _figure(max(5.0, 1.6 + 0.155 * len(layers)), 3.8, bottom=1.35, top=0.55)
    places = list(range(len(layers)))
    axes.bar(places, layers["mis"], color=_BLUE, width=0.75, label="this network")
    if layers["dense"].notna().any():
        label = "the same units in the dense network"
        axes.plot(places, layers["dense"], "_", color=_INK, ms=7, mew=1.6, label=label)
    values = layers[["mis", "dense"]].to_numpy()
    low = min(0.5, float(np.nanmin(values)) - 0.02)
    axes.set_ylim(low, min(1.0, float(np.nanmax(values)) + 0.02))
    axes.axhline(0.5, color=_GREY, lw=0.8, ls=":")
    for place, (mis, alive, n) in enumerate(layers[["mis", "alive", "n"]].to_numpy()):
        if mis != mis:
            axes.text(place, low, " no unit alive", rotation=90, fontsize=5.5, ha="center")
        elif alive < n:
            share = f" {alive / n:.0%}"
            axes.text(place, low, share, rotation=90, fontsize=5.5, ha="center", color="white")
    axes.set_xlim(-0.8, len(layers) - 0.2)
    axes.set_xticks(places, layers.index, rotation=90, fontsize=6)
    axes.set_ylabel("MIS, mean over alive units", fontsize=8)
    axes.set_xlabel("layer; in a bar: the share of its units that is alive", fontsize=8)
    axes.legend(fontsize=7, frameon=False, ncols=2, loc="lower left", bbox_to_anchor=(0, 1))
    _save(figure, title, path)

"""Units that detect a concept, beside MIS: two answers to "can one understand it?"."""

import dataclasses
from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sweeps.report.read.frames import SweepFrames
from sweeps.report.sections.series import (
    Series,
    all_series,
    draw_levels,
    draw_series,
    has,
    hue_handles,
    kind_handles,
    pruned,
    scatter_trials,
)
from sweeps.report.sections.sparsity import Points
from sweeps.report.sections.style import (
    INK,
    LABELS,
    MARKERS,
    label_ends,
    legend,
    new_figure,
    sparsity_axis,
)

_WITHIN = "dissection/mis_within_layers"
_COUNTS = ("dissection/interpretable", "dissection/unique")


def dissection(frames: SweepFrames, released: Points) -> Figure | str:
    """Detectors and concepts against sparsity, and MIS against detectors."""
    trials = pruned(frames)
    if not has(trials, *_COUNTS):
        return "The networks of this sweep were not dissected."
    figure, panels = new_figure(3, 3.1)
    series = list(all_series(trials))
    for axes, value in zip(panels, _COUNTS, strict=False):
        for each in series:
            draw_series(axes, each, frames, value, black=True)
        draw_levels(axes, frames, value)
        sparsity_axis(axes, small=True)
        axes.set_title(LABELS[value], fontsize=8.5, loc="left")
        axes.set_ylim(bottom=0)
    _beside_mis(panels[2], series)
    legend(figure, [*hue_handles(series), *kind_handles(series, black=True)])
    return figure


def _beside_mis(axes: Axes, series: Sequence[Series]) -> None:
    for each in series:
        if not has(each.trials, "mis/mean", _COUNTS[0]):
            continue
        there = each.trials.dropna(subset=["mis/mean", _COUNTS[0]])
        keys = [(key,) for key in there["key"]]
        ink = each.colour if each.retrained else INK
        scatter_trials(axes, there[_COUNTS[0]], there["mis/mean"], keys, ink, MARKERS[each.hue])
    axes.set_xlabel(LABELS[_COUNTS[0]])
    axes.set_title("MIS", fontsize=8.5, loc="left")


def detectors(frames: SweepFrames, released: Points) -> Figure | str:
    """MIS of units that detect a concept minus that of others, within each network and layer."""
    if "detector" not in frames.of_dissected.columns or "mis" not in frames.of_units.columns:
        return "The networks of this sweep were not dissected."
    table = pd.concat(
        within_layers(found, frames.of_units.read(set(found["key"]), ["layer", "channel", "mis"]))
        for found in frames.of_dissected.batches(["layer", "channel", "detector"])
    )
    if table.empty:
        return "In no layer of any network are there units that detect a concept, and others."
    trials = frames.trials.assign(**{_WITHIN: frames.trials["key"].map(table["difference"])})
    shown = dataclasses.replace(frames, trials=trials)
    series = [each for each in all_series(pruned(shown)) if has(each.trials, _WITHIN)]
    figure, (axes,) = new_figure()
    for each in series:
        draw_series(axes, each, shown, _WITHIN, black=True)
    ends = draw_levels(axes, shown, _WITHIN)
    axes.axhline(0, color=INK, lw=0.9, zorder=0)
    label_ends(axes, ends)
    sparsity_axis(axes)
    axes.set_ylabel("MIS of detectors minus others")
    legend(axes, [*hue_handles(series), *kind_handles(series, black=True)])
    return figure


def within_layers(found: pd.DataFrame, units: pd.DataFrame) -> pd.DataFrame:
    """A row a network (by its key) that has a layer with both kinds of units: `difference`.

    The mean over layers of the difference of the two means, each layer weighted by n m / (n + m),
    as least squares with an intercept for each layer does. Units of networks and layers of other
    levels are never pooled.
    """
    unit, texts = ["key", "layer", "channel"], {"key": str, "layer": str}
    both = found[[*unit, "detector"]].astype(texts)
    both = both.merge(units[[*unit, "mis"]].astype(texts), on=unit).dropna(subset=["mis"])
    kinds = both.groupby(["key", "layer", both["detector"].astype(bool)])["mis"]
    table = kinds.agg(["mean", "size"]).unstack("detector").dropna()
    if table.empty or table["mean"].shape[1] < 2:
        return pd.DataFrame({"difference": []})
    n, m = table["size"][True], table["size"][False]
    parts = pd.DataFrame({"weight": n * m / (n + m)})
    parts["sum"] = parts["weight"] * (table["mean"][True] - table["mean"][False])
    sums = parts.groupby("key").sum()
    return pd.DataFrame({"difference": sums["sum"] / sums["weight"]})

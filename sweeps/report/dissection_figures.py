"""Units that detect a concept, beside MIS: two answers to "can one understand it?"."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sweeps.report.frames import SweepFrames
from sweeps.report.paper_figures import Points
from sweeps.report.series import (
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
from sweeps.report.style import (
    INK,
    LABELS,
    MARKERS,
    legend,
    new_figure,
    sparsity_axis,
)

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
    """MIS of units that detect a concept, and of those that do not."""
    found = frames.dissected
    if found.empty or "detector" not in found or frames.units.empty:
        return "The networks of this sweep were not dissected."
    unit = ["key", "layer", "channel"]
    texts = {"key": str, "layer": str}
    both = (
        found[[*unit, "detector"]]
        .astype(texts)
        .merge(frames.units[[*unit, "mis"]].astype(texts), on=unit)
    )
    both = both.dropna(subset=["mis"])
    if both["detector"].nunique() < 2:
        return "All dissected units detect a concept, or none of them does."
    figure, (axes,) = new_figure(height=2.6)
    groups = {"detects a concept": True, "detects none": False}
    parts = [both.loc[both["detector"].astype(bool) == is_one, "mis"] for is_one in groups.values()]
    axes.violinplot(parts, orientation="horizontal", showmedians=True, widths=0.8)
    for artist in axes.collections:
        artist.set(color="#0072b2", linewidth=1.2)
    for body in axes.collections[: len(parts)]:
        body.set(alpha=0.35)
    names = [f"{n}\n({len(p):,} units)" for n, p in zip(groups, parts, strict=True)]
    axes.set_yticks([1, 2], names)
    axes.set_xlabel("MIS of a unit")
    return figure

"""Beyond the means: layers, kinds of branch, the distribution over units, each unit by itself."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sweeps.report.read.frames import SweepFrames
from sweeps.report.read.same_units import shares
from sweeps.report.sections.alive_units import (
    alive,
    at_highest_rate,
    dense_keys,
    ends_of_mis,
    has_units,
    layer_means,
    layers_of,
    of_branches,
    untrained_keys,
)
from sweeps.report.sections.series import Series, all_series, draw_series, kind_handles, pruned
from sweeps.report.sections.sparsity import Points
from sweeps.report.sections.style import (
    COLOURS,
    GREY,
    INK,
    block_starts,
    label_ends,
    legend,
    named,
    new_figure,
    sparsity_axis,
)

_NO_UNITS = "The trials of this sweep left no table of their units (units.parquet)."
# GoogLeNet's branches by what they end with; branch3 is the paper's "5x5", of 3x3 in torchvision.
_BRANCHES = {
    "branch1": ("1×1", "#0072b2"),
    "branch2": ("3×3", "#d55e00"),
    "branch3": ("second 3×3", "#009e73"),
    "branch4": ("pool", "#cc79a7"),
}

_NAMES = 30  # of blocks along an axis: more would lie over each other
_SEEN = 0.002  # of the units: less cannot be seen
_STATES = {"dead": "dead", "constant": "constant, not zero", "unread": "read by nobody"}


def main_series(frames: SweepFrames) -> list[Series]:
    """One a method: retrained at once where there is such a one, else what there is."""
    found: dict[str, Series] = {}
    for series in all_series(pruned(frames)):
        best = found.get(series.hue)
        if best is None or _rank(series) < _rank(best):
            found[series.hue] = series
    return list(found.values())


def _rank(series: Series) -> tuple[bool, bool, bool, bool]:
    return (
        not series.retrained,
        series.schedule != "one_shot",
        not series.main,
        series.retraining == "none",
    )


def _of_rates(series: Series) -> dict[float, set[str]]:
    rates = sorted(series.trials["rate"].unique())
    return {rate: set(series.trials.loc[series.trials["rate"] == rate, "key"]) for rate in rates}


def _shade(place: int, n: int) -> float:
    return 1 - 0.65 * place / max(1, n - 1)


def by_layer(frames: SweepFrames, released: Points) -> Figure | str:
    """MIS over depth, a panel a method and a line a rate, the dense network in black; beside it
    what early layers have without training, and what raw pixels give away."""
    chosen = main_series(frames)
    layers = layers_of(frames)
    if not layers or not chosen:
        return _NO_UNITS
    dense, untrained = dense_keys(frames), untrained_keys(frames)
    levels = {
        "dense": (layer_means(frames, dense, layers), INK, "-"),
        "untrained": (layer_means(frames, untrained, layers), GREY, ":"),
        "by pixels": (layer_means(frames, dense, layers, "mis_pixels"), GREY, "--"),
    }
    figure, panels = new_figure(1, 0.9 + 1.7 * len(chosen), rows=len(chosen))
    for axes, series in zip(panels, chosen, strict=True):
        rates = _of_rates(series)
        ends = []
        for name, (means, ink, line) in levels.items():
            axes.plot(range(len(layers)), means, color=ink, ls=line, lw=1.3, zorder=3)
            ends += _end(means, name, ink)
        for place, (rate, keys) in enumerate(rates.items()):
            means = layer_means(frames, keys, layers)
            shade = _shade(place, len(rates))
            axes.plot(range(len(layers)), means, color=series.colour, lw=1.4, alpha=shade)
            ends += _end(means, f"{rate:g}", series.colour)
        axes.set_ylabel("MIS")
        axes.set_title(_kind(series), color=series.colour, loc="left")
        _name_blocks(axes, layers, last=axes is panels[-1])
        label_ends(axes, ends)
    return figure


def _end(means: np.ndarray, name: str, colour: str) -> list[tuple[float, str, str]]:
    """Where a line ends, as `label_ends` takes it; nothing of a line without points."""
    known = means[~np.isnan(means)]
    return [(float(known[-1]), name, colour)] if len(known) else []


def _kind(series: Series) -> str:
    return named(series.hue) + ("" if series.retrained else ", as pruned")


def _name_blocks(axes: Axes, layers: Sequence[str], *, last: bool) -> None:
    """Names of blocks, where a new one begins and there is room."""
    blocks = block_starts(layers, _NAMES)
    names = list(blocks.values()) if last else [""] * len(blocks)
    axes.set_xticks(list(blocks), names, rotation=45, ha="right")
    axes.set_xlim(-0.5, len(layers) - 0.5)
    if last:
        axes.set_xlabel("layer, in the order of the network")


def by_branch(frames: SweepFrames, released: Points) -> Figure | str:
    """Change of MIS of the same units, by the kind of branch of GoogLeNet's blocks."""
    chosen = main_series(frames)
    if not has_units(frames) or not chosen:
        return _NO_UNITS
    found = [of_branches(frames, series) for series in chosen]
    if not any(len(each) for each in found):
        return "The network of this sweep has no branches, or no dense network beside it."
    figure, panels = new_figure(len(chosen), 3.0, sharey=True)
    for axes, series, change in zip(panels, chosen, found, strict=True):
        for name, (_, colour) in _BRANCHES.items():
            line = change[change["branch"] == name]
            x, mean, error = line["sparsity"], line["mean"], line["sem"]
            axes.errorbar(x, mean, error, fmt="o-", color=colour, ms=3.5)
        axes.axhline(0, color=GREY, lw=0.9, zorder=0)
        axes.set_title(_kind(series), loc="left")
        sparsity_axis(axes, small=True)
    panels[0].set_ylabel("change of MIS of the same units")
    legend(figure, [_handle(c, f"{n} ({b})") for b, (n, c) in _BRANCHES.items()])
    return figure


def _handle(colour: str, label: str) -> Line2D:
    return Line2D([], [], color=colour, lw=1.7, label=label)


def distribution(frames: SweepFrames, released: Points) -> Figure | str:
    """How many units have which MIS: the whole distribution, not its mean."""
    chosen = main_series(frames)
    ends = ends_of_mis(frames)
    if ends is None or not chosen:
        return _NO_UNITS
    bins = [float(edge) for edge in np.linspace(*ends, 41)]
    dense = alive(frames, dense_keys(frames))
    figure, panels = new_figure(len(chosen), 2.7, sharey=True)
    for axes, series in zip(panels, chosen, strict=True):
        rates = _of_rates(series)
        if len(dense):
            axes.hist(dense["mis"], bins, density=True, color=GREY, alpha=0.35, zorder=0)
        for place, keys in enumerate(rates.values()):
            mine = alive(frames, keys)["mis"]
            if len(mine):
                height, edges = np.histogram(mine, bins, density=True)
                shade = _shade(place, len(rates))
                middle = (edges[1:] + edges[:-1]) / 2
                axes.plot(middle, height, color=series.colour, lw=1.5, alpha=shade)
        axes.set_title(_kind(series), color=series.colour, loc="left")
        axes.set_xlabel("MIS of a unit")
        axes.set_yticks([])
    panels[0].set_ylabel("density of units")
    rated = sorted({rate for series in chosen for rate in _of_rates(series)})
    handles = [Line2D([], [], color=GREY, lw=6, alpha=0.35, label="dense")]
    for place, rate in enumerate(rated):
        shade = _shade(place, len(rated))
        handles.append(Line2D([], [], color=INK, lw=1.5, alpha=shade, label=f"rate {rate:g}"))
    legend(figure, handles)
    return figure


def against_dense(frames: SweepFrames, released: Points) -> Figure | str:
    """Each surviving unit against its own score in the dense network, at the highest rate."""
    chosen = main_series(frames)
    found = [at_highest_rate(frames, series) for series in chosen] if has_units(frames) else []
    both = [mine[["mis", "dense_mis"]].to_numpy() for mine in found if len(mine)]
    if not both:
        return "There are no units, or no dense network, to compare with."
    figure, panels = new_figure(len(chosen), 2.5)
    low, high = np.quantile(np.concatenate(both), [0.001, 0.999])
    for axes, series, mine in zip(panels, chosen, found, strict=True):
        rate = series.trials["rate"].max()
        _density(axes, mine["dense_mis"], mine["mis"], (low, high), series.colour)
        axes.plot([low, high], [low, high], color=INK, lw=0.8)
        name = f"{named(series.hue)} {rate:g}"
        axes.set_title(name, color=series.colour, loc="left")
        axes.text(0.03, 0.97, _agreement(mine), transform=axes.transAxes, fontsize=7.5, va="top")
        axes.set_xlabel("MIS in the dense network")
        axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")
    panels[0].set_ylabel("MIS of the same unit, pruned")
    return figure


def _density(
    axes: Axes, x: pd.Series, y: pd.Series, ends: tuple[float, float], colour: str
) -> None:
    """How many units lie where: points of thousands of units would hide one another."""
    shades = LinearSegmentedColormap.from_list("shades", [f"{colour}00", colour])
    bins = np.linspace(*ends, 46)
    counts, _, _ = np.histogram2d(x, y, [bins, bins])
    shown = np.ma.masked_equal(np.sqrt(counts.T), 0)
    axes.pcolormesh(bins, bins, shown, cmap=shades, vmin=-0.15 * shown.max(), rasterized=True)


def _agreement(units: pd.DataFrame) -> str:
    if len(units) < 3:
        return f"{len(units)} units"
    rho = units["mis"].corr(units["dense_mis"], method="spearman")
    change = (units["mis"] - units["dense_mis"]).mean()
    return f"{len(units):,} units, ρ = {rho:.2f}\nmean change {change:+.3f}"


def states(frames: SweepFrames, released: Points) -> Figure | str:
    """Units without a score: dead, constant, and those that nobody reads."""
    if "state" not in frames.of_units.columns:
        return _NO_UNITS
    share = pd.concat(map(shares, frames.of_units.batches(["state", "counted"])))
    names = {name: title for name, title in _STATES.items() if share[name].max() > _SEEN}
    if not names:
        return "Next to no unit of any network is dead, constant or unread."
    columns: Mapping[str, pd.Series] = {
        f"share/{name}": frames.trials["key"].map(share[name]) for name in names
    }
    with_shares = dataclasses.replace(frames, trials=frames.trials.assign(**columns))
    series = list(all_series(pruned(with_shares)))
    figure, panels = new_figure(len(names), 2.9, sharey=True)
    for axes, (name, title) in zip(panels, names.items(), strict=True):
        for each in series:
            draw_series(axes, each, with_shares, f"share/{name}")
        axes.set_title(title, loc="left")
        sparsity_axis(axes, small=True)
        axes.set_ylim(-0.02, 1)
    panels[0].set_ylabel("fraction of the units")
    hues = dict.fromkeys(each.hue for each in series)
    legend(figure, [*(_handle(COLOURS[h], named(h)) for h in hues), *kind_handles(series)])
    return figure

"""Layer by layer, in the order of the network: what is understood, and what is kept."""

from collections.abc import Collection, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sweeps.plan.section import Section
from sweeps.report.read.frames import SweepFrames
from sweeps.report.sections.alive_units import (
    dense_keys,
    has_units,
    layer_means,
    layers_of,
    of_branches,
    untrained_keys,
)
from sweeps.report.sections.criteria import arms
from sweeps.report.sections.lines import line_handle
from sweeps.report.sections.series import main_series, series_in, tidy
from sweeps.report.sections.style import (
    COLOURS,
    GREY,
    INK,
    block_starts,
    in_order,
    label_ends,
    legend,
    named,
    new_figure,
    sparsity_axis,
)
from sweeps.report.sections.units import (
    NO_UNITS,
    NONE_ALIVE,
    kind_of,
    rates_of,
    shade,
)
from sweeps.report.statistics.population import compared, training_of
from trainables.methods import METHODS

# GoogLeNet's branches by what they end with; branch3 is the paper's "5x5", of 3x3 in torchvision.
_BRANCHES = {
    "branch1": ("1×1", "#0072b2"),
    "branch2": ("3×3", "#d55e00"),
    "branch3": ("second 3×3", "#009e73"),
    "branch4": ("pool", "#cc79a7"),
}
_PANELS = 8
_LINES = ("-", "--", "-.", ":")
_LEVELS = {"dense": (INK, "-"), "untrained": (GREY, ":"), "by pixels": (GREY, "--")}


def _by_layer(frames: SweepFrames) -> pd.DataFrame | str:
    chosen, layers = main_series(compared(frames.trials)), layers_of(frames)
    if not layers or not chosen:
        return NO_UNITS
    lines = [
        series.row("layer", rate=rate, keys=",".join(keys), **row)
        for series in chosen
        for rate, keys in rates_of(series)
        for row in _means(frames, keys, layers, "mis")
    ]
    if not lines:
        return NONE_ALIVE
    dense, untrained = dense_keys(frames), untrained_keys(frames)
    levels = {"dense": (dense, "mis"), "untrained": (untrained, "mis")}
    levels["by pixels"] = (dense, "mis_pixels")
    beside = [
        {"kind": "level", "name": name, **row}
        for name, (keys, value) in levels.items()
        for row in _means(frames, keys, layers, value)
    ]
    return tidy([*beside, *lines])


def _means(
    frames: SweepFrames, keys: Collection[str], layers: Sequence[str], value: str
) -> list[dict[str, Any]]:
    """A row per layer, in the order of the network."""
    return [
        {"layer": layer, "place": place, "units": n, "metric": value, "value": mean}
        for place, (layer, mean, n) in enumerate(layer_means(frames, keys, layers, value))
    ]


def _draw_by_layer(table: pd.DataFrame) -> Figure:
    chosen = series_in(table)
    layers = list(dict.fromkeys(table["layer"]))
    figure, panels = new_figure(1, 0.9 + 1.7 * len(chosen), rows=len(chosen))
    for axes, series in zip(panels, chosen, strict=True):
        ends: list[tuple[float, str, str]] = []
        for name, (ink, line) in _LEVELS.items():
            level = table[table["name"] == name]
            axes.plot(level["place"], level["value"], color=ink, ls=line, lw=1.3, zorder=3)
            ends += _end(level, name, ink)
        rates = series.rows.groupby("rate")
        for place, (rate, rows) in enumerate(rates):
            faint = shade(place, len(rates))
            axes.plot(rows["place"], rows["value"], color=series.colour, lw=1.4, alpha=faint)
            ends += _end(rows, f"{rate:g}", series.colour)
        axes.set_ylabel("MIS")
        axes.set_title(kind_of(series), color=series.colour, loc="left")
        name_blocks(axes, layers, 30, "layer, in the order of the network", axes is panels[-1])
        label_ends(axes, ends)
    return figure


def _end(line: pd.DataFrame, name: str, colour: str) -> list[tuple[float, str, str]]:
    """Where a line ends, as `label_ends` takes it; nothing of a line without points."""
    known = line["value"].dropna()
    return [(float(known.iloc[-1]), name, colour)] if len(known) else []


def name_blocks(axes: Axes, layers: Sequence[str], most: int, label: str, last: bool) -> None:
    """A tick where a block begins; of the last panel the names of at most so many, and a label."""
    blocks = block_starts(layers, most)
    names = list(blocks.values()) if last else [""] * len(blocks)
    turned: dict[str, Any] = {"rotation": 45, "ha": "right"} if most > 14 else {}
    axes.set_xticks(list(blocks), names, **turned)
    axes.set_xlim(-0.5, len(layers) - 0.5)
    if last:
        axes.set_xlabel(label)


def _by_branch(frames: SweepFrames) -> pd.DataFrame | str:
    chosen = main_series(compared(frames.trials))
    if not has_units(frames) or not chosen:
        return NO_UNITS
    trained = training_of(frames.trials)
    rows = [
        series.row(
            "mean",
            **{"branch": row["branch"], "prune/sparsity": row["sparsity"], "units": row["count"]},
            **{"metric": "mis/change", "value": row["mean"], "error": row["sem"]},
        )
        for series in chosen
        for row in of_branches(frames, series, trained)
        .sort_values("branch", kind="stable")
        .to_dict("records")
    ]
    if not rows:
        return "The network of this sweep has no branches, or no dense network beside it."
    return tidy(rows)


def _draw_by_branch(table: pd.DataFrame) -> Figure:
    chosen = series_in(table)
    figure, panels = new_figure(len(chosen), 3.0, sharey=True)
    for axes, series in zip(panels, chosen, strict=True):
        for name, (_, colour) in _BRANCHES.items():
            line = series.rows[series.rows["branch"] == name]
            x, y, error = line["prune/sparsity"], line["value"], line["error"]
            axes.errorbar(x, y, error, fmt="o-", color=colour, ms=3.5)
        axes.axhline(0, color=GREY, lw=0.9, zorder=0)
        axes.set_title(kind_of(series), loc="left")
        sparsity_axis(axes, small=True)
    panels[0].set_ylabel("change of MIS of the same units")
    legend(figure, [line_handle(c, f"{n} ({b})") for b, (n, c) in _BRANCHES.items()])
    return figure


def _share_kept(frames: SweepFrames) -> pd.DataFrame | str:
    if frames.layers.empty:
        return "The trials of this sweep left no table of their layers (layers.parquet)."
    shares = _shares(frames)
    if shares.empty:
        return "No criterion of this sweep ranked all layers at once: each keeps the same share."
    place = {layer: at for at, layer in enumerate(dict.fromkeys(shares["layer"].astype(str)))}
    kinds = shares.groupby(["method", "scored"], sort=False)
    rows: list[dict[str, Any]] = []
    in_palette = sorted(kinds, key=lambda item: [in_order(str(name)) for name in item[0]])
    for (method, scored), of_kind in in_palette:
        said = {"method": method, "scored": scored}
        for rate, of_rate in of_kind.groupby("rate"):
            chance = {"metric": "share", "value": 1 - float(rate)}  # type: ignore[arg-type]
            rows.append({"kind": "level", "name": "by chance", **said, "rate": rate, **chance})
            means = of_rate.groupby("layer", observed=True)["share"].mean()
            keys = ",".join(dict.fromkeys(of_rate["key"]))
            for layer, at in place.items():
                row = {**said, "rate": rate, "layer": layer, "place": at, "keys": keys}
                rows.append({"kind": "layer", **row, "metric": "share", "value": means.get(layer)})
    return tidy(rows)


def _shares(frames: SweepFrames) -> pd.DataFrame:
    """A row per layer of each trial that a criterion ranked over all layers, after its last round:
    columns key, method, scored, rate, layer, share."""
    trials = arms(frames.trials)
    in_all_layers = [m for m, choice in METHODS.items() if choice["scope"] == "global"]
    own = trials[(trials["arm"] == "own") & trials["method"].isin(in_all_layers)]
    own = own.drop_duplicates(["method", "scored", "rate", "seed"])  # with most images, see `arms`
    table = frames.layers.assign(key=frames.layers["key"].astype(str))
    last = table[table["round"] == table.groupby("key")["round"].transform("max")]
    chosen = own[["key", "method", "scored", "rate"]]
    return chosen.merge(last[["key", "layer", "share"]], on="key")


def _draw_share_kept(table: pd.DataFrame) -> Figure:
    kept = table[table["kind"] == "layer"]
    kinds = kept.groupby(["method", "scored"], sort=False)
    every = [(str(method), str(scored), rows) for (method, scored), rows in kinds]
    panels, more = every[:_PANELS], every[_PANELS:]
    layers = list(dict.fromkeys(kept["layer"]))
    rates = dict(zip(sorted(kept["rate"].unique()), _LINES, strict=False))
    figure, axes = new_figure(1, 0.9 + 1.35 * len(panels), rows=len(panels))
    for each, (method, scored, rows) in zip(axes, panels, strict=True):
        colour = COLOURS[scored.partition(" ")[0]]
        for rate, line in rates.items():
            of_rate = rows[rows["rate"] == rate]
            if len(of_rate):
                each.plot(of_rate["place"], of_rate["value"], ls=line, color=colour, lw=1.4)
            chance = (table["kind"] == "level") & (table["method"] == method)
            chance &= (table["scored"] == scored) & (table["rate"] == rate)
            for level in table.loc[chance, "value"]:
                each.axhline(level, color=GREY, lw=0.7, ls=line, zorder=0)
        each.set_ylim(-0.03, 1.03)
        each.set_title(f"{named(method)} by {named(scored)}", color=colour, loc="left")
        each.set_ylabel("share kept")
        is_last = each is axes[len(panels) - 1]
        name_blocks(each, layers, 14, "layers, in the order of the network", is_last)
    handles = [
        Line2D([], [], color=INK, ls=line, label=f"rate {rate:g}") for rate, line in rates.items()
    ]
    handles.append(Line2D([], [], color=GREY, lw=0.7, label="by chance"))
    if more:
        left = ", ".join(f"{named(m)} by {named(s)}" for m, s, _ in more)
        handles.append(Line2D([], [], ls="none", label=f"not drawn: {left}"))
    legend(figure, handles)
    return figure


BY_LAYER = Section(
    "mis_by_layer",
    "Interpretability by layer",
    "In which layers do units change?",
    "One line per rate, the sparser the fainter; without colour the dense network, an untrained "
    "one (early layers score without training), and the dense network's tasks solved by raw "
    "pixels. A gap: a layer without a unit that has a score.",
    _by_layer,
    _draw_by_layer,
)
BY_BRANCH = Section(
    "mis_by_branch",
    "By kind of branch",
    "Do units of some kinds of branch change more than others?",
    "Change of the same units in the four branches of GoogLeNet's blocks, by the kernel that a "
    "branch ends with (torchvision has 3×3 where the paper has 5×5). Bars are one standard error: "
    "over trainings where there are several, else over units.",
    _by_branch,
    _draw_by_branch,
)
SHARE_KEPT = Section(
    "share_kept",
    "Share kept of each layer",
    "Which layers does a criterion prune?",
    "Where a ranking over all layers prunes. Thin: chance, which takes the same share of each. "
    "A layer at 0 has nothing left.",
    _share_kept,
    _draw_share_kept,
)

"""Beyond the means: the distribution over units, and each unit by itself."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sweeps.plan.section import Section
from sweeps.report.read.frames import SweepFrames
from sweeps.report.read.same_units import shares
from sweeps.report.sections.alive_units import (
    alive,
    at_highest_rate,
    dense_keys,
    ends_of_mis,
    has_units,
)
from sweeps.report.sections.lines import draw_series, kind_handles, line_handle, ring_units
from sweeps.report.sections.series import (
    Series,
    all_series,
    line_rows,
    main_series,
    series_in,
    tidy,
)
from sweeps.report.sections.style import (
    COLOURS,
    GREY,
    INK,
    legend,
    named,
    new_figure,
    sparsity_axis,
)
from sweeps.report.statistics.population import compared, training_of

NO_UNITS = "The trials of this sweep left no table of their units (units.parquet)."
NONE_ALIVE = "No pruned network of this sweep has a unit with a score."
_BINS, _CELLS = 40, 45
_RINGED = 6  # units that fell most, and that rose most
_SEEN = 0.002  # of the units: less cannot be seen
_STATES = {"dead": "dead", "constant": "constant, not zero", "unread": "read by nobody"}


def rates_of(series: Series) -> list[tuple[float, list[str]]]:
    """Each rate of a series, and the keys of its trials."""
    return [(float(rate), list(keys)) for rate, keys in series.rows.groupby("rate")["key"]]  # type: ignore[arg-type]


def shade(place: int, n: int) -> float:
    """The sparser the fainter."""
    return 1 - 0.65 * place / max(1, n - 1)


def kind_of(series: Series) -> str:
    """What a panel of one series is called."""
    return named(series.hue) + ("" if series.retrained else ", as pruned")


def _distribution(frames: SweepFrames) -> pd.DataFrame | str:
    chosen, ends = main_series(compared(frames.trials)), ends_of_mis(frames)
    if ends is None or not chosen:
        return NO_UNITS
    edges = np.linspace(*ends, _BINS + 1)
    bins = [
        series.row("bin", rate=rate, keys=",".join(keys), **row)
        for series in chosen
        for rate, keys in rates_of(series)
        for row in _histogram(alive(frames, keys)["mis"], edges)
    ]
    if not bins:
        return NONE_ALIVE
    dense = alive(frames, dense_keys(frames))["mis"]
    beside = [{"kind": "level", "name": "dense", **row} for row in _histogram(dense, edges)]
    return tidy([*beside, *bins])


def _histogram(values: pd.Series, edges: np.ndarray) -> Iterator[dict[str, Any]]:
    """A row per bin: from, to, the units in it, and value, their density."""
    if not len(values):
        return
    counts, density = np.histogram(values, edges)[0], np.histogram(values, edges, density=True)[0]
    bins = zip(edges[:-1], edges[1:], counts, density, strict=True)
    for low, high, count, height in bins:
        yield {"from": low, "to": high, "units": count, "metric": "density", "value": height}


def _draw_distribution(table: pd.DataFrame) -> Figure:
    chosen, dense = series_in(table), table[table["kind"] == "level"]
    figure, panels = new_figure(len(chosen), 2.7, sharey=True)
    for axes, series in zip(panels, chosen, strict=True):
        if len(dense):
            edges = [*dense["from"], dense["to"].iloc[-1]]
            look: dict[str, Any] = {"color": GREY, "alpha": 0.35, "zorder": 0}
            axes.hist(dense[["from", "to"]].mean(axis=1), edges, weights=dense["value"], **look)
        rates = series.rows.groupby("rate")
        for place, (_, bins) in enumerate(rates):
            middle, faint = bins[["from", "to"]].mean(axis=1), shade(place, len(rates))
            axes.plot(middle, bins["value"], color=series.colour, lw=1.5, alpha=faint)
        axes.set_title(kind_of(series), color=series.colour, loc="left")
        axes.set_xlabel("MIS of a unit")
        axes.set_yticks([])
    panels[0].set_ylabel("density of units")
    every = sorted(table["rate"].dropna().unique())
    handles = [Line2D([], [], color=GREY, lw=6, alpha=0.35, label="dense")]
    for place, rate in enumerate(every):
        faint = shade(place, len(every))
        handles.append(Line2D([], [], color=INK, lw=1.5, alpha=faint, label=f"rate {rate:g}"))
    legend(figure, handles)
    return figure


def _against_dense(frames: SweepFrames) -> pd.DataFrame | str:
    chosen = main_series(compared(frames.trials)) if has_units(frames) else []
    trained = training_of(frames.trials)
    found = [at_highest_rate(frames, series, trained) for series in chosen]
    both = [mine[["mis", "dense_mis"]].to_numpy() for mine in found if len(mine)]
    if not both:
        return "There are no units, or no dense network, to compare with."
    low, high = np.quantile(np.concatenate(both), [0.001, 0.999])
    edges = np.linspace(low, high, _CELLS + 1)
    rows = []
    for series, mine in zip(chosen, found, strict=True):
        rate, keys = rates_of(series)[-1]
        of = {"rate": rate, "keys": ",".join(keys)}
        whole = {"dense from": low, "dense to": high, "mis from": low, "mis to": high}
        many = len(mine) > 2
        rho = mine["mis"].corr(mine["dense_mis"], method="spearman") if many else np.nan
        change = (mine["mis"] - mine["dense_mis"]).mean() if many else np.nan
        rows += _most_changed(series, rate, mine)
        row = {"units": len(mine), "spearman": rho, "metric": "mis/change", "value": change}
        rows.append(series.row("all units", **of, **whole, **row))
        counts, _, _ = np.histogram2d(mine["dense_mis"], mine["mis"], [edges, edges])
        for x, y in np.argwhere(counts):
            cell = {"dense from": edges[x], "dense to": edges[x + 1], "mis from": edges[y]}
            cell |= {"mis to": edges[y + 1], "units": counts[x, y]}
            rows.append(series.row("cell", **of, **cell))
    return tidy(rows)


def _most_changed(series: Series, rate: float, units: pd.DataFrame) -> list[dict[str, Any]]:
    """A row per unit of those that fell and rose most, the most first."""
    change = (units["mis"] - units["dense_mis"]).sort_values(kind="stable")
    most = [*change.index[:_RINGED], *change.index[::-1][:_RINGED]]
    found = units.loc[list(dict.fromkeys(most))]
    return [
        series.row(
            "unit",
            rate=rate,
            keys=str(unit["key"]),
            layer=str(unit["layer"]),
            channel=int(unit["channel"]),
            **{"dense_mis": unit["dense_mis"], "metric": "mis", "value": unit["mis"]},
        )
        for unit in found.to_dict("records")
    ]


def _draw_against_dense(table: pd.DataFrame) -> Figure:
    chosen = series_in(table)
    figure, panels = new_figure(len(chosen), 2.8)
    for axes, series in zip(panels, chosen, strict=True):
        whole = series.rows[series.rows["kind"] == "all units"].iloc[0]
        ends = (whole["dense from"], whole["dense to"])
        _draw_cells(axes, series.rows[series.rows["kind"] == "cell"], ends, series.colour)
        axes.plot(ends, ends, color=INK, lw=0.8)
        ring_units(axes, series.rows[series.rows["kind"] == "unit"], "dense_mis", ends)
        title = f"{named(series.hue)} {whole['rate']:g}"
        axes.set_title(title, color=series.colour, loc="left", pad=27)
        axes.text(0, 1.03, _agreement(whole), transform=axes.transAxes, fontsize=7.5, va="bottom")
        axes.set_xlabel("MIS in the dense network")
        axes.set(xlim=ends, ylim=ends, aspect="equal")
    panels[0].set_ylabel("MIS of the same unit, pruned")
    return figure


def _draw_cells(axes: Axes, cells: pd.DataFrame, ends: tuple[float, float], colour: str) -> None:
    """How many units lie where: points of thousands of units would hide one another."""
    shades = LinearSegmentedColormap.from_list("shades", [f"{colour}00", colour])
    bins = np.linspace(*ends, _CELLS + 1)
    counts = np.zeros((_CELLS, _CELLS))
    place = [np.searchsorted(bins, cells[n] + 1e-9) - 1 for n in ("mis from", "dense from")]
    counts[place[0], place[1]] = cells["units"]
    shown = np.ma.masked_equal(np.sqrt(counts), 0)
    axes.pcolormesh(bins, bins, shown, cmap=shades, vmin=-0.15 * shown.max(), rasterized=True)


def _agreement(whole: pd.Series) -> str:
    if whole["units"] < 3:
        return f"{whole['units']:g} units"
    text = f"{whole['units']:,.0f} units, ρ = {whole['spearman']:.2f}"
    return f"{text}\nmean change {whole['value']:+.3f}"


def _states(frames: SweepFrames) -> pd.DataFrame | str:
    tables = list(map(shares, frames.of_units.batches(["state", "counted"])))
    if not tables or "state" not in frames.of_units.columns:
        return NO_UNITS
    share = pd.concat(tables)
    names = [name for name in _STATES if share[name].max() > _SEEN]
    if not names:
        return "Next to no unit of any network is dead, constant or unread."
    of = {f"share/{name}": frames.trials["key"].map(share[name]) for name in names}
    trials = frames.trials.assign(**of)
    series = list(all_series(compared(trials)))
    rows = [row for each in series for name in of for row in line_rows(each, trials, name)]
    return tidy(rows) if rows else NO_UNITS


def _draw_states(table: pd.DataFrame) -> Figure:
    series = series_in(table)
    names = [name for name in _STATES if f"share/{name}" in set(table["metric"])]
    figure, panels = new_figure(len(names), 2.9, sharey=True)
    for axes, name in zip(panels, names, strict=True):
        for each in series_in(table[table["metric"] == f"share/{name}"]):
            draw_series(axes, each)
        axes.set_title(_STATES[name], loc="left")
        sparsity_axis(axes, small=True)
        axes.set_ylim(-0.02, 1)
    panels[0].set_ylabel("fraction of the units")
    hues = dict.fromkeys(each.hue for each in series)
    legend(figure, [*(line_handle(COLOURS[h], named(h)) for h in hues), *kind_handles(series)])
    return figure


DISTRIBUTION = Section(
    "unit_distribution",
    "The distribution over units",
    "Do all units change alike?",
    "A mean can stand still while units part. Grey: the dense network.",
    _distribution,
    _draw_distribution,
)
AGAINST_DENSE = Section(
    "units_against_dense",
    "Each surviving unit against itself",
    "Do the clear units stay clear?",
    "At the highest rate. On the line: a unit that pruning left as clear as it was. Ringed: those "
    "that fell and rose most, the extremes of many and so partly chance; a click shows them in the "
    "atlas, where there is one.",
    _against_dense,
    _draw_against_dense,
)
STATES = Section(
    "units_without_score",
    "Units without a score",
    "How many units are lost to pruning?",
    "Dead and constant units answer to no image and have no MIS; a unit that nobody reads has "
    "one that nothing depends on.",
    _states,
    _draw_states,
)

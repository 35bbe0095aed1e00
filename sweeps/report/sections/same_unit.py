"""Is it still the same unit? Units beside their dense twins, and what becomes of MIS in those."""

from collections.abc import Collection, Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sweeps.plan.section import Section
from sweeps.report.read.frames import SweepFrames
from sweeps.report.read.values import is_retrained
from sweeps.report.sections.alive_units import alive, sample_of
from sweeps.report.sections.lines import hue_handles, scatter_trials
from sweeps.report.sections.series import Series, main_series, series_in, tidy
from sweeps.report.sections.style import GREY, INK, MARKERS, legend, new_figure, sparsity_axis
from sweeps.report.statistics.population import compared, training_of

QUANTILE = 0.05
"""Of the control's units in a layer, so many lie below the correlation from which a unit stayed."""

_NONE = (
    "No trial of this sweep compared its units with the dense network's (twin_before): they are of "
    "an earlier version, or nothing was pruned."
)
_NO_CONTROL = (
    "No dense network of this sweep was trained again: nobody knows how far units drift by that."
)
_COLUMNS = ("layer", "channel", "dense_mis", "twin_before", "match_before", "twin_after",
            "match_channel_before")  # fmt: skip
_AT = {"before": "twin_before", "after": "twin_after"}
_SHARES = ("stayed", "moved")
_CHANGES = ("all units", "stayed")


def _same_unit(frames: SweepFrames) -> pd.DataFrame | str:
    if "twin_before" not in frames.of_units.columns:
        return _NONE
    trained = training_of(frames.trials)
    control = _control(frames, trained)
    if control.empty:
        return _NO_CONTROL
    thresholds = control.groupby("layer", observed=True)[list(_AT.values())].quantile(QUANTILE)
    rows: list[dict[str, Any]] = []
    for series in main_series(compared(frames.trials)):
        for rate, trials in series.rows.groupby("rate"):
            keys = trials["key"].astype(str).tolist()
            units = fates(_units(frames, keys, trained), thresholds)
            if units.empty:
                continue
            at = {"rate": float(rate), "prune/sparsity": trials["prune/sparsity"].mean()}  # type: ignore[arg-type]
            rows += [series.row("mean", **at, **row) for row in _of_rate(units)]
            if rate == series.rows["rate"].max():
                rows += [series.row("layer", **at, **row) for row in _of_layers(units)]
    if not rows:
        return _NONE
    again = fates(control, thresholds)
    rows += [{**row, "kind": "control"} for row in _of_rate(again)]
    rows += [{**row, "kind": "control layer"} for row in _of_layers(again)]
    return tidy(rows)


def _control(frames: SweepFrames, trained: Mapping[str, str]) -> pd.DataFrame:
    """Units of the dense networks that were trained again and nothing else."""
    trials = frames.trials
    again = trials[(trials["method"] == "dense") & is_retrained(trials)]
    return _units(frames, again["key"].astype(str).tolist(), trained)


def _units(frames: SweepFrames, keys: Collection[str], trained: Mapping[str, str]) -> pd.DataFrame:
    """The alive units of some trials that have a twin, with their change of MIS."""
    units = alive(frames, keys, *_COLUMNS)
    if "twin_before" not in units:
        return units.iloc[:0].reindex(columns=[*units, *_COLUMNS])
    units = units[units["twin_before"].notna()]
    training = units["key"].astype(str).map(trained)
    return units.assign(change=units["mis"] - units["dense_mis"], training=training)


def fates(units: pd.DataFrame, thresholds: pd.DataFrame) -> pd.DataFrame:
    """The units of layers that the control has, with what became of them before the ReLU: `stayed`,
    as close to its own twin as all but 5 % of the control's are; `moved`, not that, but so close to
    another unit of its layer; and `stayed_after`, likewise of what is above 0.

    thresholds: by layer, of twin_before and twin_after.
    """
    if units.empty:
        return units
    least = {at: units["layer"].astype(str).map(thresholds[c].rename(str)) for at, c in _AT.items()}
    stayed = units["twin_before"] >= least["before"]
    elsewhere = units["match_channel_before"] != units["channel"]
    found = units.assign(
        stayed=stayed,
        moved=~stayed & elsewhere & (units["match_before"] >= least["before"]),
        stayed_after=units["twin_after"] >= least["after"],
    )
    return found[least["before"].notna()]


def _of_rate(units: pd.DataFrame) -> list[dict[str, Any]]:
    """Shares of the units by their fate; mean correlations; changes of MIS, of all units and of
    those that stayed. error: see `sample_of`; n: trainings."""
    shares = {name: units[name] for name in (*_SHARES, "stayed_after")}
    values = {("share", name): value.astype(float) for name, value in shares.items()}
    values |= {("twin", at): units[column].astype(float) for at, column in _AT.items()}
    values[("mis/change", "all units")] = units["change"]
    values[("mis/change", "stayed")] = units.loc[units["stayed"], "change"]
    values[("mis/change", "did not stay")] = units.loc[~units["stayed"], "change"]
    keys = ",".join(dict.fromkeys(units["key"].astype(str)))
    rows = []
    for (metric, name), each in values.items():
        each = each.dropna()
        if each.empty:
            continue
        own = units.loc[each.index]
        value = float(each.groupby(own["key"].astype(str)).mean().mean())
        row = {"metric": metric, "name": name, "value": value}
        row |= {"error": sample_of(each, own).sem(), "n": own["training"].nunique()}
        rows.append({**row, "units": len(each), "keys": keys})
    return rows


def _of_layers(units: pd.DataFrame) -> list[dict[str, Any]]:
    """Of each layer, in the order of the network: who stayed, and the mean correlation."""
    rows = []
    for place, (layer, own) in enumerate(units.groupby("layer", observed=True, sort=False)):
        of = {"layer": str(layer), "place": place, "units": len(own)}
        rows.append({**of, "metric": "share", "name": "stayed", "value": own["stayed"].mean()})
        mean = float(own["twin_before"].astype(float).mean())
        rows.append({**of, "metric": "twin", "name": "before", "value": mean})
    return rows


def _draw(table: pd.DataFrame) -> Figure:
    figure, (share, change, layers) = new_figure(3, 3.3)
    series = series_in(table[table["kind"] == "mean"])
    looks = {"stayed": "-", "moved": ":"}
    for each in series:
        for name, line in looks.items():
            _line(share, each, "share", name, line)
        for name, line in zip(_CHANGES, ("-", "--"), strict=True):
            _line(change, each, "mis/change", name, line)
    control = table[table["kind"] == "control"].set_index(["metric", "name"])["value"]
    share.axhline(control["share", "stayed"], color=GREY, lw=0.9, ls="--", zorder=0)
    change.axhline(0, color=INK, lw=0.9, zorder=0)
    for axes in (share, change):
        sparsity_axis(axes, small=True)
    share.set_ylim(-0.02, 1.02)
    share.set_title("stayed, or moved (dotted)", fontsize=8.5, loc="left")
    change.set_title("change of MIS", fontsize=8.5, loc="left")
    _by_layer(layers, table)
    handles = hue_handles(series)
    ink: dict[str, Any] = {"color": INK, "lw": 1.2}
    handles += [
        Line2D([], [], ls="-", label="of all units", **ink),
        Line2D([], [], ls="--", label="of units that stayed", **ink),
        Line2D([], [], ls="--", color=GREY, lw=0.9, label="dense retrained"),
    ]
    legend(figure, handles)
    return figure


def _line(axes: Axes, series: Series, metric: str, name: str, line: str) -> None:
    rows = series.rows[(series.rows["metric"] == metric) & (series.rows["name"] == name)]
    x, y = rows["prune/sparsity"], rows["value"]
    axes.plot(x, y, ls=line, color=series.colour, lw=1.4)
    axes.errorbar(x, y, rows["error"].fillna(0), fmt="none", ecolor=series.colour, elinewidth=0.9)
    if line != ":":
        hollow = line == "--"
        scatter_trials(
            axes, x, y, rows["keys"], series.colour, MARKERS[series.hue], size=16, hollow=hollow
        )


def _by_layer(axes: Axes, table: pd.DataFrame) -> None:
    """The mean correlation with the dense twin along the network, at the highest rate."""
    along = table[table["kind"].isin(["layer", "control layer"]) & (table["metric"] == "twin")]
    control = along[along["kind"] == "control layer"]
    axes.plot(control["place"], control["value"], color=GREY, lw=0.9, ls="--")
    for each in series_in(along[along["kind"] == "layer"]):
        axes.plot(each.rows["place"], each.rows["value"], color=each.colour, lw=1.2)
    axes.set_ylim(top=1.02)
    axes.set_xlabel("layer of the network")
    axes.set_title("correlation with the twin", fontsize=8.5, loc="left")


SAME_UNIT = Section(
    "same_unit",
    "Is it still the same unit?",
    "Do the units that stay themselves keep their MIS?",
    "A unit of a pruned network is compared with that of its number in the dense network by what "
    "both answer to validation images before the ReLU. It stayed if they correlate as closely as "
    f"all but {QUANTILE:.0%} of the same layer's units do where the dense network was only trained "
    "again; it moved if another unit of the layer does. MIS is of the probe images, which decide "
    "nothing here. Right: the mean correlation layer by layer, at the highest rate.",
    _same_unit,
    _draw,
)

"""Every score of units over sparsity and over accuracy, and how far scores agree unit by unit."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sweeps.plan.section import Section
from sweeps.report.read.frames import SweepFrames
from sweeps.report.read.values import has, number
from sweeps.report.sections.alive_units import dense_keys
from sweeps.report.sections.lines import (
    draw_levels,
    draw_series,
    hue_handles,
    kind_handles,
    level_handles,
    scatter_trials,
)
from sweeps.report.sections.series import (
    all_series,
    level_rows,
    line_rows,
    main_series,
    network_rows,
    series_in,
    tidy,
)
from sweeps.report.sections.style import (
    GREY,
    INK,
    MARKERS,
    legend,
    new_figure,
    sparsity_axis,
)
from sweeps.report.statistics.agreement import relations, score_metrics
from sweeps.report.statistics.population import compared, prepared

_ONE = 'The trials of this sweep have no score of units but MIS: scores=("mis", …) adds others.'
_TOP1 = "val/top1"
_FEWEST = 5  # units of a layer whose order is compared


def _scores(frames: SweepFrames) -> pd.DataFrame | str:
    metrics = score_metrics(frames.trials)
    if len(metrics) < 2 or not has(frames.trials, "prune/sparsity"):
        return _ONE
    series = list(all_series(compared(frames.trials)))
    rows: list[dict[str, Any]] = []
    for metric in metrics:
        rows += [row for each in series for row in line_rows(each, frames.trials, metric)]
        rows += level_rows(frames.trials, metric)
        chance = number(frames.trials, metric.removesuffix("mean") + "shuffled_mean").mean()
        if np.isfinite(chance):
            rows.append({"kind": "level", "name": "shuffled", "metric": metric, "value": chance})
        rows += [row for each in series for row in network_rows(each, _TOP1, metric)]
    for each in relations(prepared(frames.trials)):
        row: dict[str, Any] = {
            "kind": "said",
            "name": each.said,
            "metric": each.metric,
            "x": each.x,
            "of": each.of,
        }
        if each.slope is not None:
            row |= {"value": each.slope.change, "low": each.slope.low, "high": each.slope.high}
        rows.append(row | {"p": each.p, "n": len(each.population.points)})
    return tidy(rows) if rows else _ONE


def _draw_scores(table: pd.DataFrame) -> Figure:
    names = score_metrics(table.pivot_table(columns="metric", values="value"))
    metrics = [metric for metric in names if metric in set(table["metric"])]
    figure, panels = new_figure(2, 0.9 + 1.6 * len(metrics), rows=len(metrics), sharey=True)
    for place, metric in enumerate(metrics):
        here = table[table["metric"] == metric]
        over, beside = panels[2 * place : 2 * place + 2]
        lines = here[here["kind"].isin(["start", "mean"])]
        for each in series_in(lines):
            draw_series(over, each, black=True)
        draw_levels(over, here)
        sparsity_axis(over, small=True)
        _beside_accuracy(beside, here[here["kind"] == "network"])
        over.set_ylabel(names[metric])
        for axes, x in ((over, "prune/sparsity"), (beside, _TOP1)):
            said = here[(here["kind"] == "said") & (here["x"] == x)]
            axes.set_title(_said(said), fontsize=7.5, loc="left")
            if place < len(metrics) - 1:
                axes.set_xlabel("")
    series = series_in(table[table["kind"] != "said"])
    kinds = kind_handles(series, black=True)
    legend(figure, [*hue_handles(series), *kinds, *level_handles(table)])
    return figure


def _beside_accuracy(axes: Axes, table: pd.DataFrame) -> None:
    for each in series_in(table):
        ink, rows = each.colour if each.retrained else INK, each.rows
        scatter_trials(
            axes, rows[_TOP1], rows["value"], rows["keys"], ink, MARKERS[each.hue], size=14
        )
    axes.set_xlabel("top-1 accuracy")


def _said(rows: pd.DataFrame) -> str:
    """The verdict, and the change with its interval."""
    if rows.empty:
        return ""
    row = rows.iloc[0]
    if not np.isfinite(row["value"]):
        return str(row["name"])
    numbers = f"{row['value']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f})"
    return f"{row['name']}: {numbers}"


def _agreement(frames: SweepFrames) -> pd.DataFrame | str:
    values = {
        m.removesuffix("/mean").removeprefix("own/"): n
        for m, n in score_metrics(frames.trials).items()
    }
    values = {value: name for value, name in values.items() if value in frames.of_units.columns}
    if len(values) < 2:
        return _ONE
    groups = {"dense": dense_keys(frames)}
    for series in main_series(compared(frames.trials)):
        most = series.rows["rate"] == series.rows["rate"].max()
        rate = float(series.rows.loc[most, "rate"].iloc[0])
        groups[f"{series.hue} {rate:g}"] = set(series.rows.loc[most, "key"])
    rows = []
    for name, keys in groups.items():
        columns = ["layer", "channel", "state", "counted", *values]
        units = frames.of_units.read(keys, columns)
        if not units.empty:
            rows += _rank_correlations(units, values, name)
            rows += _disagreements(units, values, name) if name == "dense" else []
    return tidy(rows) if rows else _ONE


def _ranked(units: pd.DataFrame, values: dict[str, str]) -> pd.DataFrame:
    """The ranks of alive units within network and layer, 0 to 1."""
    counted = units["counted"].astype(bool) if "counted" in units else True
    units = units[(units["state"] == "alive") & counted].dropna(subset=list(values))
    groups = units.groupby(["key", "layer"], observed=True)
    size = groups["channel"].transform("size")
    ranks = groups[list(values)].rank().sub(0.5).div(size, axis=0)  # with one mean in all layers
    return units[["key", "layer", "channel"]].join(ranks)[size >= _FEWEST]


def _rank_correlations(
    units: pd.DataFrame, values: dict[str, str], network: str
) -> list[dict[str, Any]]:
    """A row per pair of scores: Spearman's, of ranks within network and layer."""
    ranks = _ranked(units, values)
    found = ranks[list(values)].corr()
    return [
        {
            "kind": "pair",
            "name": network,
            "first": values[a],
            "second": values[b],
            "units": len(ranks),
        }
        | {"metric": "rank correlation", "value": found.loc[a, b]}
        for i, a in enumerate(values)
        for b in list(values)[i + 1 :]
        if len(ranks) > 2
    ]


def _disagreements(
    units: pd.DataFrame, values: dict[str, str], network: str, most: int = 20
) -> list[dict[str, Any]]:
    """The units whose best rank and worst rank lie farthest apart."""
    ranks = _ranked(units, values).reset_index(drop=True)
    apart = ranks[list(values)].max(axis=1) - ranks[list(values)].min(axis=1)
    rows = []
    for place in apart.sort_values(ascending=False, kind="stable").index[:most]:
        unit = ranks.loc[place]
        best, worst = (getattr(unit[list(values)].astype(float), f)() for f in ("idxmax", "idxmin"))
        where = {"layer": str(unit["layer"]), "channel": int(unit["channel"])}
        rows.append(
            {"kind": "unit", "name": network, "first": values[best], "second": values[worst]}
            | {**where, "metric": "ranks apart", "value": apart[place], "keys": str(unit["key"])}
        )
    return rows


def _draw_agreement(table: pd.DataFrame) -> Figure:
    pairs = table[table["kind"] == "pair"]
    networks = list(dict.fromkeys(pairs["name"]))
    labels = [
        f"{a} – {b}" for a, b in dict.fromkeys(zip(pairs["first"], pairs["second"], strict=True))
    ]
    figure, (axes,) = new_figure(height=0.9 + 0.3 * len(labels))
    for place, network in enumerate(networks):
        here = pairs[pairs["name"] == network]
        heights = [
            labels.index(f"{a} – {b}") for a, b in zip(here["first"], here["second"], strict=True)
        ]
        colour, marker = (INK, "*") if network == "dense" else (GREY, "osD^vPX"[place % 7])
        axes.plot(here["value"], heights, marker, color=colour, ms=6, label=network, ls="")
    axes.axvline(0, color=GREY, lw=0.9, zorder=0)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_xlim(-1, 1)
    axes.set_xlabel("rank correlation of units, within layers")
    legend(axes, axes.get_lines()[:-1])
    return figure


SCORES = Section(
    "scores",
    "All scores of units",
    "Do all scores say the same of pruning?",
    "Left over sparsity, right over accuracy. Above each: what the score says of the same units, "
    "by its change over the range, corrected for all that is asked here. Levels: the dense "
    "network, an untrained one, activations shuffled (chance), and the dense network with the "
    "units of each layer rotated: a score that stays as high sees the layer more than units.",
    _scores,
    _draw_scores,
)
AGREEMENT = Section(
    "scores_agreement",
    "Agreement of scores, unit by unit",
    "Are the units that one score calls clear those that another does?",
    "Near 0: they measure different things, and a conclusion that one of them carries is of that "
    "score alone. MIS and monosemanticity share their space of similarity. The table also lists "
    "the units of the dense network that scores rank farthest apart.",
    _agreement,
    _draw_agreement,
)

"""How rows of a section's table are drawn: lines, markers, levels, and their legends."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from sweeps.report.sections.series import Series
from sweeps.report.sections.style import (
    COLOURS,
    GREY,
    INK,
    MARKERS,
    RELEASED,
    RETRAINING,
    STYLES,
    UNIT,
    WITHOUT,
    named,
)

_X = "prune/sparsity"
_LEVELS: dict[str, Any] = {
    "dense": "-",
    "dense retrained": "--",
    "untrained": ":",
    "rotated": (0, (1, 3)),
    "shuffled": (0, (5, 5)),
    "another training": (0, (3, 1, 1, 1, 1, 1)),
}


def draw_series(axes: Axes, series: Series, *, black: bool = False) -> None:
    """A line from its start through the means, with standard errors, over sparsity.

    black: what is not retrained is drawn in ink, and only markers tell it apart.
    """
    ink = INK if black and not series.retrained else series.colour
    line = STYLES[series.schedule] if series.retrained else WITHOUT[series.retraining]
    alpha = 1.0 if series.main else 0.4
    width = 1.7 if series.retrained and series.main else 1.0
    x, y = series.rows[_X], series.rows["value"]
    axes.plot(x, y, ls=line, color=ink, lw=width, alpha=alpha, zorder=2)
    means = series.rows[series.rows["kind"] == "mean"]
    x, y = means[_X], means["value"]
    if "error" in means:
        error = means["error"].fillna(0)
        axes.errorbar(x, y, error, fmt="none", ecolor=ink, elinewidth=1, alpha=alpha, zorder=2)
    scatter_trials(axes, x, y, means["keys"], ink, MARKERS[series.hue], alpha=alpha)


def ring_units(axes: Axes, rows: pd.DataFrame, x: str, ends: tuple[float, float]) -> None:
    """Rings that know their units: on the page each leads to its unit in the atlas.

    rows: keys (of one trial), layer, channel, value; x: the column of the other axis. ends: of both
    axes, at which units beyond them are drawn.
    """
    across, up = (rows[name].clip(*ends) for name in (x, "value"))
    look: dict[str, Any] = {"facecolors": "none", "edgecolors": INK, "linewidths": 0.8, "zorder": 4}
    drawn = axes.scatter(across, up, s=20.0, clip_on=False, **look)
    drawn.set_urls(unit_addresses(rows, "b"))


def unit_addresses(rows: pd.DataFrame, side: str) -> list[str]:
    """Addresses of units as a figure's points have them, which the page turns to the atlas.

    rows: keys (of one trial), layer, channel. side: of the atlas on which the trial is, "a" or "b".
    """
    asked = (
        {side: row["keys"], "unit": f"{row['layer']}:{int(row['channel'])}"}
        for row in rows.to_dict("records")
    )
    return [f"#{UNIT}{urlencode(each)}" for each in asked]


def scatter_trials(
    axes: Axes,
    x: Sequence[float] | pd.Series,
    y: Sequence[float] | pd.Series,
    keys: Sequence[str] | pd.Series,
    colour: str,
    marker: str,
    *,
    size: float | pd.Series = 26.0,
    alpha: float = 1.0,
    hollow: bool = False,
) -> None:
    """Markers that know their trials: on the page each leads to the first of them in the table.

    keys: of the trials of each marker, with commas.
    """
    drawn = axes.scatter(
        x,
        y,
        s=size,
        marker=marker,
        facecolors="none" if hollow else colour,
        edgecolors=None if marker in "x+" else colour,
        linewidths=1.1 if hollow or marker in "x+" else 0.5,
        alpha=alpha,
        zorder=3,
    )
    drawn.set_urls([f"#{each}" for each in keys])


def draw_levels(axes: Axes, table: pd.DataFrame) -> list[tuple[float, str, str]]:
    """Levels of the networks that are not pruned; where and how to name them."""
    levels = table[table["kind"] == "level"]
    ends = []
    for name, level in zip(levels["name"], levels["value"], strict=True):
        axes.axhline(level, color=GREY, lw=0.9, ls=_LEVELS[name], zorder=0)
        ends.append((level, name, GREY))
    return ends


def level_handles(table: pd.DataFrame) -> list[Line2D]:
    """Lines of the levels that a table has, where there is no room to name them at their ends."""
    there = set(table.loc[table["kind"] == "level", "name"])
    return [
        Line2D([], [], color=GREY, lw=0.9, ls=line, label=name)
        for name, line in _LEVELS.items()
        if name in there
    ]


def draw_released(axes: Axes, table: pd.DataFrame, x: str = _X) -> list[Line2D]:
    """The released points in a group that the page can hide; their legend."""
    theirs = table[table["released"]]
    for method, rows in theirs.groupby("method"):
        colour, marker = COLOURS.get(str(method), GREY), MARKERS.get(str(method), "*")
        scatter_trials(axes, rows[x], rows["value"], rows["keys"], colour, marker, hollow=True)
        axes.collections[-1].set_gid(RELEASED)
    if theirs.empty:
        return []
    handle = Line2D([], [], ls="", marker="o", mfc="none", mec=GREY, label="hollow: released")
    handle.set_gid(RELEASED)
    return [handle]


def kind_handles(series: Sequence[Series], *, black: bool = False) -> list[Line2D]:
    """Line styles of what is retrained, and of what is not."""
    handles = {}
    for each in series:
        line = STYLES[each.schedule] if each.retrained else WITHOUT[each.retraining]
        name = RETRAINING.get(each.retraining, each.retraining)
        name += f", {each.schedule.replace('_', ' ')}" if each.retrained else ""
        ink = INK if black and not each.retrained else GREY
        handles[name] = Line2D([], [], color=ink, ls=line, lw=1.5, label=name)
    return list(handles.values())


def hue_handles(series: Sequence[Series], *, joined: bool = True) -> list[Line2D]:
    """Colour and marker of each method, or criterion. joined: by a line."""
    look: dict[str, Any] = {"ms": 5, "lw": 1.7, "ls": "-" if joined else ""}
    hues = dict.fromkeys(each.hue for each in series)
    return [
        Line2D([], [], color=COLOURS[h], marker=MARKERS[h], label=named(h), **look) for h in hues
    ]


def line_handle(colour: str, label: str) -> Line2D:
    """A line of a colour, without a marker."""
    return Line2D([], [], color=colour, lw=1.7, label=label)

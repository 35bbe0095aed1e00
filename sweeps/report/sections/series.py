"""Which trials a line joins, and how a line is drawn."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from sweeps.report.read.frames import SweepFrames
from sweeps.report.sections.style import (
    COLOURS,
    ERRORS,
    GREY,
    INK,
    MARKERS,
    RETRAINING,
    STYLES,
    WITHOUT,
    in_order,
    named,
)
from sweeps.report.statistics.population import compared

_KEYS = ["method", "schedule", "criterion", "retraining", "recipe"]


@dataclass(frozen=True)
class Series:
    """Trials that differ in rate and seed alone.

    hue: the method, or the criterion, whichever colours tell apart. main: whether its recipe is
    the one that most trials of its kind share; others are drawn faint.
    """

    method: str
    schedule: str
    criterion: str
    retraining: str
    recipe: str
    hue: str
    main: bool
    trials: pd.DataFrame

    @property
    def retrained(self) -> bool:
        return self.retraining not in WITHOUT

    @property
    def colour(self) -> str:
        return COLOURS[self.hue]


def pruned(frames: SweepFrames) -> pd.DataFrame:
    """The trials that are compared: no baseline and no control, with the column `hue`."""
    return compared(frames.trials)


def all_series(trials: pd.DataFrame) -> Iterator[Series]:
    """The series of `pruned` trials, in the order of the palette."""
    groups = trials.groupby(_KEYS, sort=False, dropna=False)
    sizes = groups.size()
    for key, group in sorted(groups, key=lambda item: in_order(str(item[1]["hue"].iloc[0]))):
        alike = sizes.xs(key[:4], level=_KEYS[:4])  # type: ignore[arg-type]
        is_main = bool(key[4] == alike.idxmax())
        method, schedule, criterion, retraining, recipe = map(str, key)
        hue = str(group["hue"].iloc[0])
        yield Series(method, schedule, criterion, retraining, recipe, hue, is_main, group)


def mean_points(trials: pd.DataFrame, value: str) -> pd.DataFrame:
    """Columns x, y, error, n, keys, a row a rate: means over seeds at the measured sparsity.

    error: the standard error over seeds; with one seed what the trial itself knows of its error.
    """
    rows = []
    inner = ERRORS.get(value, "")
    for _, seeds in trials.groupby("rate"):
        seeds = seeds[_column(seeds, value).notna() & _column(seeds, "prune/sparsity").notna()]
        if not len(seeds):
            continue
        y, n = seeds[value], len(seeds)
        error = y.std(ddof=1) / np.sqrt(n) if n > 1 else _column(seeds, inner).iloc[0]
        rows.append((seeds["prune/sparsity"].mean(), y.mean(), error, n, tuple(seeds["key"])))
    return pd.DataFrame(rows, columns=["x", "y", "error", "n", "keys"]).sort_values("x")


def _column(trials: pd.DataFrame, name: str) -> pd.Series:
    return trials.get(name, pd.Series(np.nan, trials.index))


def has(trials: pd.DataFrame, *columns: str) -> bool:
    """Whether any trial has a value of each."""
    return all(_column(trials, column).notna().any() for column in columns)


def draw_series(
    axes: Axes, series: Series, frames: SweepFrames, value: str, *, black: bool = False
) -> pd.DataFrame:
    """A line from sparsity 0 through the means, with standard errors; its points.

    black: what is not retrained is drawn in ink, and only markers tell it apart.
    """
    points = mean_points(series.trials, value)
    if points.empty:
        return points
    ink = INK if black and not series.retrained else series.colour
    line = STYLES[series.schedule] if series.retrained else WITHOUT[series.retraining]
    alpha = 1.0 if series.main else 0.4
    start = _start(frames.trials, series, value)
    joined = pd.concat([start, points])
    width = 1.7 if series.retrained and series.main else 1.0
    axes.plot(joined["x"], joined["y"], ls=line, color=ink, lw=width, alpha=alpha, zorder=2)
    _draw_points(axes, points, ink, MARKERS[series.hue], alpha)
    return points


def _draw_points(axes: Axes, points: pd.DataFrame, ink: str, marker: str, alpha: float) -> None:
    error = points["error"].fillna(0)
    axes.errorbar(
        points["x"], points["y"], error, fmt="none", ecolor=ink, elinewidth=1, alpha=alpha, zorder=2
    )
    scatter_trials(axes, points["x"], points["y"], points["keys"], ink, marker, alpha=alpha)


def scatter_trials(
    axes: Axes,
    x: Sequence[float] | pd.Series,
    y: Sequence[float] | pd.Series,
    keys: Sequence[Sequence[str]] | pd.Series,
    colour: str,
    marker: str,
    *,
    size: float | pd.Series = 26.0,
    alpha: float = 1.0,
    hollow: bool = False,
) -> None:
    """Markers that know their trials: on the page each leads to the first of them in the table."""
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
    drawn.set_urls([f"#{','.join(each)}" for each in keys])


def _start(trials: pd.DataFrame, series: Series, value: str) -> pd.DataFrame:
    """Where a line begins at sparsity 0: the dense network, or it retrained, by this recipe."""
    kind = series.retraining if series.retrained else "none"
    dense = trials[(trials["method"] == "dense") & (trials["retraining"] == kind)]
    alike = [series.recipe.startswith(recipe) for recipe in dense["recipe"]]
    level = _column(dense[alike] if any(alike) else dense, value).mean()
    start = pd.DataFrame({"x": [0.0], "y": [level]})
    return start if level == level else start.iloc[:0]


def baseline(trials: pd.DataFrame, method: str, retraining: str, value: str) -> float:
    """The mean over seeds of a network that is not pruned; NaN where there is none."""
    rows = trials[(trials["method"] == method) & (trials["retraining"] == retraining)]
    return float(_column(rows, value).mean())


def draw_levels(axes: Axes, frames: SweepFrames, value: str) -> list[tuple[float, str, str]]:
    """Levels of the networks that are not pruned; where and how to name them."""
    trials = frames.trials
    levels = {
        "dense": baseline(trials, "dense", "none", value),
        "dense retrained": baseline(trials, "dense", "finetune", value),
        "untrained": baseline(trials, "untrained", "recalibrate", value),
    }
    ends = []
    for name, level in levels.items():
        if level == level:
            style = {"dense": "-", "dense retrained": "--", "untrained": ":"}[name]
            axes.axhline(level, color=GREY, lw=0.9, ls=style, zorder=0)
            ends.append((level, name, GREY))
    return ends


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


def hue_handles(series: Sequence[Series]) -> list[Line2D]:
    """Colour and marker of each method, or criterion."""
    hues = dict.fromkeys(each.hue for each in series)
    return [
        Line2D([], [], color=COLOURS[h], marker=MARKERS[h], ms=5, lw=1.7, label=named(h))
        for h in hues
    ]

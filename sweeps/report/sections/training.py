"""Accuracy while a network is trained again: after one cut, and in rounds."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from sweeps.plan.metrics import label
from sweeps.plan.section import Section
from sweeps.report.paper.overlay import released_rows
from sweeps.report.read.frames import SweepFrames
from sweeps.report.read.values import baseline, run_to_the_end
from sweeps.report.sections.lines import (
    draw_released,
    draw_series,
    kind_handles,
)
from sweeps.report.sections.series import Series, all_series, line_rows, series_in, tidy
from sweeps.report.sections.style import (
    COLOURS,
    GREY,
    label_ends,
    legend,
    named,
    new_figure,
    sparsity_axis,
)
from sweeps.report.statistics.population import compared

_TOP1 = "val/top1"


def _over_epochs(frames: SweepFrames) -> pd.DataFrame | str:
    trials = run_to_the_end(compared(frames.trials))
    once = [s for s in all_series(trials) if s.schedule == "one_shot" and s.retrained and s.main]
    if not once:
        return "No network of this sweep was pruned at once and retrained."
    if _TOP1 not in frames.epochs:
        return "The trials of this sweep left no table of their epochs (epochs.parquet)."
    rows = [row for series in once for row in _curves(series, frames.epochs)]
    if not rows:
        return "The trials that were pruned at once left no accuracy of their epochs."
    level = baseline(frames.trials, "dense", "none", _TOP1)
    dense = {"kind": "level", "name": "dense", "metric": _TOP1, "value": level}
    return tidy([*rows, *([dense] if level == level else [])])


def _curves(series: Series, epochs: pd.DataFrame) -> list[dict[str, object]]:
    """A row per rate and epoch: the mean over seeds."""
    rows = []
    for rate, trials in series.rows.groupby("rate"):
        mine = epochs[epochs["key"].isin(trials["key"])].dropna(subset=[_TOP1])
        for epoch, at in mine.groupby("epoch"):
            row = {"rate": rate, "epoch": epoch, "metric": _TOP1, "value": at[_TOP1].mean()}
            keys = ",".join(dict.fromkeys(map(str, at["key"])))
            rows.append(series.row("epoch", **row, n=len(at), keys=keys))
    return rows


def _draw_over_epochs(table: pd.DataFrame) -> Figure:
    series = series_in(table)
    figure, panels = new_figure(len(series), 2.9, sharey=True)
    for axes, each in zip(panels, series, strict=True):
        _draw_curves(axes, each)
        for level in table.loc[table["kind"] == "level", "value"]:
            axes.axhline(level, color=GREY, lw=0.9, zorder=0)
        axes.set_title(named(each.hue), color=each.colour, loc="left")
        axes.set_xlabel("epoch after pruning")
        axes.set_ylim(0, 1)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    panels[0].set_ylabel(label(_TOP1))
    for level in table.loc[table["kind"] == "level", "value"]:
        panels[0].annotate(
            "dense", (0, level), (3, 2), xycoords=("axes fraction", "data"),
            textcoords="offset points", fontsize=8, color=GREY,
        )  # fmt: skip
    return figure


def _draw_curves(axes: Axes, series: Series) -> None:
    """A line per rate, the sparser the fainter, named where it ends."""
    rates, ends = sorted(series.rows["rate"].unique()), []
    for place, rate in enumerate(rates):
        curve = series.rows[series.rows["rate"] == rate]
        x, y = curve["epoch"], curve["value"]
        shade = 1 - 0.6 * place / max(1, len(rates) - 1)
        axes.plot(x, y, "-", color=series.colour, alpha=shade, lw=1.6)
        if len(curve) <= 20:
            axes.plot(x, y, "o", color=series.colour, alpha=shade, ms=3)
        ends.append((float(y.iloc[-1]), f"{rate:g}", series.colour))
    axes.set_ylim(0, 1)
    label_ends(axes, ends)
    axes.text(1.02, 1.02, "rate", transform=axes.transAxes, fontsize=8, color=GREY)


def _rounds_against_once(frames: SweepFrames) -> pd.DataFrame | str:
    trained = [s for s in all_series(compared(frames.trials)) if s.retrained]
    hues = [h for h in dict.fromkeys(s.hue for s in trained) if _in_rounds(trained, h)]
    if not hues:
        return "The sweep has no method that was pruned both at once and in rounds."
    rows = [
        row
        for hue in hues
        for series in trained
        if series.hue == hue
        for row in line_rows(series, frames.trials, _TOP1)
    ]
    if not rows:
        return "No network that was pruned at once or in rounds has an accuracy."
    theirs = [
        row for hue in hues for row in released_rows(_TOP1, method=hue, retraining="finetune")
    ]
    return tidy([*rows, *theirs])


def _in_rounds(series: Sequence[Series], hue: str) -> bool:
    schedules = {each.schedule for each in series if each.hue == hue}
    return "one_shot" in schedules and len(schedules) > 1


def _draw_rounds_against_once(table: pd.DataFrame) -> Figure:
    trained = series_in(table)
    hues = list(dict.fromkeys(series.hue for series in trained))
    figure, panels = new_figure(len(hues), 3.0, sharey=True)
    theirs: list[Line2D] = []
    for axes, hue in zip(panels, hues, strict=True):
        for series in trained:
            if series.hue == hue:
                draw_series(axes, series)
        theirs = draw_released(axes, table[table["method"] == hue]) or theirs
        sparsity_axis(axes, small=True)
        axes.set_ylim(0, 1)
        axes.set_title(named(hue), color=COLOURS[hue], loc="left")
    panels[0].set_ylabel(label(_TOP1))
    legend(figure, [*kind_handles(trained), *theirs])
    return figure


OVER_EPOCHS = Section(
    "accuracy_over_epochs",
    "Accuracy over epochs after one-shot pruning",
    "How fast does a pruned network recover?",
    "One line per rate, the sparser the fainter; the level is the dense network's.",
    _over_epochs,
    _draw_over_epochs,
    "2",
)
ROUNDS_AGAINST_ONCE = Section(
    "rounds_against_once",
    "Pruned in rounds, and at once",
    "Is it better to prune in several rounds?",
    "The same final rate and the same epochs in all, spent after one cut or after several.",
    _rounds_against_once,
    _draw_rounds_against_once,
    "3",
)

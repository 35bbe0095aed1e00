"""What a criterion needs to see: accuracy against the number of images that it looked at."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from sweeps.plan.metrics import label
from sweeps.plan.section import Section
from sweeps.report.read.frames import SweepFrames
from sweeps.report.read.values import baseline, has, is_retrained
from sweeps.report.sections.criteria import arms
from sweeps.report.sections.lines import scatter_trials
from sweeps.report.sections.series import tidy
from sweeps.report.sections.style import (
    COLOURS,
    GREY,
    INK,
    MARKERS,
    in_order,
    legend,
    named,
    new_figure,
)
from sweeps.report.statistics.population import prepared
from sweeps.report.statistics.trainings import interval_over_seeds
from trainables.config.criteria import has_setting

_TOP1 = "val/top1"
_SAMPLES = "prune.samples_per_class"
_WHERE = ["method", "rate"]
_SIDE_BY_SIDE = 3


def _few_images(frames: SweepFrames) -> pd.DataFrame | str:
    """Kind `mean`: top-1 of a criterion (arm own) and of chance with as many per layer (within),
    over seeds, with the interval; `less`: the first minus the second, seed by seed; `level`: what
    looks at no image. `over`: of what the interval is."""
    if not has(frames.trials, _TOP1):
        return "The trials of this sweep have no accuracy."
    here = arms(prepared(frames.trials)).dropna(subset=[_TOP1])
    here = here[~is_retrained(here) & (here["arm"] != "reversed")]
    looks = here["scored"].map(lambda name: has_setting(name.partition(" ")[0], _SAMPLES))
    here = here.assign(images=here["images"].where(looks, 0))
    seen = here[(here["arm"] == "own") & (here["images"] > 0)]
    if seen.empty or seen.groupby([*_WHERE, "scored"])["images"].nunique().max() < 2:
        return "No criterion of this sweep looked at different numbers of images, nothing trained."
    rows = [row for _, alike in here.groupby(_WHERE, sort=True) for row in _rows(alike)]
    dense = baseline(frames.trials, "dense", "none", _TOP1)
    for method, rate in seen[_WHERE].drop_duplicates().itertuples(index=False):
        level = {"kind": "level", "name": "dense", "method": method, "rate": rate, "arm": "own"}
        rows.append({**level, "metric": _TOP1, "value": dense})
    return tidy(rows)


def _rows(alike: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Of trials of one method and rate; none where no criterion looked at images."""
    if not (alike["images"] > 0).any():
        return
    over = "trainings" if alike["training"].nunique() > 1 else "draws"
    for (scored, images), trials in alike.groupby(["scored", "images"], sort=False):
        said = {**{name: alike[name].iloc[0] for name in _WHERE}, "metric": _TOP1, "over": over}
        said |= {"name": scored, "images": images}
        by_arm = {}
        for arm, of_arm in trials.groupby(trials["arm"]):
            values = of_arm.groupby("seed")[_TOP1].mean()
            by_arm[arm] = values
            kind = "mean" if images else "level"
            keys = ",".join(of_arm["key"])
            yield {"kind": kind, **said, "arm": arm, **interval_over_seeds(values), "keys": keys}
        if {"own", "within"} <= by_arm.keys():
            own, within = by_arm["own"], by_arm["within"]
            # Of one given network it is the same for every seed.
            if not images and len(own) == 1 and over == "draws":
                own = pd.Series(own.iloc[0], index=within.index)
            less = (own - within).dropna()
            if len(less):
                keys = ",".join(trials["key"])
                yield {
                    "kind": "less",
                    **said,
                    "arm": "own",
                    **interval_over_seeds(less),
                    "keys": keys,
                }


def _draw(table: pd.DataFrame) -> Figure:
    drawn = table[table["kind"] == "mean"]
    panels = list(dict.fromkeys(drawn[_WHERE].itertuples(index=False, name=None)))
    beside = min(len(panels), _SIDE_BY_SIDE)
    n_rows = math.ceil(len(panels) / beside)
    figure, axes = new_figure(beside, 0.9 + 2.4 * n_rows, rows=n_rows, sharey=True)
    for each, (method, rate) in zip(axes, panels, strict=False):
        here = table[(table["method"] == method) & (table["rate"] == rate)]
        _draw_panel(each, here)
        each.set_title(f"{named(str(method))} {rate:g}", loc="left")
    for empty in axes[len(panels) :]:
        empty.set_visible(False)
    for first in axes[::beside]:
        first.set_ylabel(label(_TOP1))
    names = sorted(dict.fromkeys(drawn["name"]), key=in_order)
    handles = [
        Line2D([], [], color=COLOURS[_hue(n)], marker=MARKERS[_hue(n)], ms=5, label=named(n))
        for n in names
    ]
    handles.append(
        Line2D([], [], color=GREY, ls="--", label="dashed: by chance, as many per layer")
    )
    levels = table[(table["kind"] == "level") & (table["name"] != "dense")]
    for name in sorted(dict.fromkeys(levels["name"]), key=in_order):
        handles.append(Line2D([], [], color=COLOURS[_hue(name)], ls=":", label=_said(name)))
    handles.append(Line2D([], [], color=INK, lw=0.9, label="dense"))
    legend(figure, handles)
    return figure


def _said(name: str) -> str:
    return "by chance" if name == "random" else f"{named(name)}, no images"


def _hue(name: str) -> str:
    return str(name).partition(" ")[0]


def _draw_panel(axes: Axes, here: pd.DataFrame) -> None:
    levels = here[(here["kind"] == "level") & (here["arm"] != "within")]
    for name, value in zip(levels["name"], levels["value"], strict=True):
        is_dense = name == "dense"
        ink, line = (INK, "-") if is_dense else (COLOURS[_hue(name)], ":")
        axes.axhline(value, color=ink, ls=line, lw=0.9 if is_dense else 1.3, zorder=1)
    means = here[here["kind"] == "mean"]
    names = sorted(dict.fromkeys(means["name"]), key=in_order)
    for place, name in enumerate(names):
        for arm in ("own", "within"):
            rows = means[(means["name"] == name) & (means["arm"] == arm)].sort_values("images")
            if rows.empty:
                continue
            # A little apart, so that intervals do not hide each other.
            x = rows["images"] * 1.06 ** (place - (len(names) - 1) / 2)
            own, ink = arm == "own", COLOURS[_hue(name)]
            axes.plot(x, rows["value"], ls="-" if own else "--", color=ink, lw=1.6 if own else 1.0)
            scatter_trials(
                axes, x, rows["value"], rows["keys"], ink, MARKERS[_hue(name)], hollow=not own
            )
            if "low" in rows and rows["low"].notna().any():
                axes.vlines(x, rows["low"], rows["high"], color=ink, lw=1.0, zorder=2)
    ticks = np.unique(means["images"])
    axes.set_xscale("log")
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("images per class")


FEW_IMAGES = Section(
    "few_images",
    "How many images a criterion needs",
    "How good is a criterion that sees few images, where nothing is trained afterwards?",
    "Lines are means over seeds with 95 % intervals by t, each for itself. Of one given network a "
    "seed draws the images that a criterion looks at: intervals are of these draws alone, given "
    "that network and the validation images. Of networks trained here a seed is a training. Only "
    "what lies above the dashed line of its colour has found filters, and not layers alone: "
    "few_images.csv has that difference, seed by seed (kind `less`), with its interval.",
    _few_images,
    _draw,
)

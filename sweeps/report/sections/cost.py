"""What it costs to run the pruned network."""

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from sweeps.plan.metrics import label
from sweeps.plan.section import Section
from sweeps.report.read.frames import SweepFrames
from sweeps.report.read.values import has, run_to_the_end
from sweeps.report.sections.lines import hue_handles, scatter_trials
from sweeps.report.sections.series import all_series, network_rows, series_in, tidy
from sweeps.report.sections.style import GREY, INK, MARKERS, legend, new_figure
from sweeps.report.statistics.population import compared

_COSTS, _TOP1 = ("cost/macs", "cost/params", "cost/latency"), "val/top1"
_EXPORTED = ("export/bytes", "export/latency_1", "export/latency_64")
_SIDE_BY_SIDE = 3  # panels


def _cost(frames: SweepFrames) -> pd.DataFrame | str:
    """Column `cost`: in parts of `whole`, the dense network's, where that is known.

    What was measured of exported trials is in parts of what the same export measured of the dense
    one: exports may have run on different machines.
    """
    trials = run_to_the_end(compared(frames.trials))
    costs = [cost for cost in (*_COSTS, *_EXPORTED) if has(trials, cost, _TOP1)]
    rows: list[dict[str, Any]] = []
    for name in costs:
        whole = _of_dense(frames.trials, name)
        each = trials[f"{name}_dense"] if name in _EXPORTED else whole
        parts = trials[name] / each
        for series in all_series(trials.assign(cost=parts, whole=each)):
            found = network_rows(series, "cost", _TOP1, whole="whole")
            rows += [row | {"of": name} for row in found]
        of = {"of": name, "whole": whole}
        for cost, value in pareto_front(parts, trials[_TOP1]).itertuples(index=False):
            rows.append({"kind": "front", **of, "cost": cost, "metric": _TOP1, "value": value})
    if not rows:
        return "The trials have no costs (cost/macs, cost/params, cost/latency)."
    return tidy(rows)


def _of_dense(trials: pd.DataFrame, cost: str) -> float:
    """Of the dense network, as each trial measured it; 1 where none knows."""
    if has(trials, f"{cost}_dense"):
        return float(trials[f"{cost}_dense"].median())
    dense = trials[trials["method"] == "dense"][cost].mean()
    return float(dense) if dense == dense else 1.0


def pareto_front(cost: pd.Series, value: pd.Series) -> pd.DataFrame:
    """Columns cost, value, the cheapest first: the points than which none is better and cheaper."""
    points = pd.DataFrame({"cost": cost, "value": value}).dropna()
    points = points.sort_values(["cost", "value"], ascending=[True, False])
    best = points["value"].cummax().shift(fill_value=-np.inf)
    return points[points["value"] > best].reset_index(drop=True)


def _draw_cost(table: pd.DataFrame) -> Figure:
    costs = list(dict.fromkeys(table["of"]))
    n_rows = math.ceil(len(costs) / _SIDE_BY_SIDE)
    n_beside = min(len(costs), _SIDE_BY_SIDE)
    figure, panels = new_figure(n_beside, 0.7 + 2.5 * n_rows, n_rows, sharey=True)
    for empty in panels[len(costs) :]:
        empty.set_visible(False)
    for axes, name in zip(panels, costs, strict=False):
        here = table[table["of"] == name]
        for each in series_in(here):
            rows, look = each.rows, {"hollow": not each.retrained}
            x, y, marker = rows["cost"], rows["value"], MARKERS[each.hue]
            scatter_trials(axes, x, y, rows["keys"], each.colour, marker, **look)
        front = here[here["kind"] == "front"]
        axes.plot(front["cost"], front["value"], color=INK, lw=1, drawstyle="steps-post", zorder=1)
        relative = (here["whole"] != 1).all()
        axes.set_xlabel(
            label(name).partition(",")[0] + ("\n÷ the dense network's" if relative else "")
        )
        axes.set_ylim(0, 1)
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(3))  # else the panels' numbers touch
    for first in panels[::n_beside]:
        first.set_ylabel(label(_TOP1))
    hollow = Line2D([], [], ls="", marker="o", mfc="none", mec=GREY, label="hollow: not retrained")
    front_handle = Line2D([], [], color=INK, lw=1, label="nothing is better and cheaper")
    legend(figure, [*hue_handles(series_in(table), joined=False), hollow, front_handle])
    return figure


COST = Section(
    "cost",
    "Accuracy and cost",
    "What does a pruned network save?",
    "Of the network without what was removed: zeros inside filters save nothing on plain hardware. "
    "Of trials that were exported also the size of their file, and latencies in batches of 1 and "
    "of 64 as `secateur export` measured them.",
    _cost,
    _draw_cost,
)

"""What it costs to run the pruned network."""

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


def _cost(frames: SweepFrames) -> pd.DataFrame | str:
    """Column `cost`: in parts of `whole`, the dense network's, where that is known."""
    trials = run_to_the_end(compared(frames.trials))
    costs = [cost for cost in _COSTS if has(trials, cost, _TOP1)]
    rows: list[dict[str, Any]] = []
    for name in costs:
        whole = _of_dense(frames.trials, name)
        of = {"of": name, "whole": whole}
        for series in all_series(trials.assign(cost=trials[name] / whole)):
            rows += [row | of for row in network_rows(series, "cost", _TOP1)]
        front = pareto_front(trials[name] / whole, trials[_TOP1])
        for cost, value in front.itertuples(index=False):
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
    figure, panels = new_figure(len(costs), 3.2, sharey=True)
    for axes, name in zip(panels, costs, strict=True):
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
    panels[0].set_ylabel(label(_TOP1))
    hollow = Line2D([], [], ls="", marker="o", mfc="none", mec=GREY, label="hollow: not retrained")
    front_handle = Line2D([], [], color=INK, lw=1, label="nothing is better and cheaper")
    legend(figure, [*hue_handles(series_in(table), joined=False), hollow, front_handle])
    return figure


COST = Section(
    "cost",
    "Accuracy and cost",
    "What does a pruned network save?",
    "Of the network without what was removed: zeros inside filters save nothing on plain hardware.",
    _cost,
    _draw_cost,
)

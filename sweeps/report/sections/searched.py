"""What a search found, beside the grid, and whether its winners win again."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sweeps.plan.fronts import hypervolume, on_front
from sweeps.plan.metrics import label
from sweeps.plan.section import Section
from sweeps.report.read.frames import SweepFrames
from sweeps.report.read.values import is_pruned, number, text, was_stopped
from sweeps.report.sections.lines import scatter_trials
from sweeps.report.sections.series import tidy
from sweeps.report.sections.style import GREY, legend, new_figure

_ARMS = {"grid": ("start", "grid"), "search": ("start", "search")}
"""What is compared -> the sources of its trials: the search begins with some of the grid's."""
_LOOKS = {"grid": ("#d55e00", "s"), "search": ("#0072b2", "o"), "start": (GREY, "D")}
_SEEDS = ("seed", "data.seed")


def _searched(frames: SweepFrames) -> pd.DataFrame | str:
    """Kind `trial`: a point per trial; kind `front`: those of an arm that nothing beats; kind
    `again`: a winner where it was chosen (x, y) and its mean on other seeds (again_x, again_y);
    kind `hypervolume`: of an arm's front, as a share of the box between the worst and the best
    value of each objective, with its trials and epochs (`n`, `epochs`)."""
    trials = frames.trials[text(frames.trials, "source") != ""]
    trials = trials[is_pruned(trials) & (trials["criterion"] != "random")]
    trials = trials[text(trials, "most_important_first") != "True"]
    spent, trials = trials, trials[~was_stopped(trials)]
    if not (text(trials, "source") == "search").any():
        return "Nothing of this sweep was searched."
    aims = [tuple(aim.split(" ", 1)) for aim in text(trials, "objectives").iloc[0].split(", ")]
    if len(aims) != 2:
        return "A front is drawn of two objectives; Optuna's own plots are in MLflow."
    (y_mode, y), (x_mode, x) = aims
    points = trials.assign(y=number(trials, y), x=number(trials, x)).dropna(subset=["x", "y"])
    chosen = points[text(points, "source") != "again"]
    scale = _Scale(chosen, {"x": x_mode, "y": y_mode})
    rows = [_point(row, x, y) for row in chosen.to_dict("records")]
    again = _again(points)
    for arm, sources in _ARMS.items():
        of_arm = chosen[text(chosen, "source").isin(sources)]
        legal = of_arm[text(of_arm, "outside") == ""]
        best = legal[on_front(scale.goodness(legal))]
        rows += [{"kind": "front", "arm": arm, **_point(r, x, y, "front")} for r in _by_x(best)]
        winners = [row for row in again if row["key"] in set(best["key"])]
        rows += [{**_point(row, x, y, "again"), "arm": arm, **_other(row)} for row in winners]
        said: dict[str, Any] = {"kind": "hypervolume", "arm": arm, "x_metric": x, "y_metric": y}
        cost = spent[text(spent, "source").isin(sources)]  # also of what was stopped
        said |= {"n": len(cost), "epochs": number(cost, "epoch").sum()}
        rows.append({**said, "name": "as chosen", "value": scale.volume(best)})
        if winners:
            told = pd.DataFrame(winners)
            rows.append({**said, "name": "winners, as chosen", "value": scale.volume(told)})
            anew = pd.DataFrame({"x": told["again_x"], "y": told["again_y"]})
            rows.append({**said, "name": "winners, run again", "value": scale.volume(anew)})
    return tidy(rows)


class _Scale:
    """Objectives between the worst (0) and the best (1) value of all trials that chose."""

    def __init__(self, points: pd.DataFrame, modes: dict[str, str]) -> None:
        self._signs = {name: 1.0 if mode == "max" else -1.0 for name, mode in modes.items()}
        turned = np.array([points[name] * sign for name, sign in self._signs.items()])
        self._low, self._high = turned.min(1), turned.max(1)

    def goodness(self, points: pd.DataFrame) -> np.ndarray:
        """float [point, objective], more is better."""
        turned = [points[name].to_numpy() * sign for name, sign in self._signs.items()]
        span = np.where(self._high > self._low, self._high - self._low, 1.0)
        return (np.array(turned).T - self._low) / span

    def volume(self, points: pd.DataFrame) -> float:
        return hypervolume(self.goodness(points))


def _point(row: dict[Any, Any], x: str, y: str, kind: str = "trial") -> dict[str, Any]:
    said = {"kind": kind, "name": row["label"], "keys": row["key"], "source": row["source"]}
    said |= {"outside": row["outside"], "x_metric": x, "y_metric": y}
    return {**said, "x": row["x"], "y": row["y"]}


def _other(row: dict[Any, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("again_x", "again_y", "n")}


def _by_x(points: pd.DataFrame) -> list[dict[Any, Any]]:
    return points.sort_values("x").to_dict("records")


def _again(points: pd.DataFrame) -> list[dict[Any, Any]]:
    """The trials that were run again, each with its means on other seeds. Two are one trial on two
    seeds where all their params but the seeds are equal."""
    params = [name for name in points if "." in str(name) and "/" not in str(name)]
    told = points[[name for name in params if name not in _SEEDS]].astype(object)
    same = told.fillna("").astype(str).agg("|".join, axis=1)
    is_again = text(points, "source") == "again"
    anew = points[is_again].groupby(same[is_again])[["x", "y"]]
    means, sizes = anew.mean(), anew.size()
    found = points[~is_again & same.isin(means.index)]
    return [
        {**row, "again_x": means["x"][which], "again_y": means["y"][which], "n": sizes[which]}
        for row, which in zip(found.to_dict("records"), same[found.index], strict=True)
    ]


def _draw(table: pd.DataFrame) -> Figure:
    figure, (axes,) = new_figure()
    points = table[table["kind"] == "trial"]
    for source, (colour, marker) in _LOOKS.items():
        for outside in (False, True):
            here = points[(points["source"] == source) & ((points["outside"] != "") == outside)]
            scatter_trials(axes, here["x"], here["y"], here["keys"], colour, marker, hollow=outside)
    for arm in _ARMS:
        front = table[(table["kind"] == "front") & (table["arm"] == arm)]
        axes.plot(front["x"], front["y"], color=_LOOKS[arm][0], lw=1.2)
        again = table[(table["kind"] == "again") & (table["arm"] == arm)]
        for row in again.to_dict("records"):
            ends = (row["again_x"], row["again_y"]), (row["x"], row["y"])
            look = {"arrowstyle": "->", "color": _LOOKS[arm][0], "lw": 0.9}
            axes.annotate("", *ends, arrowprops=look)
    axes.set_xlabel(label(str(points["x_metric"].iloc[0])))
    axes.set_ylabel(label(str(points["y_metric"].iloc[0])))
    legend(figure, [*_handles(), Line2D([], [], color=GREY, marker=">", ms=4, label="run again")])
    return figure


def _handles() -> list[Line2D]:
    names = {"grid": "grid", "search": "searched", "start": "grid, and known to the search"}
    return [
        Line2D([], [], ls="", marker=marker, color=colour, ms=5, label=names[source])
        for source, (colour, marker) in _LOOKS.items()
    ]


SEARCHED = Section(
    "searched",
    "The search beside the grid",
    "Does Optuna find better networks than a grid that costs as many epochs?",
    "Lines join what nothing of the same arm beats in both objectives; hollow: outside of the "
    "search's constraints, and on no line. Arrows lead from where a winner was chosen to its mean "
    "on other trainings and images, by which nothing was chosen: what is best of many was lucky, "
    "too. The table has the hypervolume of each front, as a share of the box between the worst and "
    "the best value of each objective, with what it cost.",
    _searched,
    _draw,
    over_pairs=True,  # one search over all that it may choose
)

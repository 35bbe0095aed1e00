"""Each criterion beside its own controls."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sweeps.report.read.frames import SweepFrames
from sweeps.report.read.values import flag, number, text, within_layers
from sweeps.report.sections.series import has, scatter_trials
from sweeps.report.sections.sparsity import Points
from sweeps.report.sections.style import COLOURS, INK, LABELS, in_order, legend, named, new_figure
from trainables.config import METHODS

_ROWS = 24
_MARKERS = {"own": "o", "within": "+", "random": "x", "reversed": "v"}
_NAMES = {
    "own": "the criterion",
    "within": "by chance, as many per layer",
    "random": "by chance",
    "reversed": "most important first",
}


def scored_by(trials: pd.DataFrame) -> pd.Series:
    """The criterion that a trial ranks by, or takes its numbers per layer of, and of what:
    "taylor of the logit"."""
    counts_of = text(trials, "prune.counts_of")
    scored = text(trials, "criterion").where(~within_layers(trials), counts_of)
    target = text(trials, "prune.target")
    return scored.where(~target.eq("logit"), scored + " of the logit")


def arms(trials: pd.DataFrame) -> pd.DataFrame:
    """The pruned trials whose masks are held, those that see most images first, with the columns
    `scored` and `arm`: "own" (by a criterion), "random" (by chance), "within" (by chance with a
    criterion's numbers per layer), "reversed" (most important first)."""
    here = trials[trials["method"].isin(METHODS) & (text(trials, "held") != "False")]
    kinds = [flag(here, "most_important_first"), within_layers(here), here["criterion"] == "random"]
    arm = np.select(kinds, ["reversed", "within", "random"], "own")
    images = number(here, "prune.samples_per_class").fillna(0)
    here = here.assign(arm=arm, scored=scored_by(here), images=images)
    return here.sort_values("images", ascending=False, kind="stable")


def beside_controls(frames: SweepFrames, released: Points) -> Figure | str:
    """Top-1 of each criterion and of its controls, at the smallest rate of each method that has
    them: a row a criterion, a mark a trial."""
    if not has(frames.trials, "val/top1"):
        return "The trials of this sweep have no accuracy."
    rows = _rows(arms(frames.trials))
    if not rows:
        return "No criterion of this sweep has a control: chance within layers, or turned round."
    rows, n = rows[:_ROWS], len(rows)
    figure, (axes,) = new_figure(1, 1.1 + 0.27 * len(rows))
    for place, (_, colour, trials) in enumerate(rows):
        for arm, marker in _MARKERS.items():
            drawn = trials[trials["arm"] == arm]
            ink = colour if arm == "own" else INK
            keys = [(key,) for key in drawn["key"]]
            y = [-float(place)] * len(drawn)
            hollow = arm == "reversed"
            scatter_trials(axes, drawn["val/top1"], y, keys, ink, marker, size=34, hollow=hollow)
        axes.axhline(-place, color=INK, lw=0.3, alpha=0.25, zorder=0)
    axes.set_yticks([-i for i in range(len(rows))], [name for name, _, _ in rows])
    axes.set_ylim(-len(rows) + 0.4, 0.6)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(LABELS["val/top1"])
    handles = [
        Line2D(
            *([], []),
            color=INK,
            ls="none",
            marker=marker,
            mfc="none" if arm == "reversed" else INK,
            label=_NAMES[arm],
        )
        for arm, marker in _MARKERS.items()
    ]
    if n > len(rows):
        handles.append(Line2D([], [], ls="none", label=f"{n - len(rows)} more are not drawn"))
    legend(figure, handles)
    return figure


def _rows(trials: pd.DataFrame) -> list[tuple[str, str, pd.DataFrame]]:
    """Name, colour, and the trials of a criterion of a method, with chance of the same kind."""
    rows = []
    how = ["schedule", "retraining", "rate"]
    controls = trials[trials["arm"].isin(["within", "reversed"])]
    for method in METHODS:
        of_method = controls[controls["method"] == method]
        if of_method.empty:
            continue
        rate = of_method["rate"].min()
        kinds = of_method.loc[of_method["rate"] == rate, how].drop_duplicates()
        here = trials[trials["method"] == method].merge(kinds, on=how)
        chance = here[here["arm"] == "random"]
        for scored in sorted(set(here["scored"]) - {"random"}, key=in_order):
            mine = here[here["scored"] == scored]
            own = mine[mine["arm"] == "own"].drop_duplicates(["seed", *how])  # with most images
            beside = mine[mine["arm"] != "own"]
            name = f"{named(method)} {rate:g} by {named(scored)}"
            colour = COLOURS[scored.partition(" ")[0]]
            rows.append((name, colour, pd.concat([own, beside, chance])))
    return rows

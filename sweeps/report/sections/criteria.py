"""Each criterion beside its own controls."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sweeps.plan.metrics import label
from sweeps.plan.section import Section
from sweeps.report.read.frames import SweepFrames
from sweeps.report.read.values import flag, has, number, run_to_the_end, text, within_layers
from sweeps.report.sections.lines import scatter_trials
from sweeps.report.sections.series import tidy
from sweeps.report.sections.style import COLOURS, INK, in_order, legend, named, new_figure
from trainables.methods import METHODS

_ROWS = 24
_TOP1 = "val/top1"
_SAID = ["method", "schedule", "retraining", "rate", "scored"]
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
    change_of = text(trials, "prune.change_of")
    return scored.where(~change_of.eq("logit"), scored + " of the logit")


def arms(trials: pd.DataFrame) -> pd.DataFrame:
    """The pruned trials whose masks are held, those that see most images first, with the columns
    `scored` and `arm`: "own" (by a criterion), "random" (by chance), "within" (by chance with a
    criterion's numbers per layer), "reversed" (most important first)."""
    here = run_to_the_end(trials)
    here = here[here["method"].isin(METHODS) & (text(here, "held") != "False")]
    kinds = [flag(here, "most_important_first"), within_layers(here), here["criterion"] == "random"]
    arm = np.select(kinds, ["reversed", "within", "random"], "own")
    images = number(here, "prune.samples_per_class").fillna(0)
    here = here.assign(arm=arm, scored=scored_by(here), images=images)
    return here.sort_values("images", ascending=False, kind="stable")


def _beside_controls(frames: SweepFrames) -> pd.DataFrame | str:
    """Top-1 of each criterion and of its controls, at the smallest rate of each method that has
    them: a row per criterion, a mark per trial."""
    if not has(frames.trials, _TOP1):
        return "The trials of this sweep have no accuracy."
    rows = [
        {
            **{"kind": "network", "name": name, "place": place, "hue": hue, "arm": trial["arm"]},
            **{column: trial[column] for column in _SAID},
            **{"metric": _TOP1, "value": trial[_TOP1], "keys": trial["key"]},
        }
        for place, (name, hue, trials) in enumerate(_rows(arms(frames.trials)))
        for trial in trials.dropna(subset=[_TOP1]).to_dict("records")
    ]
    if not rows:
        return "No criterion of this sweep has a control: chance within layers, or turned round."
    return tidy(rows)


def _draw_beside_controls(table: pd.DataFrame) -> Figure:
    names = dict(zip(table["place"], table["name"], strict=True))
    n, names = len(names), dict(list(names.items())[:_ROWS])
    figure, (axes,) = new_figure(1, 1.1 + 0.27 * len(names))
    for y, place in enumerate(names):
        trials = table[table["place"] == place]
        for arm, marker in _MARKERS.items():
            drawn = trials[trials["arm"] == arm]
            ink = COLOURS[trials["hue"].iloc[0]] if arm == "own" else INK
            at, hollow = [-float(y)] * len(drawn), arm == "reversed"
            x, keys = drawn["value"], drawn["keys"]
            scatter_trials(axes, x, at, keys, ink, marker, size=34, hollow=hollow)
        axes.axhline(-y, color=INK, lw=0.3, alpha=0.25, zorder=0)
    axes.set_yticks([-i for i in range(len(names))], list(names.values()))
    axes.set_ylim(-len(names) + 0.4, 0.6)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(label(_TOP1))
    look: dict[str, Any] = {"color": INK, "ls": "none"}
    handles = [
        Line2D(
            [], [], marker=m, mfc="none" if arm == "reversed" else INK, label=_NAMES[arm], **look
        )
        for arm, m in _MARKERS.items()
    ]
    if n > len(names):
        handles.append(Line2D([], [], ls="none", label=f"{n - len(names)} more are not drawn"))
    legend(figure, handles)
    return figure


def _rows(trials: pd.DataFrame) -> list[tuple[str, str, pd.DataFrame]]:
    """A criterion of a method: its name, the criterion that colours it, and its trials, with chance
    of the same kind."""
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
            hue = scored.partition(" ")[0]
            rows.append((name, hue, pd.concat([own, beside, chance])))
    return rows


BESIDE_CONTROLS = Section(
    "criteria",
    "Each criterion and its own controls",
    "Which criterion knows more than chance, and of what?",
    "Where and which: above chance alone, a criterion knows how much each layer bears; above "
    "chance with as many per layer, it knows which. Turned round it must be the worst.",
    _beside_controls,
    _draw_beside_controls,
)

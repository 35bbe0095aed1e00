"""What each round of pruning leaves: accuracy against filters, parameters and multiply-adds."""

from collections.abc import Iterator
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sweeps.plan.metrics import label
from sweeps.plan.section import Section
from sweeps.report.read.frames import SweepFrames
from sweeps.report.read.values import baseline, has
from sweeps.report.sections.criteria import arms
from sweeps.report.sections.lines import scatter_trials
from sweeps.report.sections.series import tidy
from sweeps.report.sections.style import (
    COLOURS,
    GREY,
    INK,
    MARKERS,
    RETRAINING,
    in_order,
    legend,
    named,
    new_figure,
)
from sweeps.report.statistics.trainings import interval_over_seeds

_TOP1 = "val/top1"
_ARM = ["retraining", "method", "scored", "arm"]
_HOW = ["schedule", "rate", "rounds", "recipe"]  # of networks that are one line
_COSTS = {
    "kept": "groups left",
    "params": "parameters left",
    "macs": "multiply-adds left",
}
_PANELS = 4  # rows: ways of retraining, and methods


def _rounds(frames: SweepFrames) -> pd.DataFrame | str:
    """Kind `mean`: top-1 at the end of a round, over seeds, against the mean share of what is left
    (`of` says of what: groups that the method prunes as one, parameters, multiply-adds)."""
    ends = frames.rounds
    if ends.empty or _TOP1 not in ends:
        return "No trial of this sweep prunes in several rounds."
    if not has(frames.trials, "cost/params_dense", "cost/macs_dense"):
        return "The trials of this sweep have no costs."
    trials = arms(frames.trials)
    trials = trials[trials["arm"] != "reversed"]
    whole = {f"cost/{cost}_dense": f"{cost}_dense" for cost in ("params", "macs")}
    about = trials.reindex(columns=["key", "network.name", "seed", *_ARM, *_HOW, *whole])
    about = about.rename(columns=whole)
    ends = ends.drop(columns=["label", *_HOW], errors="ignore")
    here = ends.astype({"key": str}).merge(about, on="key")
    if here.empty:
        return "No trial of this sweep that is compared prunes in several rounds."
    here = here.assign(
        kept=here["n_kept"] / here["n_groups"],
        params=here["cost/params"] / here["params_dense"],
        macs=here["cost/macs"] / here["macs_dense"],
    )
    rows = list(_means(here))
    for retraining, level in {"none": "none", "finetune": "finetune"}.items():
        dense = baseline(frames.trials, "dense", level, _TOP1)
        if dense == dense and (here["retraining"] == retraining).any():
            said = {"kind": "level", "name": "dense", "retraining": retraining}
            rows.append({**said, "metric": _TOP1, "value": dense})
    return tidy(rows)


def _means(here: pd.DataFrame) -> Iterator[dict[str, Any]]:
    by = ["network.name", *_ARM, "round", *_HOW]
    for key, seeds in here.groupby(by, sort=False, observed=True, dropna=False):
        network, retraining, method, scored, arm, round_, *how = key
        said = {"kind": "mean", "network": network, "retraining": retraining, "method": method}
        said |= {"name": scored, "arm": arm, "round": round_, "metric": _TOP1}
        said |= dict(zip(_HOW, how, strict=True))
        said |= interval_over_seeds(seeds.groupby("seed")[_TOP1].mean())
        for of in _COSTS:
            yield {**said, "of": of, "left": seeds[of].mean(), "keys": ",".join(seeds["key"])}


def _draw(table: pd.DataFrame) -> Figure:
    means = table[table["kind"] == "mean"]
    where = ["network", "retraining", "method"]
    by = ["name", "arm", *(name for name in _HOW if name in means)]
    panels = list(dict.fromkeys(means[where].itertuples(index=False, name=None)))[:_PANELS]
    figure, axes = new_figure(3, 0.9 + 2.3 * len(panels), rows=len(panels), sharey=True)
    for row, (network, retraining, method) in enumerate(panels):
        is_here = (means["network"] == network) & (means["method"] == method)
        here = means[is_here & (means["retraining"] == retraining)]
        levels = table[(table["kind"] == "level") & (table["retraining"] == retraining)]
        for each, of in zip(axes[3 * row : 3 * row + 3], _COSTS, strict=True):
            for level in levels["value"]:
                each.axhline(level, color=INK, lw=0.9, zorder=1)
            lines = here[here["of"] == of].groupby(by, sort=False, dropna=False)
            for (name, arm, *_), line in lines:
                _draw_line(each, line.sort_values("round"), str(name), str(arm))
            each.set_xlim(1.02, 0)
            each.set_xlabel(_COSTS[of])
        axes[3 * row].set_ylabel(label(_TOP1))
        how = RETRAINING.get(str(retraining), str(retraining))
        axes[3 * row].set_title(f"{network}, {named(str(method))}, {how}", loc="left")
    names = sorted(dict.fromkeys(means["name"]), key=in_order)
    handles = [
        Line2D([], [], color=COLOURS[_hue(n)], marker=MARKERS[_hue(n)], ms=4, label=_said(n))
        for n in names
    ]
    if (means["arm"] == "within").any():
        dashed = "dashed: by chance, as many per layer"
        handles.append(Line2D([], [], color=GREY, ls="--", label=dashed))
    handles.append(Line2D([], [], color=INK, lw=0.9, label="dense"))
    legend(figure, handles)
    return figure


def _draw_line(axes: Any, line: pd.DataFrame, name: str, arm: str) -> None:
    ink, within = COLOURS[_hue(name)], arm == "within"
    axes.plot(line["left"], line["value"], color=ink, ls="--" if within else "-", lw=1.2)
    if "low" in line:
        axes.vlines(line["left"], line["low"], line["high"], color=ink, lw=0.8, zorder=2)
    marker, keys = MARKERS[_hue(name)], line["keys"]
    scatter_trials(axes, line["left"], line["value"], keys, ink, marker, size=12, hollow=within)


def _said(name: str) -> str:
    return "by chance" if name == "random" else named(name)


def _hue(name: str) -> str:
    return str(name).partition(" ")[0]


ROUNDS = Section(
    "accuracy_over_rounds",
    "Accuracy as filters go",
    "How much accuracy is left after each round, against what the network then costs?",
    "Lines are means over seeds, with 95 % intervals by t at each round by itself. Of one "
    "pretrained network a seed is another head, and other images that criteria look at: intervals "
    "are given that body, and say nothing of other ones. Dashed: of each layer as many as the "
    "criterion of that colour keeps, by chance.",
    _rounds,
    _draw,
)

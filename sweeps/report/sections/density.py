"""What is left of a network that is pruned round by round: the figure of Frankle & Bau 2019."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from sweeps.plan.metrics import label
from sweeps.plan.section import Section
from sweeps.report.read.frames import SweepFrames
from sweeps.report.read.values import baseline, has, is_dense, run_to_the_end, within_layers
from sweeps.report.sections.lines import scatter_trials
from sweeps.report.sections.series import tidy
from sweeps.report.sections.style import (
    COLOURS,
    GREY,
    INK,
    MARKERS,
    in_order,
    label_ends,
    legend,
    named,
    new_figure,
)
from sweeps.report.statistics.population import compared
from trainables.methods import METHODS

_UNITS, _CONCEPTS = "dissection/interpretable", "dissection/unique"
_DENSITY = "density"
# Colours and markers of categories, in the order of the alphabet.
_LOOKS = [(COLOURS[n], MARKERS[n]) for n in METHODS]
_CHANCE, _REVERSED = "pruned by chance", "most important first"
_WITHIN = "by chance, as many per layer"
_CONTROLS = {_CHANCE: ("#cc79a7", "v"), _WITHIN: ("#cc79a7", "P"), _REVERSED: (INK, "x")}
_BASELINES = (
    ("dense, trained again", "dense", ("rewind_weights", "rewind_learning_rate", "finetune"), "--"),
    ("untrained", "untrained", ("recalibrate",), ":"),
)


def _over_density(frames: SweepFrames) -> pd.DataFrame | str:
    """A row a trial, density and metric. name: the method or criterion, or which control it is, or
    which baseline. category: "" for all concepts."""
    levels = _levels(frames)
    if levels.empty:
        return "No trial of this sweep was scored after every round."
    dissected = has(levels, _UNITS, _CONCEPTS)
    values = ["mis/mean", "val/top1", *((_UNITS, _CONCEPTS) if dissected else ())]
    rows = [row for value in values for row in _rounds(levels, value)]
    rows += [row for value in values for row in _baselines(frames.trials, value)]
    if dissected:
        meant = levels[~levels["kind"].isin(_CONTROLS)]
        for value in (_UNITS, _CONCEPTS):
            for category in _categories(frames, levels):
                column = value.replace("/", f"/{category}/")
                rows += [{**row, "category": category} for row in _rounds(meant, column)]
    return tidy({"category": "", **row} for row in rows)


def _rounds(levels: pd.DataFrame, value: str) -> list[dict[str, Any]]:
    if not has(levels, value):
        return []
    known = levels.dropna(subset=[value]).sort_values(["key", _DENSITY], kind="stable")
    return [
        {
            **{"kind": "network", "name": row["kind"], "keys": row["key"]},
            **{_DENSITY: row[_DENSITY], "metric": value, "value": row[value]},
        }
        for row in known.to_dict("records")
    ]


def _baselines(trials: pd.DataFrame, value: str) -> list[dict[str, Any]]:
    """Levels of the networks that nothing was pruned of."""
    rows = []
    for name, method, retrainings, _ in _BASELINES:
        found = (baseline(trials, method, retraining, value) for retraining in retrainings)
        level = next((level for level in found if level == level), None)
        if level is not None:
            rows.append({"kind": "level", "name": name, "metric": value, "value": level})
    return rows


def _levels(frames: SweepFrames) -> pd.DataFrame:
    """A row a trial and round: density, kind (the method or criterion, or which control it is) and
    all metrics, the dense network that it starts from first. Empty without such trials."""
    epochs, trials = frames.epochs, frames.trials
    if not has(epochs, "mis/mean", "prune/sparsity"):
        return pd.DataFrame()
    scored = epochs.dropna(subset=["mis/mean"])
    hues = compared(trials).set_index("key")["hue"]
    dense_ones = trials[is_dense(trials)]
    parts = []
    for key, rounds in scored.groupby(scored["key"].astype(str)):
        trial = run_to_the_end(trials[trials["key"] == key])
        if trial.empty:
            continue
        dense = dense_ones[dense_ones["seed"] == trial["seed"].iloc[0]]
        # What the last round left is among the trial's final metrics.
        part = pd.concat([dense.head(1), rounds, trial], ignore_index=True).copy()  # in one piece
        kind = _CHANCE if trial["criterion"].iloc[0] == "random" else _REVERSED
        kind = _WITHIN if within_layers(trial).iloc[0] else kind
        parts.append(part.assign(key=key, kind=hues.get(key, kind)))
    if not parts:
        return pd.DataFrame()
    levels = pd.concat(parts, ignore_index=True).dropna(subset=["mis/mean"])
    levels = levels.assign(**{_DENSITY: 1 - levels["prune/sparsity"]}).query("density > 0")
    return levels.assign(kind=levels["kind"].astype(str))


def _categories(frames: SweepFrames, levels: pd.DataFrame) -> list[str]:
    """Those that have metrics; layers, which have metrics of the same form, are none."""
    if "category" not in frames.of_dissected.columns:
        return []
    tables = frames.of_dissected.batches(["category"])
    found = {str(name) for table in tables for name in table["category"].dropna().unique()}
    return [name for name in sorted(found) if f"dissection/{name}/interpretable" in levels]


def _draw_over_density(table: pd.DataFrame) -> Figure:
    """In all and by category, beside accuracy and MIS; the axis is logarithmic, as rounds take a
    fraction of what is left."""
    dissected = _UNITS in set(table["metric"])
    figure, panels = new_figure(3, 4.6, rows=2) if dissected else new_figure(2, 2.7)
    values = [_UNITS, _CONCEPTS, "mis/mean"] if dissected else ["mis/mean"]
    rounds, baselines = table[table["kind"] == "network"], table[table["kind"] == "level"]
    lines = {name: line for name, _, _, line in _BASELINES}
    places = [*panels[: len(values)], panels[-1]]
    for value, axes in zip([*values, "val/top1"], places, strict=True):
        here = baselines[baselines["metric"] == value]
        for name, level in zip(here["name"], here["value"], strict=True):
            axes.axhline(level, color=GREY, lw=0.9, ls=lines[name], zorder=0)
        of_value = rounds[rounds["metric"] == value]
        for name in _names(rounds):
            _draw_lines(axes, of_value[of_value["name"] == name], *_look(name))
        axes.set_title(label(value).partition(",")[0], fontsize=8.5, loc="left")
        if value != "mis/mean":
            axes.set_ylim(bottom=0)
    for axes in panels:
        _density_axis(axes, float(rounds[_DENSITY].min()))
    if dissected:
        for axes, value, what in ((panels[3], _UNITS, "units"), (panels[4], _CONCEPTS, "concepts")):
            _draw_categories(axes, rounds, value)
            axes.set_title(f"{what} by category", fontsize=8.5, loc="left")
    for axes in panels[-3:] if dissected else panels:
        axes.set_xlabel("density")
    legend(figure, _handles(_names(rounds), [n for n in lines if n in set(baselines["name"])]))
    return figure


def _draw_categories(axes: Axes, rounds: pd.DataFrame, value: str) -> None:
    ends, categories = [], sorted(set(rounds["category"]) - {""})
    for place, category in enumerate(categories):
        colour, marker = _LOOKS[place % len(_LOOKS)]
        mine = rounds[rounds["metric"] == value.replace("/", f"/{category}/")]
        _draw_lines(axes, mine, colour, marker)
        if len(mine):
            last = mine.loc[mine.groupby("keys")[_DENSITY].idxmin(), "value"].mean()
            ends.append((float(last), category, colour))
    axes.set_ylim(bottom=0)
    label_ends(axes, ends)


def _draw_lines(axes: Axes, rounds: pd.DataFrame, colour: str, marker: str) -> None:
    """A line per trial."""
    for _, line in rounds.groupby("keys"):
        x, y = line[_DENSITY], line["value"]
        axes.plot(x, y, color=colour, lw=1.3)
        scatter_trials(axes, x, y, line["keys"], colour, marker, size=12.0)


def _density_axis(axes: Axes, least: float) -> None:
    """From everything down to what is left, in the direction of pruning."""
    axes.set_xscale("log")
    axes.set_xlim(1.1, least / 1.1)
    steps = (1, 2, 5) if least > 0.02 else (1, 3)  # more would touch
    ticks = [step * 10.0**power for power in range(-6, 1) for step in steps]
    axes.xaxis.set_major_locator(FixedLocator([t for t in ticks if least / 1.1 <= t <= 1]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda density, _: f"{density:.3g}"))


def _names(rounds: pd.DataFrame) -> list[str]:
    """Controls last."""
    return sorted(set(rounds["name"]), key=lambda name: (name in _CONTROLS, in_order(name)))


def _look(kind: str) -> tuple[str, str]:
    return _CONTROLS.get(kind) or (COLOURS[kind], MARKERS[kind])


def _handles(names: Sequence[str], baselines: Sequence[str]) -> list[Line2D]:
    handles = []
    for name in names:
        colour, marker = _look(name)
        handles.append(Line2D([], [], color=colour, marker=marker, ms=4, lw=1.3, label=named(name)))
    lines = {name: line for name, _, _, line in _BASELINES}
    look: dict[str, Any] = {"color": GREY, "lw": 0.9}
    return handles + [Line2D([], [], ls=lines[name], label=name, **look) for name in baselines]


OVER_DENSITY = Section(
    "units_over_density",
    "Units and concepts over density",
    "At which density do units and concepts begin to go?",
    "Trials that are scored after every round, the question of Frankle & Bau 2019: at which "
    "density do units and concepts begin to go, and is it where accuracy does?",
    _over_density,
    _draw_over_density,
)

"""What is left of a network that is pruned round by round: the figure of Frankle & Bau 2019."""

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from sweeps.report.read.frames import SweepFrames
from sweeps.report.read.values import within_layers
from sweeps.report.sections.series import baseline, has, pruned, scatter_trials
from sweeps.report.sections.sparsity import Points
from sweeps.report.sections.style import (
    COLOURS,
    GREY,
    INK,
    LABELS,
    MARKERS,
    in_order,
    label_ends,
    legend,
    named,
    new_figure,
)
from trainables.config import METHODS

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


def over_density(frames: SweepFrames, released: Points) -> Figure | str:
    """Interpretable units and unique concepts at the end of every round, in all and by category,
    beside accuracy and MIS; the axis is logarithmic, as rounds take a fraction of what is left."""
    levels = _levels(frames)
    if levels.empty:
        return "No trial of this sweep was scored after every round."
    dissected = has(levels, _UNITS, _CONCEPTS)
    figure, panels = new_figure(3, 4.6, rows=2) if dissected else new_figure(2, 2.7)
    values = [_UNITS, _CONCEPTS, "mis/mean"] if dissected else ["mis/mean"]
    baselines: dict[str, str] = {}
    for value, axes in zip(
        [*values, "val/top1"], [*panels[: len(values)], panels[-1]], strict=True
    ):
        baselines |= _draw_baselines(axes, frames.trials, value)
        for kind in _kinds(levels):
            _draw_lines(axes, levels[levels["kind"] == kind], value, *_look(kind))
        axes.set_title(LABELS[value].partition(",")[0], fontsize=8.5, loc="left")
        if value != "mis/mean":
            axes.set_ylim(bottom=0)
    for axes in panels:
        _density_axis(axes, float(levels[_DENSITY].min()))
    if dissected:
        meant = levels[~levels["kind"].isin(_CONTROLS)]
        for axes, value, what in ((panels[3], _UNITS, "units"), (panels[4], _CONCEPTS, "concepts")):
            _draw_categories(axes, meant, value, _categories(frames, levels))
            axes.set_title(f"{what} by category", fontsize=8.5, loc="left")
    for axes in panels[-3:] if dissected else panels:
        axes.set_xlabel("density")
    legend(figure, _handles(_kinds(levels), baselines))
    return figure


def _levels(frames: SweepFrames) -> pd.DataFrame:
    """A row a trial and round: density, kind (the method or criterion, or which control it is) and
    all metrics, the dense network that it starts from first. Empty without such trials."""
    epochs, trials = frames.epochs, frames.trials
    if not has(epochs, "mis/mean", "prune/sparsity"):
        return pd.DataFrame()
    scored = epochs.dropna(subset=["mis/mean"])
    hues = pruned(frames).set_index("key")["hue"]
    is_dense = (trials["method"] == "dense") & (trials["retraining"] == "none")
    parts = []
    for key, rounds in scored.groupby(scored["key"].astype(str)):
        trial = trials[trials["key"] == key]
        if trial.empty:
            continue
        dense = trials[is_dense & (trials["seed"] == trial["seed"].iloc[0])]
        # What the last round left is among the trial's final metrics.
        part = pd.concat([dense.head(1), rounds, trial], ignore_index=True)
        kind = _CHANCE if trial["criterion"].iloc[0] == "random" else _REVERSED
        kind = _WITHIN if within_layers(trial).iloc[0] else kind
        parts.append(part.assign(key=key, kind=hues.get(key, kind)))
    if not parts:
        return pd.DataFrame()
    levels = pd.concat(parts, ignore_index=True).dropna(subset=["mis/mean"])
    levels = levels.assign(**{_DENSITY: 1 - levels["prune/sparsity"]}).query("density > 0")
    return levels.assign(kind=levels["kind"].astype(str))


def _draw_baselines(axes: Axes, trials: pd.DataFrame, value: str) -> dict[str, str]:
    """Levels of the networks that nothing was pruned of; the line of each."""
    drawn = {}
    for name, method, retrainings, line in _BASELINES:
        levels = (baseline(trials, method, retraining, value) for retraining in retrainings)
        level = next((level for level in levels if level == level), None)
        if level is not None:
            axes.axhline(level, color=GREY, lw=0.9, ls=line, zorder=0)
            drawn[name] = line
    return drawn


def _draw_categories(
    axes: Axes, levels: pd.DataFrame, value: str, categories: Sequence[str]
) -> None:
    ends = []
    for place, category in enumerate(categories):
        column = value.replace("/", f"/{category}/")
        colour, marker = _LOOKS[place % len(_LOOKS)]
        _draw_lines(axes, levels, column, colour, marker)
        known = levels.dropna(subset=[column])
        if len(known):
            last = known.loc[known.groupby("key")[_DENSITY].idxmin(), column].mean()
            ends.append((float(last), category, colour))
    axes.set_ylim(bottom=0)
    label_ends(axes, ends)


def _draw_lines(axes: Axes, levels: pd.DataFrame, value: str, colour: str, marker: str) -> None:
    """A line a trial."""
    if not has(levels, value):
        return
    for key, rounds in levels.dropna(subset=[value]).groupby("key"):
        line = rounds.sort_values(_DENSITY)
        x, y = line[_DENSITY], line[value]
        axes.plot(x, y, color=colour, lw=1.3)
        scatter_trials(axes, x, y, [(str(key),)] * len(line), colour, marker, size=12.0)


def _categories(frames: SweepFrames, levels: pd.DataFrame) -> list[str]:
    """Those that have metrics; layers, which have metrics of the same form, are none."""
    if "category" not in frames.of_dissected.columns:
        return []
    tables = frames.of_dissected.batches(["category"])
    found = {str(name) for table in tables for name in table["category"].dropna().unique()}
    return [name for name in sorted(found) if f"dissection/{name}/interpretable" in levels]


def _density_axis(axes: Axes, least: float) -> None:
    """From everything down to what is left, in the direction of pruning."""
    axes.set_xscale("log")
    axes.set_xlim(1.1, least / 1.1)
    steps = (1, 2, 5) if least > 0.02 else (1, 3)  # more would touch
    ticks = [step * 10.0**power for power in range(-6, 1) for step in steps]
    axes.xaxis.set_major_locator(FixedLocator([t for t in ticks if least / 1.1 <= t <= 1]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda density, _: f"{density:.3g}"))


def _kinds(levels: pd.DataFrame) -> list[str]:
    """Controls last."""
    return sorted(levels["kind"].unique(), key=lambda kind: (kind in _CONTROLS, in_order(kind)))


def _look(kind: str) -> tuple[str, str]:
    return _CONTROLS.get(kind) or (COLOURS[kind], MARKERS[kind])


def _handles(kinds: Sequence[str], baselines: Mapping[str, str]) -> list[Line2D]:
    handles = []
    for kind in kinds:
        colour, marker = _look(kind)
        handles.append(Line2D([], [], color=colour, marker=marker, ms=4, lw=1.3, label=named(kind)))
    lines = [Line2D([], [], color=GREY, ls=line, lw=0.9, label=n) for n, line in baselines.items()]
    return handles + lines

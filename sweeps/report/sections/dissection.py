"""Units that detect a concept, beside MIS: two answers to "can one understand it?"."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sweeps.plan.metrics import label
from sweeps.plan.section import Section
from sweeps.report.read.frames import SweepFrames
from sweeps.report.read.values import has
from sweeps.report.sections.lines import (
    draw_levels,
    draw_series,
    hue_handles,
    kind_handles,
    scatter_trials,
)
from sweeps.report.sections.series import (
    all_series,
    level_rows,
    line_rows,
    network_rows,
    series_in,
    tidy,
)
from sweeps.report.sections.style import (
    INK,
    MARKERS,
    label_ends,
    legend,
    new_figure,
    sparsity_axis,
)
from sweeps.report.statistics.population import compared

_WITHIN = "dissection/mis_within_layers"
_COUNTS = ("dissection/interpretable", "dissection/unique")


def _dissection(frames: SweepFrames) -> pd.DataFrame | str:
    trials = compared(frames.trials)
    if not has(trials, *_COUNTS):
        return "The networks of this sweep were not dissected."
    series = list(all_series(trials))
    rows = []
    for value in _COUNTS:
        rows += [row for each in series for row in line_rows(each, frames.trials, value)]
        rows += level_rows(frames.trials, value)
    rows += [row for each in series for row in network_rows(each, _COUNTS[0], "mis/mean")]
    return tidy(rows)


def _draw_dissection(table: pd.DataFrame) -> Figure:
    figure, panels = new_figure(3, 3.1)
    for axes, value in zip(panels, _COUNTS, strict=False):
        here = table[table["metric"] == value]
        for each in series_in(here):
            draw_series(axes, each, black=True)
        draw_levels(axes, here)
        sparsity_axis(axes, small=True)
        axes.set_title(label(value), fontsize=8.5, loc="left")
        axes.set_ylim(bottom=0)
    _beside_mis(panels[2], table[table["kind"] == "network"])
    series = series_in(table)
    legend(figure, [*hue_handles(series), *kind_handles(series, black=True)])
    return figure


def _beside_mis(axes: Axes, table: pd.DataFrame) -> None:
    for each in series_in(table):
        ink, rows = each.colour if each.retrained else INK, each.rows
        x, y, keys = rows[_COUNTS[0]], rows["value"], rows["keys"]
        scatter_trials(axes, x, y, keys, ink, MARKERS[each.hue])
    axes.set_xlabel(label(_COUNTS[0]))
    axes.set_title("MIS", fontsize=8.5, loc="left")


def _detectors(frames: SweepFrames) -> pd.DataFrame | str:
    if "detector" not in frames.of_dissected.columns or "mis" not in frames.of_units.columns:
        return "The networks of this sweep were not dissected."
    differences = pd.concat(
        within_layers(found, frames.of_units.read(set(found["key"]), ["layer", "channel", "mis"]))
        for found in frames.of_dissected.batches(["layer", "channel", "detector"])
    )
    if differences.empty:
        return "In no layer of any network are there units that detect a concept, and others."
    trials = frames.trials
    trials = trials.assign(**{_WITHIN: trials["key"].map(differences["difference"])})
    series = list(all_series(compared(trials)))
    rows = [row for each in series for row in line_rows(each, trials, _WITHIN)]
    if not rows:
        return "In no pruned network are there layers with units that detect a concept, and others."
    return tidy([*rows, *level_rows(trials, _WITHIN)])


def _draw_detectors(table: pd.DataFrame) -> Figure:
    figure, (axes,) = new_figure()
    series = series_in(table)
    for each in series:
        draw_series(axes, each, black=True)
    ends = draw_levels(axes, table)
    axes.axhline(0, color=INK, lw=0.9, zorder=0)
    label_ends(axes, ends)
    sparsity_axis(axes)
    axes.set_ylabel("MIS of detectors minus others")
    legend(axes, [*hue_handles(series), *kind_handles(series, black=True)])
    return figure


def within_layers(found: pd.DataFrame, units: pd.DataFrame) -> pd.DataFrame:
    """A row per network (by its key) that has a layer with both kinds of units: `difference`.

    The mean over layers of the difference of the two means, each layer weighted by n m / (n + m),
    as least squares with an intercept for each layer does. Units of networks and layers of other
    levels are never pooled.
    """
    unit, texts = ["key", "layer", "channel"], {"key": str, "layer": str}
    both = found[[*unit, "detector"]].astype(texts)
    both = both.merge(units[[*unit, "mis"]].astype(texts), on=unit).dropna(subset=["mis"])
    kinds = both.groupby(["key", "layer", both["detector"].astype(bool)])["mis"]
    table = kinds.agg(["mean", "size"]).unstack("detector").dropna()
    if table.empty or table["mean"].shape[1] < 2:
        return pd.DataFrame({"difference": []})
    n, m = table["size"][True], table["size"][False]
    parts = pd.DataFrame({"weight": n * m / (n + m)})
    parts["sum"] = parts["weight"] * (table["mean"][True] - table["mean"][False])
    sums = parts.groupby("key").sum()
    return pd.DataFrame({"difference": sums["sum"] / sums["weight"]})


DISSECTION = Section(
    "dissection",
    "Units that detect a concept",
    "Do sparser networks have fewer units that detect a concept?",
    "Network dissection beside MIS: two answers to whether one can understand a unit.",
    _dissection,
    _draw_dissection,
)
DETECTORS = Section(
    "detectors_and_mis",
    "MIS of detectors",
    "Are units that detect a concept those with a high MIS?",
    "Whether units that detect a concept are those with a high MIS: the difference to other "
    "units of the same network and layer. At 0 they are no clearer.",
    _detectors,
    _draw_detectors,
)

"""Class by class: how accurate a pruned network is, and which classes pay for pruning."""

import textwrap
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sweeps.plan.section import Section
from sweeps.report.read.answers import of_each
from sweeps.report.read.frames import SweepFrames
from sweeps.report.read.values import has, number, run_to_the_end, text
from sweeps.report.sections.lines import hue_handles
from sweeps.report.sections.series import Series, is_of_recipe, main_series, series_in, tidy
from sweeps.report.sections.style import COLOURS, GREY, INK, MARKERS, legend, named, new_figure
from sweeps.report.statistics.classes import (
    ClassChange,
    class_changes,
    class_sentence,
    corrected,
    wilson,
)
from sweeps.report.statistics.population import compared, training_of
from sweeps.report.statistics.questions import ERROR
from trainables.rates_file import KEEPS

NONE = (
    "The trials of this sweep left no answers (predictions.parquet): they are of an earlier version"
    ", or none ran to its end."
)
_SHOWN = 24  # classes in the picture
_AGAIN = "dense retrained"


def _classes(frames: SweepFrames) -> pd.DataFrame | str:
    asked: list[tuple[Series, float, str, list[str], list[ClassChange]]] = []
    for series in main_series(compared(frames.trials)):
        rate, keys = asked_about(series)
        tables, against = _beside_unpruned(frames, series, of_each(frames.of_predictions, keys))
        if tables:
            found = class_changes(list(tables.values()))
            asked.append((series, rate, against, list(tables), found))
    if not asked:
        return NONE
    rows: list[dict[str, Any]] = []
    sure = corrected([found for *_, found in asked])
    for (series, rate, against, keys, _), found in zip(asked, sure, strict=True):
        on = {"rate": rate, "against": against, "keys": ",".join(keys)}
        rows += [series.row("class", **on, **_row(each)) for each in found]
        all_in_all = sum(e.change * e.images for e in found) / sum(e.images for e in found)
        said = {"name": class_sentence(found), "metric": "val/top1_change", "value": all_in_all}
        rows.append(series.row("said", **on, **said))
    return tidy([*rows, *_control(frames)])


def _beside_unpruned(
    frames: SweepFrames, series: Series, tables: dict[str, pd.DataFrame]
) -> tuple[dict[str, pd.DataFrame], str]:
    """The same answers, `dense` being those of the network that was not pruned and otherwise made
    alike: retrained where these are, since training again changes answers by itself. Where some
    have no such control all stay beside the dense network. And what they are beside."""
    if not series.retrained or not tables:
        return tables, "dense"
    trials = frames.trials
    control = trials[(trials["method"] == "dense") & (trials["retraining"] == series.retraining)]
    alike = [is_of_recipe(series, recipe) for recipe in text(control, "recipe")]
    control = run_to_the_end(control[alike] if any(alike) else control)
    trained = training_of(trials)
    control = control.assign(of=control["key"].astype(str).map(trained)).drop_duplicates("of")
    answered = of_each(frames.of_predictions, control["key"].astype(str).tolist())
    of_training = dict(zip(control["of"], control["key"].astype(str), strict=True))
    found = {}
    for key, table in tables.items():
        other = answered.get(of_training.get(trained[key], ""))
        if other is None or str(other["images"].iloc[0]) != str(table["images"].iloc[0]):
            return tables, "dense"
        found[key] = table.assign(dense=other["answer_1"])
    return found, _AGAIN


def asked_about(series: Series) -> tuple[float, list[str]]:
    """The highest rate at which the networks keep most of their dense network's accuracy, else the
    lowest; and the keys of those that ran to their end."""
    trials = run_to_the_end(series.rows)
    if trials.empty or not has(trials, "val/top1", "val/top1_change"):
        return 0.0, []
    means = trials.groupby("rate")[["val/top1", "val/top1_change"]].mean().dropna()
    kept = means["val/top1"] / (means["val/top1"] - means["val/top1_change"])
    enough = kept.index[kept >= KEEPS]
    rate = float(enough.max() if len(enough) else kept.index.min())
    return rate, trials.loc[trials["rate"] == rate, "key"].astype(str).tolist()


def _control(frames: SweepFrames) -> list[dict[str, Any]]:
    """What training again does to classes without any pruning."""
    trials = frames.trials
    again = trials[(trials["method"] == "dense") & number(trials, "val/top1_change").notna()]
    tables = of_each(frames.of_predictions, run_to_the_end(again)["key"].astype(str).tolist())
    if not tables:
        return []
    keys = ",".join(tables)
    found = class_changes(list(tables.values()))
    # Nobody asks about the control: its p are of no use.
    rows = [{"kind": "control", "keys": keys, **_row(each)} for each in found]
    return [{n: v for n, v in row.items() if n not in ("p", "p_rest")} for row in rows]


def _row(each: ClassChange) -> dict[str, Any]:
    low, high = wilson(each.accuracy, each.images)
    dense_low, dense_high = wilson(each.dense, each.images)
    return {
        **{"name": each.name, "images": each.images, "n": each.trainings},
        **{"accuracy": each.accuracy, "accuracy_low": low, "accuracy_high": high},
        **{"dense": each.dense, "dense_low": dense_low, "dense_high": dense_high},
        **{"metric": "val/top1_change", "value": each.change, "low": each.low, "high": each.high},
        **{"p": each.p, "p_rest": each.p_rest, "agreement": each.agreement},
    }


def _draw(table: pd.DataFrame) -> Figure:
    classes = table[table["kind"] == "class"]
    names = _chosen(classes)
    place_of = {name: place for place, name in enumerate(names)}
    figure, panels = new_figure(2, 1.5 + 0.24 * len(names), sharey=True)
    left, right = panels
    series = series_in(classes)
    for number_, each in enumerate(series):
        rows = each.rows[each.rows["name"].isin(names)]
        at = rows["name"].map(place_of) + 0.5 * (number_ - (len(series) - 1) / 2) / len(series)
        look = {"color": COLOURS[each.hue], "marker": MARKERS[each.hue]}
        _bars(left, rows, at, ("accuracy", "accuracy_low", "accuracy_high"), look)
        _bars(right, rows, at, ("value", "low", "high"), look, hollow=rows["p"] >= ERROR)
    first = classes.drop_duplicates("name")
    dense = first[first["name"].isin(names)]
    left.plot(dense["dense"], dense["name"].map(place_of), "*", color=INK, ms=6, ls="", zorder=4)
    again = table[(table["kind"] == "control") & table["name"].isin(names)]
    if not again.empty:
        right.plot(again["value"], again["name"].map(place_of), "|", color=GREY, ms=9, ls="")
    right.axvline(0, color=INK, lw=0.9, zorder=0)
    left.set_yticks(range(len(names)), [textwrap.shorten(n, 24, placeholder="…") for n in names])
    left.set_ylim(len(names) - 0.4, -0.6)
    left.set_xlabel("accuracy of the class")
    right.set_xlabel("its change by pruning")
    figure.suptitle(_said(table), fontsize=7.5, x=0.01, ha="left")
    ink: dict[str, Any] = {"ls": "", "color": INK}
    handles = [
        *hue_handles(series, joined=False),
        Line2D([], [], marker="*", label="not pruned", **ink),
    ]
    if not again.empty:
        handles.append(Line2D([], [], marker="|", ls="", color=GREY, label="retraining alone"))
    handles.append(Line2D([], [], marker="o", mfc="none", label="hollow: within chance", **ink))
    legend(figure, handles)
    return figure


def _chosen(classes: pd.DataFrame) -> list[str]:
    """Classes by their mean change, the greatest loss first; of many both ends."""
    order = classes.groupby("name", sort=False)["value"].mean().sort_values(kind="stable")
    names = [str(name) for name in order.index]
    half = _SHOWN // 2
    return names if len(names) <= _SHOWN else [*names[:half], *names[-half:]]


def _bars(
    axes: Axes,
    rows: pd.DataFrame,
    at: pd.Series,
    columns: tuple[str, str, str],
    look: dict[str, str],
    hollow: "pd.Series | None" = None,
) -> None:
    value, low, high = (rows[column] for column in columns)
    axes.hlines(at, low, high, color=look["color"], lw=1, alpha=0.6)
    faces = [look["color"]] * len(rows)
    if hollow is not None:
        faces = ["none" if no else look["color"] for no in hollow]
    drawn = axes.scatter(
        value, at, s=20, marker=look["marker"], facecolors=faces, edgecolors=look["color"], zorder=3
    )
    drawn.set_urls([f"#{keys}" for keys in rows["keys"]])


def _said(table: pd.DataFrame) -> str:
    said = table[table["kind"] == "said"]
    lines = [
        f"{named(str(row['hue']))} at {row['rate']:g}, against {row['against']}: {row['name']}"
        for row in said.to_dict("records")
    ]
    return "\n".join(textwrap.fill(line, 110) for line in lines)


CLASSES = Section(
    "classes",
    "Class by class",
    "Which classes pay for pruning?",
    f"At the highest rate that keeps {KEEPS:g} of the dense network's accuracy (where none does, "
    "the lowest). Left with Wilson's 95 % intervals; right the change on the same images against "
    "the network that was not pruned, retrained where these are, with intervals that are not "
    "corrected; filled: beyond chance at 5 % (exact test of the images' signs, corrected for all "
    "classes and networks). Grey: what retraining alone changes of the dense network. Networks "
    "of several trainings are averaged: what is said is of these, on images like these. "
    f"Of more than {_SHOWN} classes those of the "
    "greatest loss and gain are drawn, the most extreme of many: partly by chance.",
    _classes,
    _draw,
)

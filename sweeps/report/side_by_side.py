"""One report over several studies: the same question on each, side by side.

What holds for one network and one data set may be theirs: nothing is called better before it is on
at least `FEWEST_PAIRS` pairs of them (Blalock et al. 2020, arXiv 2003.03033, Sec. 6).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure
from rich.console import Console
from rich.markup import escape

from sweeps.plan.primary import Primary
from sweeps.report.files import PAGE, replaced, report_folder
from sweeps.report.read.frames import latest_sweep, open_tracker, read_trials
from sweeps.report.read.pairs import pairs
from sweeps.report.read.values import number, run_to_the_end, text
from sweeps.report.sections.series import main_series
from sweeps.report.sections.style import GREY, INK, new_figure, save_titled
from sweeps.report.statistics.population import STRATA, compared
from sweeps.report.statistics.questions import ERROR, answers, rate_column
from sweeps.report.statistics.sentences import sentence
from sweeps.studies import name_of
from sweeps.tracking.parents import PRIMARY

FEWEST_PAIRS = 3
"""Pairs of network and data below which no method is called better."""

_NAMES = ("answers", "methods", "report")


def report_studies(studies: Sequence[str], results: Path, console: Console) -> int:
    """`secateur report A B …`: the latest sweeps of studies, from MLflow alone.

    Raises ValueError for a study that is named twice, or that MLflow does not hold.
    """
    names = [name_of(study) for study in studies]
    if len(set(names)) < len(names):
        raise ValueError(f"studies must be named once each, got {', '.join(names)}")
    results = results.resolve()
    told = {}
    for name in names:
        tracker = open_tracker(name, results)
        sweep = latest_sweep(tracker, None)
        told[name] = (read_trials(tracker, sweep), sweep.data.tags.get(PRIMARY, ""))
    folder = report_folder(results, "+".join(names))
    write_side_by_side(told, folder)
    console.print(f"The studies side by side: {escape(str(folder / PAGE))}", soft_wrap=True)
    return 0


def write_side_by_side(told: dict[str, tuple[pd.DataFrame, str]], folder: Path) -> None:
    """The page, its two tables and the figure. told: study -> its trials, its primary question."""
    asked = pd.concat([answers_of(name, *each) for name, each in told.items()], ignore_index=True)
    ranked = pd.concat([methods_of(name, trials) for name, (trials, _) in told.items()])
    with replaced(folder, _NAMES) as partial:
        asked.to_csv(partial / "answers.csv", index=False)
        ranked.to_csv(partial / "methods.csv", index=False)
        figure = draw(asked)
        figure.draw_without_rendering()
        save_titled(figure, partial / "answers", "The same questions", ", ".join(told))
        (partial / PAGE).write_text(_page(asked, ranked), encoding="utf-8")


def answers_of(study: str, trials: pd.DataFrame, primary: str) -> pd.DataFrame:
    """A row per question, stratum and, where there are two, training of a study; p are corrected
    within it, as its own report does."""
    rows = []
    labels = _labels(trials, pairs(trials))
    found = answers(trials, rate=rate_column(trials), primary=Primary.read(primary))
    for each in found:
        question, slope = each.question, each.slope
        pair = labels.get(each.population.pair, pair_of(trials))
        row: dict[str, Any] = {"study": study, "pair": pair, "x": question.x}
        row |= {"y": question.y, "at_equal_accuracy": question.at_accuracy, "n": each.n}
        row |= {"trials": each.population.stratum, "primary": each.primary}
        row |= {"trainings": ", ".join(each.population.trainings), "verdict": each.verdict}
        row |= {"asked": _title(question.y_name, question.x_name, question.at_accuracy)}
        row |= {"change": np.nan, "low": np.nan, "high": np.nan, "p": each.p}
        if slope is not None:
            row |= {"change": slope.change, "low": slope.low, "high": slope.high}
        rows.append(row | {"said": sentence(each)})
    return pd.DataFrame(rows)


def _title(y: str, x: str, at_accuracy: bool) -> str:
    return f"{y} and {x}" + (", at equal accuracy" if at_accuracy else "")


def pair_of(trials: pd.DataFrame) -> str:
    """Network and data of a study, all that occur."""
    parts = [sorted(set(text(trials, c)) - {""}) for c in ("network.name", "data.name")]
    return " on ".join(" / ".join(part) or "?" for part in parts)


def _labels(trials: pd.DataFrame, apart: Mapping[str, "pd.Series[bool]"]) -> dict[str, str]:
    """What each pair of a study is called -> its network and data, and what else tells it apart."""
    found = {name: pair_of(trials[rows]) for name, rows in apart.items()}
    several = Counter(found.values())
    return {n: pair if several[pair] == 1 else f"{pair} ({n})" for n, pair in found.items()}


def methods_of(study: str, trials: pd.DataFrame) -> pd.DataFrame:
    """A row per method and rate: mean top-1 over seeds of the networks of its main line that ran to
    their end, and whether it is the highest of that rate."""
    apart = pairs(trials)
    found = [
        (pair, series)
        for pair, rows in zip(_labels(trials, apart).values(), apart.values(), strict=True)
        for series in main_series(compared(trials[rows]))
    ]
    rows = []
    for pair, series in found:
        own = run_to_the_end(series.rows)
        for rate, top1 in number(own, "val/top1").groupby(own["rate"]):
            if top1.notna().any():
                row = {"study": study, "pair": pair, "rate": rate, "method": series.hue}
                rows.append(row | {"top1": top1.mean(), "n": int(top1.notna().sum())})
    columns = ["study", "pair", "rate", "method", "top1", "n"]
    table = pd.DataFrame(rows, columns=columns)
    highest = table.groupby(["pair", "rate"])["top1"].transform("max")
    return table.assign(best=table["top1"].eq(highest) & highest.notna())


def best_sentence(ranked: pd.DataFrame) -> str:
    """Which method has the highest top-1 at every rate that a pair of network and data compares, on
    how many pairs; "" where none compares methods."""
    counts = ranked.groupby(["study", "pair", "rate"])["method"].transform("nunique")
    rivals = ranked[counts > 1]
    if rivals.empty:
        return ""
    each = rivals.groupby(["pair", "study", "rate", "method"])["best"].any()  # of all its recipes
    n_best = each.groupby(["pair", "method"]).sum()  # also of rates where it did not run
    asked = rivals.drop_duplicates(["pair", "study", "rate"])["pair"].value_counts().to_dict()
    at_all = n_best == pd.Series([asked[pair] for pair, _ in n_best.index], index=n_best.index)
    n_pairs = rivals["pair"].nunique()
    most = at_all.groupby("method").sum().sort_values(ascending=False, kind="stable")
    name, n = str(most.index[0]), int(most.iloc[0])
    if n == 0:
        return f"On none of {n_pairs} pairs of network and data is one method best at every rate."
    said = f"{name} is best at every rate on {n} of {n_pairs} pairs of network and data"
    if n < FEWEST_PAIRS:
        return f"{said}: from {FEWEST_PAIRS} on a method may be called better, so none is here."
    return f"{said}."


def draw(asked: pd.DataFrame) -> Figure:
    """A panel per question that a study can answer: the change of each study, with its interval."""
    there = asked[np.isfinite(asked["change"].astype(float))]
    questions = list(dict.fromkeys(there["asked"])) or ["nothing that can be asked"]
    studies = list(dict.fromkeys(asked["study"]))
    lines = [(study, stratum) for study in studies for stratum in STRATA]
    height = 0.7 + len(questions) * (0.45 + 0.17 * len(lines))
    figure, panels = new_figure(1, height, rows=len(questions))
    for axes, question in zip(panels, questions, strict=True):
        for place, (study, stratum) in enumerate(lines):
            own = there[(there["asked"] == question) & (there["study"] == study)]
            own = own[own["trials"] == stratum]
            for row in own.to_dict("records"):
                ink = INK if row["p"] < ERROR else GREY
                axes.hlines(place, row["low"], row["high"], color=ink, lw=1.2)
                axes.plot(row["change"], place, "o", color=ink, ms=4)
        axes.axvline(0, color=GREY, lw=0.9, zorder=0)
        axes.set_yticks(range(len(lines)), [f"{s}, {STRATA[stratum]}" for s, stratum in lines])
        axes.set_ylim(len(lines) - 0.5, -0.5)
        axes.set_title(question, fontsize=8.5, loc="left")
    panels[-1].set_xlabel("change over the range; black: beyond chance, corrected within its study")
    return figure


def _page(asked: pd.DataFrame, ranked: pd.DataFrame) -> str:
    environment = Environment(
        loader=PackageLoader("sweeps.report", "page"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    studies = asked[["study", "pair"]].drop_duplicates().to_dict("records")
    questions = [
        {"title": title, "answers": rows.to_dict("records")}
        for title, rows in asked.groupby("asked", sort=False)
    ]
    return environment.get_template("side_by_side.html").render(
        studies=studies,
        questions=questions,
        best=best_sentence(ranked),
        methods=ranked.sort_values(["rate", "study", "method"]).to_dict("records"),
        strata=STRATA,
        report=PAGE,
    )

"""The report as one HTML page that needs nothing beside itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from sweeps.plan.section import Section
from sweeps.report.checks.check import Check
from sweeps.report.findings import Findings, n_exploratory
from sweeps.report.page.table import COLUMNS, cell, ordered
from sweeps.report.page.words import beside_released, purpose_fields, summary_sentences
from sweeps.report.read.frames import SweepFrames
from sweeps.report.sections.style import GREY, PALETTE
from sweeps.report.statistics.margin import FRACTION
from sweeps.report.statistics.questions import Answer
from sweeps.report.statistics.sentences import sentence

_DARK = {  # the palette on dark paper: the same hues, lighter
    "#0072b2": "#4da9e4",
    "#56b4e9": "#9bd5f7",
    "#d55e00": "#f58a48",
    "#e69f00": "#f4bd45",
    "#009e73": "#35c79c",
    "#cc79a7": "#e4a3c6",
    "#332288": "#9d8fe0",
    "#882255": "#d9709f",
    "#999933": "#cdcd6a",
    "#117733": "#58b978",
    "#44aa99": "#7ad3c4",
    "#8a5a2b": "#c99a66",
    "#6a3d9a": "#b195dd",
    GREY: "#8f959b",
}
_SYMBOLS = {"failed": "✗", "unknown": "?", "ok": "✓"}


@dataclass(frozen=True)
class Drawing:
    """What a section shows of one pair of network and data ("" of a sweep's only one). svg: ""
    where there is nothing to draw; absent says why."""

    pair: str = ""
    svg: str = ""
    absent: str = ""


@dataclass(frozen=True)
class Shown:
    """A section on the page, with its drawings."""

    section: Section
    drawings: tuple[Drawing, ...]

    @property
    def is_drawn(self) -> bool:
        return any(drawing.svg for drawing in self.drawings)

    @property
    def absent(self) -> str:
        """Why nothing is drawn, each reason once."""
        return " ".join(dict.fromkeys(drawing.absent for drawing in self.drawings))


class Linked(Protocol):
    """The atlases beside the page. pages: page -> the pair that it is of, none where there is no
    atlas; page_of: trial key -> its page; said: a sentence about what is not shown."""

    @property
    def pages(self) -> Mapping[str, str]: ...

    @property
    def page_of(self) -> Mapping[str, str]: ...

    @property
    def said(self) -> str: ...


def render(
    frames: SweepFrames, found: Findings, figures: Sequence[Shown], atlas: Linked | None = None
) -> str:
    """The page."""
    environment = Environment(
        loader=PackageLoader("sweeps.report", "page"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    headline, fields = purpose_fields(frames.purpose)
    shown = [s for s in figures if s.is_drawn]
    return environment.get_template("page.html").render(
        study=frames.study,
        sweep_key=frames.sweep_key,
        address=frames.address,
        headline=headline,
        fields=fields,
        summary=summary_sentences(frames),
        caption=frames.caption,
        checks=_checks(found.checks),
        n_checks={s: sum(c.status == s for c in found.checks) for s in _SYMBOLS},
        paper=[s for s in shown if s.section.number],
        beyond=[s for s in shown if not s.section.number],
        absent=[s for s in figures if not s.is_drawn],
        overlay=beside_released(frames),
        questions=_questions(found.answers),
        asked=any(answer.primary for answer in found.answers),
        fraction=f"{FRACTION:g}",
        margin=_margin(found.answers),
        n_tests=n_exploratory(found.answers),
        over=found.over,
        survival=found.survival,
        matched=found.matched,
        scores=found.scores,
        columns=_columns(frames.trials),
        rows=_rows(frames),
        gaps=frames.gaps,
        missing=frames.missing,
        unfinished=frames.unfinished.to_dict("records"),
        stopped=_stopped(frames.trials),
        hours=float(frames.trials["seconds"].sum()) / 3600,
        colours=_colours(),
        atlases=_atlases(atlas) if atlas else [],
        page_of=atlas.page_of if atlas else {},
        atlas_said=atlas.said if atlas else "",
    )


def _atlases(atlas: Linked) -> list[tuple[str, str, int]]:
    """Page, pair, and how many networks it shows."""
    shown = list(atlas.page_of.values())
    return [(page, pair, shown.count(page)) for page, pair in atlas.pages.items()]


def _checks(checks: Sequence[Check]) -> list[dict[str, str]]:
    order = list(_SYMBOLS)
    return [
        {"status": c.status, "symbol": _SYMBOLS[c.status], "name": c.name, "said": c.said}
        for c in sorted(checks, key=lambda c: order.index(c.status))
    ]


def _colours() -> dict[str, tuple[str, str]]:
    """Variable -> the colour on light and on dark paper."""
    return {f"--c{c[1:]}": (c, _DARK[c]) for c in (*PALETTE, GREY)}


def _margin(answers: Sequence[Answer]) -> str:
    """The smallest change that is of interest; "" where no gap is known to be above 0."""
    margins = {f"{a.equivalence.margin:.3f}" for a in answers if a.equivalence is not None}
    return " to ".join(sorted({min(margins), max(margins)})) if margins else ""


def _questions(answers: Sequence[Answer]) -> list[dict[str, object]]:
    """A question with its answers, the strata in their order; first what was asked beforehand."""
    grouped: dict[tuple[bool, str], list[Answer]] = {}
    for answer in sorted(answers, key=lambda a: not a.primary):
        question = answer.question
        title = f"{question.y_name} and {question.x_name}"
        title += ", at equal accuracy" if question.at_accuracy else ""
        grouped.setdefault((answer.primary, title), []).append(answer)
    return [
        {
            "title": f"Asked beforehand: {title}" if primary else title,
            "at_accuracy": group[0].question.at_accuracy,
            "primary": primary,
            "answers": [_answer(answer) for answer in group],
        }
        for (primary, title), group in grouped.items()
    ]


def _answer(answer: Answer) -> dict[str, object]:
    slope, small, names = answer.slope, answer.equivalence, answer.population.trainings
    pair = answer.population.pair
    of = names[0] if len(names) == 1 and slope is not None else ""
    return {
        "stratum": ", ".join(filter(None, dict.fromkeys([answer.population.stratum, pair, of]))),
        "n": answer.n,
        "verdict": answer.verdict,
        "sentence": sentence(answer),
        "change": "" if slope is None else f"{slope.change:+.3f}",
        "interval": "" if slope is None else f"{slope.low:+.3f} … {slope.high:+.3f}",
        "p": "" if slope is None else _p(answer.p),
        "margin": "" if small is None else f"{small.margin:.3f}",
        "equivalence": "" if small is None else _p(answer.p_equivalence),
        "correlations": [
            {
                "over": c.over,
                "kind": {"pearson": "Pearson", "spearman": "Spearman"}[c.kind],
                "value": f"{c.value:+.2f}",
                "interval": "" if c.low != c.low else f"{c.low:+.2f} … {c.high:+.2f}",
                "n": c.n,
            }
            for c in answer.correlations
        ],
    }


def _p(value: float) -> str:
    return "< .001" if value < 0.001 else f"{value:.3f}".removeprefix("0")


def _stopped(trials: pd.DataFrame) -> list[tuple[str, str, str]]:
    """Key, label and reason of the trials that were stopped early."""
    if "stopped" not in trials:
        return []
    rows = trials[trials["stopped"].fillna("").astype(bool)]
    return list(zip(rows["key"], rows["label"], rows["stopped"], strict=True))


def _columns(trials: pd.DataFrame) -> list[str]:
    return [c.heading for c in COLUMNS if c.name in trials and trials[c.name].notna().any()]


def _rows(frames: SweepFrames) -> list[dict[str, object]]:
    """A row per trial: its cells are (text, error, value to sort by)."""
    columns = [c for c in COLUMNS if c.heading in _columns(frames.trials)]
    rows = []
    for row in ordered(frames.trials).to_dict("records"):
        cells = []
        for column in columns:
            value, error = row.get(column.name), row.get(column.error)
            known = isinstance(error, float) and error == error and value == value
            sort = value if isinstance(value, float) and value == value else ""
            cells.append((cell(column, value), f"{error:.3f}" if known else "", sort))
        rows.append(
            {
                "key": row["key"],
                "label": row["label"],
                "outcome": row["outcome"],
                "recipe": row["recipe"],
                "address": frames.run_address(str(row["run_id"])),
                "cells": cells,
            }
        )
    return rows

"""What is said of a sweep beside its figures: checks, answers, and what they are over."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from sweeps.plan.primary import Primary
from sweeps.report.checks.all import checks
from sweeps.report.checks.check import Check
from sweeps.report.read.frames import SweepFrames
from sweeps.report.read.pairs import pairs
from sweeps.report.statistics.agreement import agreement_sentences
from sweeps.report.statistics.matched import matched_subset
from sweeps.report.statistics.population import STRATA, choose, prepared
from sweeps.report.statistics.questions import Answer, answers, is_primary, questions, rate_column
from sweeps.report.statistics.sentences import (
    left_out_sentence,
    matched_sentence,
    sentence,
    survivorship_sentence,
)
from sweeps.report.statistics.survivors import survivorship


@dataclass(frozen=True)
class Findings:
    """over: which networks figures and answers are of, and which are left out. survival: what
    leaving out stopped and collapsed trials would change; "" where there were none. matched: of
    each kind of networks, those that work as well as their control. scores: whether all scores of
    units say the same, and which see units."""

    checks: Sequence[Check]
    answers: Sequence[Answer]
    over: str
    survival: str
    matched: Sequence[str]
    scores: Sequence[str] = ()


def findings(frames: SweepFrames) -> Findings:
    """Of a sweep; never raises for what its trials lack."""
    failed = int((frames.unfinished["status"] == "FAILED").sum())
    made = checks(frames.trials, units=frames.of_units, missing=frames.missing, failed=failed)
    trials, rate = prepared(frames.trials), rate_column(frames.trials)
    primary = Primary.read(frames.primary)
    asked = [
        (question, stratum)
        for question in questions(rate)
        for stratum in STRATA
        if is_primary(question, stratum, primary)
    ]
    question, stratum = asked[0] if asked else (questions(rate)[0], "all")
    everyone = choose(trials, rate, "mis/mean")
    over = f"Figures and answers are over the same {len(everyone.points)} pruned networks."
    apart = {name: trials[rows] for name, rows in pairs(trials).items()}
    return Findings(
        checks=made,
        answers=answers(trials, rate=rate, primary=primary),
        over=f"{over} {left_out_sentence(everyone)}".strip(),
        survival=survivorship_sentence(survivorship(trials, question, stratum)),
        matched=_of_each(apart, _matched),
        scores=_of_each(apart, agreement_sentences),
    )


def _of_each(
    apart: Mapping[str, pd.DataFrame], said: Callable[[pd.DataFrame], list[str]]
) -> list[str]:
    """What is said of each pair of network and data, with its name where there are several."""
    return [
        f"{name}: {each}" if name else each for name, own in apart.items() for each in said(own)
    ]


def _matched(trials: pd.DataFrame) -> list[str]:
    known = ((matched_subset(trials, stratum), stratum) for stratum in STRATA)
    return [matched_sentence(found, stratum) for found, stratum in known if found]


def n_exploratory(found: Sequence[Answer]) -> int:
    """How many tests the exploratory answers were corrected for."""
    return max((each.n_tests for each in found if not each.primary), default=0)


def statistics_table(found: Sequence[Answer]) -> pd.DataFrame:
    """A row per answer; p are adjusted for all that was asked, intervals are not."""
    rows = []
    for answer in found:
        slope, question, names = answer.slope, answer.question, answer.population.trainings
        row: dict[str, object] = {"x": question.x, "y": question.y, "n": answer.n}
        row |= {"at_equal_accuracy": question.at_accuracy, "primary": answer.primary}
        row |= {"pair": answer.population.pair} if answer.population.pair else {}
        row |= {"trials": answer.population.stratum, "trainings": ", ".join(names)}
        row |= {"verdict": answer.verdict, "said": sentence(answer)}
        if slope is not None:
            row |= {"over": slope.over, "change": slope.change, "low": slope.low}
            row |= {"high": slope.high, "df": slope.df, "p_alone": slope.p, "p": answer.p}
        if answer.equivalence is not None:
            row |= {"margin": answer.equivalence.margin}
            row |= {"p_equivalence_alone": answer.equivalence.p}
            row |= {"p_equivalence": answer.p_equivalence}
        for each in answer.correlations:
            name = f"{each.kind} {each.over}"
            name += f" {each.training}" if each.training and len(names) > 1 else ""
            row[name] = each.value
            if not math.isnan(each.low):
                row |= {f"{name} low": each.low, f"{name} high": each.high}
        rows.append(row)
    return pd.DataFrame(rows)

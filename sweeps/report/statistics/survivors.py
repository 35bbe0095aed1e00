"""Asked both ways: with the trials that were stopped or collapsed, and without them."""

from dataclasses import dataclass

import pandas as pd

from sweeps.report.statistics.margin import gaps
from sweeps.report.statistics.population import choose, prepared
from sweeps.report.statistics.questions import Answer, Question, decide

OUTCOMES = {"stopped": "stopped early", "collapsed": "collapsed (a layer was pruned whole)"}
"""Outcome of a trial -> what became of it."""


@dataclass(frozen=True)
class Survivorship:
    """What would be concluded, had the n trials of one outcome been left out.

    Each way the question is judged by itself, at 5 %; two trainings have an answer each.
    """

    outcome: str
    n: int
    everyone: tuple[Answer, ...]
    survivors: tuple[Answer, ...]

    @property
    def changes(self) -> bool:
        """Whether the conclusion would be another: another verdict, or another direction."""
        return [*map(_conclusion, self.everyone)] != [*map(_conclusion, self.survivors)]


def survivorship(
    trials: pd.DataFrame, question: Question, stratum: str = "all"
) -> tuple[Survivorship, ...]:
    """For each outcome that left any such trial among those asked."""
    trials = prepared(trials)
    known, everyone = gaps(trials), choose(trials, question.x, question.y, stratum)
    found = []
    for outcome in OUTCOMES:
        gone = everyone.points["outcome"] == outcome
        if gone.any():
            both = (decide(question, each, known) for each in (everyone, everyone.only(~gone)))
            found.append(Survivorship(outcome, int(gone.sum()), *both))
    return tuple(found)


def _conclusion(found: Answer) -> tuple[str, bool]:
    if found.slope is None or not found.verdict.startswith("related"):
        return found.verdict, False
    return found.verdict, found.slope.change > 0

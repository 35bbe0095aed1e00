"""Are the classes that a network gets right those whose unit one can understand?"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from sweeps.report.statistics.trainings import LEVEL, MIN_TRAININGS, over_trainings

_FEWEST = 5  # classes whose order is compared
Pair = tuple[np.ndarray, np.ndarray]
"""float [class] each: two values for each class."""


@dataclass(frozen=True)
class Relation:
    """Spearman's rank correlation of two values of classes, with its interval.

    over: "trainings" where there are `MIN_TRAININGS`, else "classes", within this training. n: how
    many of these. low, high: NaN where none can be told.
    """

    value: float
    low: float
    high: float
    over: str
    n: int


def class_units(units: pd.DataFrame, answers: pd.DataFrame) -> pd.DataFrame:
    """A row per class: class, images, accuracy (fraction), mis, dense_mis and dense_accuracy where
    they are known; layer and channel of its unit.

    units: of one trial, those of the output layer among them: its last layer, of as many channels
    as there are classes; unit k is that of class k. answers: of the same trial, see
    `trainables.training.answers`. Empty where the last layer's units are not the classes', or none
    of them has a score.
    """
    if units.empty or answers.empty:
        return pd.DataFrame()
    outputs = units[units["layer"].astype(str) == str(units["layer"].iloc[-1])]
    right = (answers["answer_1"] == answers["truth"]).astype(float)
    by_class = right.groupby(answers["truth"].to_numpy()).agg(["mean", "size"])
    if len(outputs) <= by_class.index.max() or outputs["channel"].nunique() != len(outputs):
        return pd.DataFrame()
    outputs = outputs[outputs["state"] == "alive"].set_index("channel")
    names = answers.drop_duplicates("truth").set_index("truth")["class"].astype(str)
    table = pd.DataFrame(
        {"class": names, "images": by_class["size"], "accuracy": by_class["mean"]}
    ).sort_index()
    if "dense" in answers:
        was_right = (answers["dense"] == answers["truth"]).astype(float)
        table["dense_accuracy"] = was_right.groupby(answers["truth"].to_numpy()).mean()
    for name in ("mis", "dense_mis"):
        if name in outputs:
            table[name] = outputs[name]
    table = table.assign(layer=str(units["layer"].iloc[-1]), channel=table.index)
    return table.dropna(subset=["mis"]).reset_index(drop=True)


def relation(trainings: Sequence[Sequence[Pair]]) -> Relation | None:
    """The rank correlation of two values over classes; None where fewer than five classes differ.

    trainings: of each, the pairs of its trials, whose correlations are averaged: trials that share
    a dense network are one. Of several trainings the mean of theirs, and where there are
    `MIN_TRAININGS` its 95 % interval by t over trainings. Of fewer the interval is over classes, by
    Fisher's z with the variance (1 + r^2 / 2) / (n - 3) of Bonett & Wright 2000 (doi
    10.1007/BF02294183, eq. 6), of the first training alone, and as wide as that of one trial.
    """
    comparable = [[both for pair in own if len(both := _comparable(*pair))] for own in trainings]
    known = [own for own in comparable if own]
    values = np.array(
        [np.mean([float(stats.spearmanr(*both).statistic) for both in own]) for own in known]
    )
    if not len(values):
        return None
    if len(values) >= MIN_TRAININGS:
        low, high = over_trainings(values).interval(LEVEL)
        low, high = max(low, -1.0), min(high, 1.0)
        return Relation(float(values.mean()), low, high, "trainings", len(values))
    n, value = min(both.shape[1] for both in known[0]), float(values[0])
    if abs(value) > 1 - 1e-9:
        return Relation(value, math.nan, math.nan, "classes", n)
    half = stats.norm.ppf((1 + LEVEL) / 2) * math.sqrt((1 + value**2 / 2) / (n - 3))
    middle = math.atanh(value)
    return Relation(value, math.tanh(middle - half), math.tanh(middle + half), "classes", n)


def _comparable(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """float [2, class]: both values of the classes that have both; empty where fewer than five do,
    or all have the same."""
    both = np.stack([x, y])[:, np.isfinite(x) & np.isfinite(y)]
    if both.shape[1] < _FEWEST or (np.ptp(both, axis=1) == 0).any():
        return np.empty(0)
    return both

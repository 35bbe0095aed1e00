"""Values of the trials, also where MLflow has text for them or a sweep has none."""

import numpy as np
import pandas as pd

from trainables.methods import GIVEN, METHODS

HALVES = ("val/top1_a", "val/top1_b")
"""Accuracy on two halves of the validation images."""

_AS_THEY_ARE = ("none", "recalibrate")  # ways of retraining that train nothing


def text(trials: pd.DataFrame, column: str) -> pd.Series:
    """As str; "" where it is missing, as in a frame without the column."""
    if column not in trials:
        return pd.Series("", index=trials.index)
    return trials[column].astype("object").map(lambda v: "" if v is None or v != v else str(v))


def number(trials: pd.DataFrame, column: str) -> pd.Series:
    """As float; NaN where it is missing or no number."""
    if column not in trials:
        return pd.Series(np.nan, index=trials.index)
    return pd.to_numeric(trials[column], errors="coerce").astype(float)


def flag(trials: pd.DataFrame, column: str) -> pd.Series:
    """As bool; False where it is missing."""
    return text(trials, column).isin(["True", "1", "1.0"])


def params_of(trials: pd.DataFrame) -> list[dict[str, str]]:
    """The params of each trial, under their dotted names."""
    return [
        {str(name): value for name, value in row.items() if isinstance(value, str)}
        for row in trials.assign(seed=text(trials, "seed")).to_dict("records")
    ]


def within_layers(trials: pd.DataFrame) -> pd.Series:
    """Whether a trial is pruned by chance with a criterion's own numbers per layer."""
    return ~text(trials, "prune.counts_of").isin(["", "None"])


def is_pruned(trials: pd.DataFrame) -> pd.Series:
    """Whether a trial's network is pruned: not the dense or the untrained one."""
    return text(trials, "method").isin([*METHODS, GIVEN])


def is_pruned_here(trials: pd.DataFrame) -> pd.Series:
    """Likewise, by a method of ours, and not before it came."""
    return text(trials, "method").isin(METHODS)


def is_dense(trials: pd.DataFrame) -> pd.Series:
    """Whether a trial is a dense network as it is, not trained again."""
    return (text(trials, "method") == "dense") & (text(trials, "retraining") == "none")


def is_retrained(trials: pd.DataFrame) -> pd.Series:
    """Whether a trial trains its network after pruning, or a dense one again."""
    return ~text(trials, "retraining").isin(_AS_THEY_ARE)


def was_stopped(trials: pd.DataFrame) -> pd.Series:
    """Whether a trial was stopped early: its accuracy is not what it would have come to."""
    return text(trials, "outcome") == "stopped"


def is_accuracy(value: str) -> bool:
    """Whether a metric tells how well a network works, which more training changes."""
    return value.startswith("val/")


def run_to_the_end(trials: pd.DataFrame) -> pd.DataFrame:
    """The trials whose accuracy is final: all that compares accuracies is of these."""
    return trials[~was_stopped(trials)]


def has(trials: pd.DataFrame, *columns: str) -> bool:
    """Whether any trial has a value of each."""
    return all(column in trials and trials[column].notna().any() for column in columns)


def top1_by_recipe(trials: pd.DataFrame) -> "pd.Series[float]":
    """Recipe -> mean top-1 of these trials over their seeds; without recipes that have none."""
    return number(trials, "val/top1").groupby(text(trials, "recipe")).mean().dropna()


def baseline(trials: pd.DataFrame, method: str, retraining: str, value: str) -> float:
    """The mean over seeds of a network that is not pruned; NaN where there is none. Retrained by
    several recipes, it is that of the recipe which most pruned networks have."""
    if value not in trials:
        return float("nan")
    rows = trials[(trials["method"] == method) & (trials["retraining"] == retraining)]
    recipe = text(rows, "recipe")
    if recipe.nunique() > 1:
        shared = text(trials[is_pruned(trials)], "recipe").value_counts()
        counts = {name: int(shared.get(name, 0)) for name in dict.fromkeys(recipe)}
        rows = rows[recipe == max(counts, key=lambda name: counts[name])]
    return float(rows[value].mean())

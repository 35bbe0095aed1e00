"""The best network of every method and rate."""

import pandas as pd

from sweeps.report.read.values import (
    HALVES,
    flag,
    is_pruned,
    number,
    text,
    was_stopped,
    within_layers,
)
from trainables.methods import METHODS


def best_trials(trials: pd.DataFrame) -> pd.DataFrame:
    """The trial with the highest top-1 of every method and rate, and of the dense networks.

    Without controls that prune the most important first, or by chance with a criterion's numbers,
    networks whose masks were not held (which are not at their rate), trials that were stopped
    early, and those without a finite top-1.
    """
    return _best_by(trials, number(trials, "val/top1"))


def optimism(trials: pd.DataFrame) -> float:
    """By how much the best of a choice are too good, for having been chosen by chance, too.

    The mean of top-1 on one half of the validation images minus the other, of the networks that
    `best_trials` would choose on the first; either half first. A choice on all images errs by
    less. NaN where the halves were not measured, or nothing was chosen among several.
    """
    halves = [number(trials, name) for name in HALVES]
    gone = []
    for first, second in (halves, halves[::-1]):
        pruned = is_pruned(trials)
        best = _best_by(trials[pruned], first[pruned])
        sizes = trials[pruned].groupby(["method", "rate"]).size()
        several = [sizes[row] > 1 for row in zip(best["method"], best["rate"], strict=True)]
        gone.append((first - second)[best.index[several]])
    return float(pd.concat(gone).mean())


def _best_by(trials: pd.DataFrame, top1: pd.Series) -> pd.DataFrame:
    meant = (text(trials, "held") != "False") & ~within_layers(trials)
    meant &= ~flag(trials, "most_important_first") & ~was_stopped(trials)
    meant &= top1.abs().lt(float("inf"))
    order = {name: place for place, name in enumerate(["dense", *METHODS])}
    keys = {"top1": -top1, "place": trials["method"].map(order)}
    chosen = trials.assign(**keys)[meant & keys["place"].notna()]
    ordered = chosen.sort_values(["place", "rate", "top1", "key"])
    return ordered.drop_duplicates(["method", "rate"]).drop(columns=list(keys))

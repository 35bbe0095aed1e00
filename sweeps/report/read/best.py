"""The best network of every method and rate."""

import pandas as pd

from sweeps.report.read.pairs import pairs
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
    """The trial with the highest top-1 of every method and rate, and of the dense networks, of each
    pair of network and data.

    Without controls that prune the most important first, or by chance with a criterion's numbers,
    networks whose masks were not held (which are not at their rate), trials that were stopped
    early, and those without a finite top-1.
    """
    own = [trials[rows] for rows in pairs(trials).values()]
    return pd.concat([_best_by(each, number(each, "val/top1")) for each in own])


def optimism(trials: pd.DataFrame) -> float:
    """By how much the best of a choice are too good, for having been chosen by chance, too.

    The mean of top-1 on one half of the validation images minus the other, of the networks that
    `best_trials` would choose on the first; either half first. A choice on all images errs by
    less. NaN where the halves were not measured, or nothing was chosen among several.
    """
    gone = []
    for rows in pairs(trials).values():
        pruned = trials[rows & is_pruned(trials)]
        sizes = pruned.groupby(["method", "rate"]).size()
        halves = [number(pruned, name) for name in HALVES]
        for first, second in (halves, halves[::-1]):
            best = _best_by(pruned, first)
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

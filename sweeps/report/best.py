"""The best network of every method and rate."""

import pandas as pd

from sweeps.report.values import number
from trainables.config import METHODS


def best_trials(trials: pd.DataFrame) -> pd.DataFrame:
    """The trial with the highest top-1 of every method and rate, and of the dense networks.

    Without controls that prune the most important first, networks whose masks were not held
    (which are not at their rate), and trials without a finite top-1.
    """
    top1 = number(trials, "val/top1")
    meant = trials["held"] & ~trials["most_important_first"] & top1.abs().lt(float("inf"))
    order = {name: place for place, name in enumerate(["dense", *METHODS])}
    keys = {"top1": -top1, "place": trials["method"].map(order)}
    chosen = trials.assign(**keys)[meant & keys["place"].notna()]
    ordered = chosen.sort_values(["place", "rate", "top1", "key"])
    return ordered.drop_duplicates(["method", "rate"]).drop(columns=list(keys))

"""The best of a search, and of the grid beside it, run again where nothing was chosen by them."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from sweeps.plan.fronts import on_front
from sweeps.plan.metrics import SAVED
from sweeps.plan.space import Search
from trainables.config import TrialConfig

Metrics = Mapping[str, Mapping[str, float]]
"""Trial key -> what it ended with, by metric."""


def winners(
    search: Search, configs: Iterable[TrialConfig], metrics: Metrics, n: int
) -> list[TrialConfig]:
    """At most n of the trials on the front of those that ran to their end and meet the constraints,
    evenly along it, in the order of the first objective: its ends are among them."""
    legal = [config for config in configs if _is_legal(search, metrics.get(config.key, {}))]
    if not legal or n < 1:
        return []
    values = np.array([goodness(search, metrics[config.key]) for config in legal])
    best = [legal[i] for i in np.flatnonzero(on_front(values))]
    best.sort(key=lambda config: (goodness(search, metrics[config.key]), config.key))
    places = np.linspace(0, len(best) - 1, min(n, len(best))).round().astype(int)
    return [best[i] for i in places]


def goodness(search: Search, metrics: Mapping[str, float]) -> list[float]:
    """The objectives of a trial, turned so that more is better."""
    signs = {"max": 1.0, "min": -1.0}
    return [signs[mode] * metrics[name] for name, mode in search.objectives.items()]


def _is_legal(search: Search, metrics: Mapping[str, float]) -> bool:
    """Also not one that was stopped: what it would have become is not known."""
    if metrics.get(SAVED, 0.0):
        return False
    ended_with = [metrics.get(name, np.nan) for name in search.objectives]
    return bool(np.isfinite(ended_with).all()) and not search.outside(metrics)


def run_again(search: Search, best: Sequence[TrialConfig]) -> list[TrialConfig]:
    """Each of them on the other trainings of the search, and on other images: of a seed that none
    was chosen by."""
    return [
        config.replace({"seed": seed, "data.seed": seed})
        for config in {config.key: config for config in best}.values()
        for seed in search.again
    ]

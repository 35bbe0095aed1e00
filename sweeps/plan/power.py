"""What a number of trainings can show: power of the t test over trainings, before anything ran."""

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

from trainables.config import TrialConfig, flat_params
from trainables.config.replicates import starts, trainings

SPREAD = 0.01  # sd between trainings of a change of MIS over the range: stated, not known
CHANGE = 0.02  # that is to be found, or ruled out
FEWEST = 3  # trainings over which anything is said


def power(n: int, change: float = CHANGE, spread: float = SPREAD, level: float = 0.05) -> float:
    """How often a two-sided t test over n trainings finds a change: of 0 to 1.

    Noncentral t; the noise of the trials within a training is part of `spread`.
    """
    shift, edge = change / (spread / math.sqrt(n)), float(stats.t.ppf(1 - level / 2, n - 1))
    return float(stats.nct.sf(edge, n - 1, shift) + stats.nct.cdf(-edge, n - 1, shift))


def power_of_none(n: int, margin: float = CHANGE, spread: float = SPREAD) -> float:
    """How often two one-sided t tests at 5 % call a change of 0 smaller than `margin`."""
    # Over the quantiles of the estimated error: the mean is independent of it.
    quantiles = (np.arange(4_000) + 0.5) / 4_000
    error = spread * np.sqrt(stats.chi2.ppf(quantiles, n - 1) / (n - 1) / n)
    room = (margin - stats.t.ppf(0.95, n - 1) * error) / (spread / math.sqrt(n))
    return float((2 * stats.norm.cdf(np.maximum(room, 0)) - 1).mean())


def power_sentence(configs: Sequence[TrialConfig], *, searches: bool = False) -> str:
    """One sentence: what the number of dense networks of a plan can show. Of several pairs of
    network and data, which are asked one by one, that of the fewest.

    searches: whether the plan has a search, which can have no other seeds.
    """
    params = [flat_params(config) for config in configs if config.prune is not None]
    pairs: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
    for pair, training in zip(starts(params), trainings(params), strict=True):
        pairs.setdefault(pair, set()).add(training)
    said = _of_one(min(map(len, pairs.values()), default=0), not searches and _seeds_train(configs))
    if len(pairs) < 2:
        return said
    return f"{len(pairs)} pairs of network and data, each asked by itself, of each {said}"


def _seeds_train(configs: Sequence[TrialConfig]) -> bool:
    """Whether another seed is another training: of given weights it is not."""
    first = [config for config in configs if config.prune is not None][:1]
    both = [*first, *(config.replace({"seed": config.seed + 1}) for config in first)]
    return len(set(trainings([flat_params(config) for config in both]))) > 1


def _of_one(n: int, seeds_train: bool) -> str:
    if n < FEWEST:
        which = "one dense network: what is found is of it alone"
        which = which if n == 1 else f"{n} dense networks: what is found is of each alone"
        how = f" (GRID=seed={','.join(map(str, range(FEWEST)))})" if seeds_train else ""
        return f"{which}; from {FEWEST} trainings{how} on the report speaks of trainings in general"
    return (
        f"{n} dense networks: if the change of MIS over the rates differs between trainings by "
        f"{SPREAD:g} (sd), a change of {CHANGE:g} is found in {power(n):.0%} of such sweeps, and "
        f"none is called smaller than {CHANGE:g} in {power_of_none(n):.0%}"
    )

"""Which groups stay? Exact counts over one pool (global) or over a pool a layer."""

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

SCOPES = ("global", "layer")


def n_pruned(rate: float, n_groups: int) -> int:
    """How many of n_groups are pruned at a rate in [0, 1): the floor of rate x n_groups.

    The released code of von Rad & Seuffert floors, too (`int(in_ch * rate)`). A product that
    misses a whole number by rounding error alone counts as that number (0.29 x 100 is 29).
    """
    return math.floor(rate * n_groups + 1e-9 * n_groups)


def _keep_pool(scores: np.ndarray, n: int, pruned_before: np.ndarray) -> np.ndarray:
    """Prune the n lowest of a flat pool, those pruned before first, of equals the last ones."""
    if pruned_before.sum() > n:
        raise ValueError(
            f"masks must nest over rounds: {pruned_before.sum()} groups are pruned already, "
            f"more than the {n} asked for"
        )
    keep = np.ones(len(scores), dtype=bool)
    if n == 0:
        return keep
    ranked = np.where(pruned_before, -np.inf, scores)
    threshold = np.partition(ranked, n - 1)[n - 1]
    keep[ranked < threshold] = False
    equals = np.flatnonzero(ranked == threshold)
    still_to_prune = n - int((~keep).sum())
    keep[equals[len(equals) - still_to_prune :]] = False
    return keep


def keep_top(
    scores: Mapping[str, Tensor],
    rate: float,
    *,
    scope: str,
    within: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Keep the highest-scoring groups so that exactly `n_pruned(rate, …)` of each pool is pruned.

    scores: layer -> score of each of its groups, any shape, CPU.
    rate: cumulative, in [0, 1): what is pruned in `within` counts and stays pruned.
    scope: "global" ranks all layers in one pool, "layer" each alone.
    within: layer -> bool of the same shape, True = kept so far.

    Returns layer -> bool, True = kept. Of equal scores the group that comes first is kept.
    Raises ValueError for a rate outside [0, 1), an unknown scope, a NaN score, an empty pool,
    and when `within` is already sparser than asked.
    """
    if not 0 <= rate < 1:
        raise ValueError(f"rate must lie in [0, 1), got {rate}")
    if scope not in SCOPES:
        raise ValueError(f"scope must be one of {', '.join(SCOPES)}, got {scope!r}")
    if not scores:
        raise ValueError("there must be at least one layer to prune, got none")
    for name, score in scores.items():
        if torch.isnan(score).any():
            raise ValueError(f"scores must not be NaN to be ranked, but those of {name} are")
    pools = [list(scores)] if scope == "global" else [[name] for name in scores]
    keep: dict[str, Tensor] = {}
    for pool in pools:
        keep |= _keep_layers({name: scores[name] for name in pool}, rate, within)
    return keep


def _keep_layers(
    scores: Mapping[str, Tensor], rate: float, within: Mapping[str, Tensor] | None
) -> dict[str, Tensor]:
    """One pool made of some layers."""
    flat = np.concatenate([score.reshape(-1).double().numpy() for score in scores.values()])
    before = np.zeros(len(flat), dtype=bool)
    if within is not None:
        before = np.concatenate([(~within[name]).reshape(-1).numpy() for name in scores])
    keep = torch.from_numpy(_keep_pool(flat, n_pruned(rate, len(flat)), before))
    parts = keep.split([score.numel() for score in scores.values()])
    return {
        name: part.reshape(score.shape)
        for (name, score), part in zip(scores.items(), parts, strict=True)
    }

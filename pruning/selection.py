"""Which groups stay? Exact counts over one pool (global), a pool per layer, or many in a layer."""

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

SCOPES = ("global", "layer")


def n_pruned(rate: float, n_groups: int) -> int:
    """How many of n_groups are pruned at a rate in [0, 1): the floor of rate x n_groups.

    The released code of von Rad & Seuffert floors, too (`int(in_ch * rate)`). A product that
    misses a whole number by rounding error alone counts as that number (0.29 x 100 is 29); all are
    never pruned.
    """
    return min(math.floor(rate * n_groups + 1e-9 * n_groups), max(n_groups - 1, 0))


def _keep_pool(scores: np.ndarray, n: int) -> np.ndarray:
    """Prune the n lowest of a flat pool, of equals the last ones."""
    if n == 0:
        return np.ones(len(scores), dtype=bool)
    threshold = np.partition(scores, n - 1)[n - 1]
    keep = scores > threshold
    equals = np.flatnonzero(scores == threshold)
    keep[equals[: len(scores) - n - np.count_nonzero(keep)]] = True
    return keep


def _keep_pool_within(scores: np.ndarray, n: int, kept_before: np.ndarray) -> np.ndarray:
    """The same, n counting those that are pruned already."""
    candidates = np.flatnonzero(kept_before)
    n_before = len(scores) - len(candidates)
    if n_before > n:
        raise ValueError(
            f"masks must nest over rounds: {n_before} groups are pruned already, more than the "
            f"{n} asked for"
        )
    keep = np.zeros(len(scores), dtype=bool)
    keep[candidates] = _keep_pool(scores[candidates], n - n_before)
    return keep


def keep_top(
    scores: Mapping[str, Tensor],
    rate: float,
    *,
    scope: str,
    within: Mapping[str, Tensor] | None = None,
    pools: Callable[[Tensor], Tensor] | None = None,
) -> dict[str, Tensor]:
    """Keep the most important groups so that exactly `n_pruned(rate, …)` of each pool is pruned.

    scores: layer -> importance of each of its groups, any shape, CPU. Ranked in its own dtype where
        that is float32 or float64, else in float64.
    rate: cumulative, in [0, 1): what is pruned in `within` counts and stays pruned.
    scope: "global" ranks all layers in one pool, "layer" each alone.
    within: layer -> bool of the same shape, True = kept so far.
    pools: as `Granularity.pools`, of pools within a layer; then the scope must be "layer".

    Returns layer -> bool, True = kept. Of equal scores the group that comes first is kept.
    Raises ValueError for a rate outside [0, 1), an unknown scope, a NaN score, a layer without
    groups, and when `within` is already sparser than asked.
    """
    if not 0 <= rate < 1:
        raise ValueError(f"rate must lie in [0, 1), got {rate}")
    if scope not in SCOPES:
        raise ValueError(f"scope must be one of {', '.join(SCOPES)}, got {scope!r}")
    if not scores:
        raise ValueError("there must be at least one layer to prune, got none")
    for name, score in scores.items():
        if score.numel() == 0:
            raise ValueError(f"a layer must have groups to prune, {name} has none")
        if torch.isnan(score.max()):  # a NaN is the maximum of whatever holds one
            raise ValueError(f"scores must not be NaN to be ranked, but those of {name} are")
    if pools is not None:
        if scope != "layer":
            raise ValueError(f"scope must be layer where a layer has pools within, got {scope!r}")
        before = within or {}
        return {n: _keep_in_pools(s, rate, pools, before.get(n)) for n, s in scores.items()}
    together = [list(scores)] if scope == "global" else [[name] for name in scores]
    keep: dict[str, Tensor] = {}
    for layers in together:
        keep |= _keep_layers({name: scores[name] for name in layers}, rate, within)
    return keep


def _keep_in_pools(
    scores: Tensor, rate: float, pools: Callable[[Tensor], Tensor], before: Tensor | None
) -> Tensor:
    """Many small pools, all of one size: ranked together, a row each."""
    places = pools(torch.arange(scores.numel()).reshape(scores.shape))
    rows = scores.double().reshape(-1)[places]
    n_kept = rows.shape[1] - n_pruned(rate, rows.shape[1])
    if before is not None:
        kept_before = before.reshape(-1)[places]
        if int(kept_before.sum(1).min()) < n_kept:
            raise ValueError(
                f"masks must nest over rounds: a pool has {int(kept_before.sum(1).min())} groups "
                f"left, fewer than the {n_kept} asked for"
            )
        rows = rows.masked_fill(~kept_before, -torch.inf)
    order = rows.argsort(dim=1, descending=True, stable=True)
    kept_rows = torch.zeros_like(rows, dtype=torch.bool).scatter_(1, order[:, :n_kept], True)
    kept = torch.zeros(scores.numel(), dtype=torch.bool)
    kept[places] = kept_rows
    return kept.reshape(scores.shape)


def keep_numbers(
    scores: Mapping[str, Tensor],
    numbers: Mapping[str, int],
    within: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Keep the `numbers[layer]` most important groups of each layer, of those kept in `within`.

    scores, within, and what is returned: as in `keep_top`.
    Raises ValueError for a number that a layer has not got, or not any longer.
    """
    keep: dict[str, Tensor] = {}
    for name, score in scores.items():
        before = None if within is None else within[name].reshape(-1).numpy()
        there = score.numel() if before is None else int(before.sum())
        if not 0 <= numbers[name] <= there:
            raise ValueError(
                f"as many groups of a layer must be kept as it still has, {name} has {there}, got "
                f"{numbers[name]}"
            )
        flat, n = score.double().reshape(-1).numpy(), score.numel() - numbers[name]
        kept = _keep_pool(flat, n) if before is None else _keep_pool_within(flat, n, before)
        keep[name] = torch.from_numpy(kept).reshape(score.shape)
    return keep


def _keep_layers(
    scores: Mapping[str, Tensor], rate: float, within: Mapping[str, Tensor] | None
) -> dict[str, Tensor]:
    """One pool made of some layers."""
    flat = torch.cat([score.reshape(-1) for score in scores.values()])
    if flat.dtype not in (torch.float32, torch.float64):
        flat = flat.double()
    n = n_pruned(rate, len(flat))
    if within is None:
        kept = _keep_pool(flat.numpy(), n)
    else:
        before = torch.cat([within[name].reshape(-1) for name in scores])
        kept = _keep_pool_within(flat.numpy(), n, before.numpy())
    parts = torch.from_numpy(kept).split([score.numel() for score in scores.values()])
    return {
        name: part.reshape(score.shape)
        for (name, score), part in zip(scores.items(), parts, strict=True)
    }

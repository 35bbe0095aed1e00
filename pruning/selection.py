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


def _keep_pool(importance: np.ndarray, n: int) -> np.ndarray:
    """Prune the n lowest of a flat pool, of equals the last ones."""
    if n == 0:
        return np.ones(len(importance), dtype=bool)
    threshold = np.partition(importance, n - 1)[n - 1]
    keep = importance > threshold
    equals = np.flatnonzero(importance == threshold)
    keep[equals[: len(importance) - n - np.count_nonzero(keep)]] = True
    return keep


def _keep_pool_within(importance: np.ndarray, n: int, kept_before: np.ndarray) -> np.ndarray:
    """The same, n counting those that are pruned already."""
    candidates = np.flatnonzero(kept_before)
    n_before = len(importance) - len(candidates)
    if n_before > n:
        raise ValueError(
            f"masks must nest over rounds: {n_before} groups are pruned already, more than the "
            f"{n} asked for"
        )
    keep = np.zeros(len(importance), dtype=bool)
    keep[candidates] = _keep_pool(importance[candidates], n - n_before)
    return keep


def keep_top(
    importance: Mapping[str, Tensor],
    rate: float,
    *,
    scope: str,
    within: Mapping[str, Tensor] | None = None,
    pools: Callable[[Tensor], Tensor] | None = None,
) -> dict[str, Tensor]:
    """Keep the most important groups so that exactly `n_pruned(rate, …)` of each pool is pruned.

    importance: layer -> importance of each of its groups, any shape, CPU. Ranked in its own dtype
        where that is float32 or float64, else in float64.
    rate: cumulative, in [0, 1): what is pruned in `within` counts and stays pruned.
    scope: "global" ranks all layers in one pool, "layer" each alone.
    within: layer -> bool of the same shape, True = kept so far.
    pools: as `Granularity.pools`, of pools within a layer; then the scope must be "layer".

    Returns layer -> bool, True = kept. Of equals the group that comes first is kept.
    Raises ValueError for a rate outside [0, 1), an unknown scope, a NaN, a layer without
    groups, and when `within` is already sparser than asked.
    """
    if not 0 <= rate < 1:
        raise ValueError(f"rate must lie in [0, 1), got {rate}")
    if scope not in SCOPES:
        raise ValueError(f"scope must be one of {', '.join(SCOPES)}, got {scope!r}")
    if not importance:
        raise ValueError("there must be at least one layer to prune, got none")
    for name, each in importance.items():
        if each.numel() == 0:
            raise ValueError(f"a layer must have groups to prune, {name} has none")
        if torch.isnan(each.max()):  # a NaN is the maximum of whatever holds one
            raise ValueError(f"importance must not be NaN to be ranked, but that of {name} is")
    if pools is not None:
        if scope != "layer":
            raise ValueError(f"scope must be layer where a layer has pools within, got {scope!r}")
        before = within or {}
        return {n: _keep_in_pools(s, rate, pools, before.get(n)) for n, s in importance.items()}
    together = [list(importance)] if scope == "global" else [[name] for name in importance]
    keep: dict[str, Tensor] = {}
    for layers in together:
        keep |= _keep_layers({name: importance[name] for name in layers}, rate, within)
    return keep


def _keep_in_pools(
    importance: Tensor, rate: float, pools: Callable[[Tensor], Tensor], before: Tensor | None
) -> Tensor:
    """Many small pools, all of one size: ranked together, a row each."""
    places = pools(torch.arange(importance.numel()).reshape(importance.shape))
    rows = importance.double().reshape(-1)[places]
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
    kept = torch.zeros(importance.numel(), dtype=torch.bool)
    kept[places] = kept_rows
    return kept.reshape(importance.shape)


def keep_numbers(
    importance: Mapping[str, Tensor],
    numbers: Mapping[str, int],
    within: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Keep the `numbers[layer]` most important groups of each layer, of those kept in `within`.

    importance, within, and what is returned: as in `keep_top`.
    Raises ValueError for a number that a layer has not got, or not any longer.
    """
    keep: dict[str, Tensor] = {}
    for name, each in importance.items():
        before = None if within is None else within[name].reshape(-1).numpy()
        there = each.numel() if before is None else int(before.sum())
        if not 0 <= numbers[name] <= there:
            raise ValueError(
                f"as many groups of a layer must be kept as it still has, {name} has {there}, got "
                f"{numbers[name]}"
            )
        flat, n = each.double().reshape(-1).numpy(), each.numel() - numbers[name]
        kept = _keep_pool(flat, n) if before is None else _keep_pool_within(flat, n, before)
        keep[name] = torch.from_numpy(kept).reshape(each.shape)
    return keep


def _keep_layers(
    importance: Mapping[str, Tensor], rate: float, within: Mapping[str, Tensor] | None
) -> dict[str, Tensor]:
    """One pool made of some layers."""
    flat = torch.cat([each.reshape(-1) for each in importance.values()])
    if flat.dtype not in (torch.float32, torch.float64):
        flat = flat.double()
    n = n_pruned(rate, len(flat))
    if within is None:
        kept = _keep_pool(flat.numpy(), n)
    else:
        before = torch.cat([within[name].reshape(-1) for name in importance])
        kept = _keep_pool_within(flat.numpy(), n, before.numpy())
    parts = torch.from_numpy(kept).split([each.numel() for each in importance.values()])
    return {
        name: part.reshape(each.shape)
        for (name, each), part in zip(importance.items(), parts, strict=True)
    }

"""Slow twins of the pruning package, written from the papers, in float64."""

import math

import torch


def keep_lowest_pruned(pools, rate):
    """pools: list of lists of (score, key) in order. Prunes floor(rate * n) of each pool,
    lowest score first, of equals the one that comes last. Returns the set of pruned keys."""
    pruned = set()
    for pool in pools:
        n = math.floor(round(rate * len(pool), 9))
        ranked = sorted(enumerate(pool), key=lambda e: (e[1][0], -e[0]))
        pruned |= {key for _, (_, key) in ranked[:n]}
    return pruned


def released_connection_l1(weight, rate):
    """von Rad & Seuffert's connection sparsity: of each input channel the sum of absolutes over
    filters and kernel; the floor(rate * channels) lowest channels are pruned for all filters."""
    weight = weight.double()
    sums = []
    for channel in range(weight.shape[1]):
        total = 0.0
        for value in weight[:, channel].reshape(-1).tolist():
            total += abs(value)
        sums.append(total)
    order = sorted(range(len(sums)), key=lambda c: sums[c])
    keep = torch.ones(weight.shape, dtype=torch.bool)
    for channel in order[: int(weight.shape[1] * rate)]:
        keep[:, channel] = False
    return keep


def structured_l1(weight, rate):
    """Li et al. 2017: of each filter the sum of absolutes, the lowest filters go."""
    sums = [sum(abs(v) for v in f.reshape(-1).double().tolist()) for f in weight]
    order = sorted(range(len(sums)), key=lambda f: sums[f])
    keep = torch.ones(weight.shape, dtype=torch.bool)
    for f in order[: math.floor(len(sums) * rate + 1e-9)]:
        keep[f] = False
    return keep

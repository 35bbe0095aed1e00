"""Maps of units over their pictures, of the few networks for which the study allows a pass."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sweeps.report.atlas.chosen import Units
from sweeps.report.atlas.images import Probe
from sweeps.report.atlas.trials import middle, start
from sweeps.report.read.frames import SweepFrames
from sweeps.report.read.values import is_pruned, is_retrained
from sweeps.tracking.left import masked_network
from sweeps.tracking.tracker import Tracker
from trainables.config import ComputeConfig
from trainables.memo import Memo
from trainables.methods import ROTATED
from trainables.scores.shown import Shown
from trainables.scores.unit_maps import packed, unit_maps
from trainables.training.compute import resolve_device

MOST_IMAGES = 5_000  # of a pass, which a report makes in seconds
_VERSION = 1  # raise it when the maps of the same network and images change


def mapped(frames: SweepFrames, keys: Sequence[str], most: int) -> list[str]:
    """Keys of the networks whose maps are made: the two that the page opens with, of each method
    the one in the middle of those that were retrained, then the others, the pruned first."""
    rows = frames.trials.set_index("key", drop=False).loc[list(keys)]
    retrained = rows[is_pruned(rows) & is_retrained(rows)]
    middles = [middle(own) for _, own in retrained.groupby("method", sort=False)]
    first = [keys[place] for place in start(frames, keys)]
    others = [*rows.loc[is_pruned(rows), "key"], *keys]
    meant = set(rows.loc[rows["method"] != ROTATED, "key"])
    return [key for key in dict.fromkeys((*first, *middles, *others)) if key in meant][:most]


def maps_of(
    tracker: Tracker, run_id: str, probe: Probe, units: Units, shown: Shown, n: int
) -> dict[str, Any]:
    """A script's value: cells (uint8, see `unit_maps.packed`), and of each layer its side in cells,
    the place of its first cell among all, and where its cells lie; side 0 for a layer without maps.

    n: images per unit. Raises ValueError where the trial left no network that loads, or one that
    was pruned to other shapes.
    """
    wanted = _wanted(units, shown, n)
    depends_on = [_VERSION, run_id, probe.images.digest, n, list(units.layers)]
    depends_on.append({name: ids.tolist() for name, ids in wanted.items()})

    def compute() -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as folder:
            network = masked_network(tracker, run_id, Path(folder))
        network = network.to(resolve_device(ComputeConfig())).eval()
        found = unit_maps(network, probe.images, wanted, probe.config.data.pixels)
        return {
            name: [maps.maps.shape[-1], torch.from_numpy(packed(maps.maps)), maps.first, maps.step]
            for name, maps in found.items()
        }

    cache = Memo(tracker.results / "cache")
    return _laid_out(units, cache.of("unit-maps", depends_on, compute))


def _wanted(units: Units, shown: Shown, n: int) -> dict[str, np.ndarray]:
    ids, begin = shown.top[units.rows, :n], 0
    wanted = {}
    for name, width in units.layers.items():
        wanted[name] = ids[begin : begin + width]
        begin += width
    return wanted


def _laid_out(units: Units, found: Mapping[str, Any]) -> dict[str, Any]:
    cells, layers, begin = [], [], 0
    for name in units.layers:
        side, data, first, step = found.get(name, (0, torch.zeros(0, dtype=torch.uint8), 0.0, 0.0))
        layers.append({"side": side, "begin": begin, "first": first, "step": step})
        cells.append(data.numpy())
        begin += 2 * len(data)
    return {"layers": layers, "cells": np.concatenate(cells)}

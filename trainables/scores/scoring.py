"""What one can understand of a network: its scores as metrics, tables and pictures.

The door for scores: each that a trial is asked for gives what it has `Found`, of one pass over the
probe images, and of another over the images with concept maps where the network is dissected.
"""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from mis import (
    CONSTANT_RANGE,
    UNIT_STATES,
    UnitScores,
    image_error,
    paired_change,
    shuffle_control,
    summarize,
    unit_error,
)
from trainables.config import TrialConfig
from trainables.datasets.images import Data
from trainables.randomness import generator
from trainables.rounds.pruned import PrunedNetwork
from trainables.scores.beside import beside_metrics, table_columns
from trainables.scores.dissection import dissect_network
from trainables.scores.embeddings import probe_vectors
from trainables.scores.mis import Measured, measure, measure_dense
from trainables.scores.pictures import gallery
from trainables.scores.same import beside_dense
from trainables.scores.shown import Shown
from trainables.training.compute import resolve_device

_ALIVE = UNIT_STATES.index("alive")


@dataclass(frozen=True)
class Scored:
    """metrics by name; units: a row per unit; dissected: likewise, if the trial is dissected;
    gallery: file name -> picture of what a chosen unit answers to; shown: the images of all."""

    metrics: dict[str, float]
    units: pd.DataFrame
    dissected: pd.DataFrame | None
    gallery: dict[str, Image.Image]
    shown: Shown | None = None


@dataclass(frozen=True)
class _Asked:
    """What a score is asked about. measured: of the pass over the probe images; dense: likewise of
    the dense network; paired: the same, None where it has not the same units."""

    config: TrialConfig
    pruned: PrunedNetwork
    data: Data
    cache: Path
    measured: Measured
    dense: Measured | None

    @property
    def paired(self) -> Measured | None:
        there = self.dense is not None and same_units(self.measured, self.dense)
        return self.dense if there else None


@dataclass(frozen=True)
class _Found:
    """metrics by name; columns: of the table of units; dissected: a table of its own."""

    metrics: dict[str, float]
    columns: dict[str, Any] = field(default_factory=dict)
    dissected: pd.DataFrame | None = None


def score_trial(config: TrialConfig, pruned: PrunedNetwork, data: Data, cache: Path) -> Scored:
    """Score every unit of the network of a trial, beside its own dense network."""
    measured = measure(pruned.network, config, data, cache, pruned.structure)
    # An untrained network did not start from the dense one, and rotated units are none of its.
    apart = config.network.weights == "random" or config.score.rotated
    dense = None if apart else measure_dense(config, data, cache)
    asked = _Asked(config, pruned, data, cache, measured, dense)
    parts: list[Callable[[_Asked], _Found]] = [_of_mis]
    if config.leaves_dense and asked.paired is not None:
        parts.append(_of_twins)
    if config.beside:
        parts.append(_of_others)
    if config.dissection is not None:
        parts.append(_of_dissection)
    metrics: dict[str, float] = {}
    columns: dict[str, Any] = {}
    dissected = None
    for part in parts:
        found = part(asked)
        metrics |= found.metrics
        columns |= found.columns
        dissected = found.dissected if dissected is None else dissected
    pictures = gallery(measured, asked.paired, data.probe)
    shown = _shown(measured, data.probe.digest)
    return Scored(metrics, pd.DataFrame(columns), dissected, pictures, shown)


def _shown(measured: Measured, probe: str) -> Shown:
    layers = [measured.layers[i] for i in measured.layer_of.tolist()]
    top, bottom = measured.top.numpy(), measured.bottom.numpy()
    return Shown(layers, measured.channel.int().numpy(), top, bottom, probe)


def _of_mis(asked: _Asked) -> _Found:
    metrics = mis_metrics(asked.measured, asked.dense)
    metrics |= _control(asked.config, asked.data, asked.cache)
    return _Found(metrics, _columns(asked.measured, asked.paired))


def _of_twins(asked: _Asked) -> _Found:
    measured, network = asked.measured, asked.pruned.network
    where = (asked.config, asked.data, asked.cache)
    same = beside_dense(network, *where, measured.layer_of, asked.pruned.structure)
    if same is None:
        return _Found({})
    metrics, columns = same.summed_up(measured.state, measured.counted, measured.channel)
    return _Found(metrics, {name: values.numpy() for name, values in columns.items()})


def _of_others(asked: _Asked) -> _Found:
    measured, dense = asked.measured, asked.paired
    chosen = measured.counted & (measured.state == _ALIVE)
    beside, before = measured.beside, None if dense is None else dense.beside
    columns = {name: values.numpy() for name, values in table_columns(beside, before)}
    return _Found(beside_metrics(beside, chosen, before), columns)


def _of_dissection(asked: _Asked) -> _Found:
    network, structure = asked.pruned.network, asked.pruned.structure
    metrics, table = dissect_network(network, asked.config, asked.cache, structure)
    return _Found(metrics, dissected=table)


def mis_metrics(measured: Measured, dense: Measured | None) -> dict[str, float]:
    """The summary of a network, by metric name; means are over the units that count and are alive.

    mis/error_units and mis/error_images: standard errors of mis/mean over units and over images;
    mis/error: of both together; mis/<layer>/error: likewise, of the layer's mean.
    mis/n_constant_scored, mis/constant_mean: of units that are the same on all images and have a
    score nevertheless, as "von_rad2024_released" wants it.
    mis/pixels_mean: the same tasks by raw pixels. mis/change: mean difference to the same units of
    the dense network, over units that have a score in both, with mis/change_error likewise; of a
    network that came with fewer channels mis/change_unpaired instead, see `_unpaired`. See
    `mis.summarize` for the others.
    """
    scores, alive = measured.scores, measured.state == _ALIVE
    # Every layer has its own mean; the network's is over the layers that count.
    metrics = summarize(scores) | summarize(_only(scores, measured.counted))
    chosen = measured.counted & alive
    metrics["mis/error_units"] = unit_error(measured.mis[chosen])
    metrics["mis/error_images"] = _image_error(measured, chosen)
    metrics["mis/error"] = math.hypot(metrics["mis/error_units"], metrics["mis/error_images"])
    for index, layer in enumerate(measured.layers):
        of_layer = alive & (measured.layer_of == index)
        metrics[f"mis/{layer}/error"] = math.hypot(
            unit_error(measured.mis[of_layer]), _image_error(measured, of_layer)
        )
    metrics["mis/pixels_mean"] = float(measured.mis_pixels[chosen].double().mean())
    constant = chosen & (measured.maximum - measured.minimum < CONSTANT_RANGE)
    if constant.any():  # which other protocols leave out
        metrics["mis/n_constant_scored"] = float(constant.sum())
        metrics["mis/constant_mean"] = float(measured.mis[constant].double().mean())
    if dense is not None and same_units(measured, dense):
        metrics |= _change(measured, dense, chosen)
    elif dense is not None:
        metrics |= _unpaired(measured, dense)
    # An error that cannot be known (too few images or units) is left out.
    return {n: v for n, v in metrics.items() if not (n.endswith(_ERRORS) and math.isnan(v))}


_ERRORS = ("error", "error_units", "error_images")


def _image_error(measured: Measured, chosen: Tensor) -> float:
    if measured.replicates is None or not chosen.any():
        return math.nan
    return float(image_error(measured.replicates[:, :, chosen].mean(2)))


def same_units(measured: Measured, dense: Measured) -> bool:
    """Whether the networks have as many units in every layer: then these are the same ones."""
    return measured.layers == dense.layers and torch.equal(measured.layer_of, dense.layer_of)


def _unpaired(measured: Measured, dense: Measured) -> dict[str, float]:
    """Of a network with fewer channels, of which nobody knows which they were: how far the mean of
    all that is alive lies from the dense network's, of the network and per layer. What was selected
    counts as change. mis/change_unpaired_error: of both means, over images and units."""
    metrics: dict[str, float] = {}
    means: list[list[float]] = []
    for each in (measured, dense):
        alive = (each.state == _ALIVE) & each.counted
        means.append([float(each.mis[alive].double().mean())])
        means[-1].append(math.hypot(unit_error(each.mis[alive]), _image_error(each, alive)))
    (here, error), (there, dense_error) = means
    metrics["mis/change_unpaired"] = here - there
    metrics["mis/change_unpaired_error"] = math.hypot(error, dense_error)
    for layer in measured.layers:
        both = []
        for each in (measured, dense):
            if layer in each.layers:
                of_layer = each.layer_of == each.layers.index(layer)
                both.append(float(each.mis[of_layer & (each.state == _ALIVE)].double().mean()))
        if len(both) == 2 and not any(map(math.isnan, both)):
            metrics[f"mis/{layer}/change_unpaired"] = both[0] - both[1]
    return metrics


def _change(measured: Measured, dense: Measured, chosen: Tensor) -> dict[str, float]:
    replicates: tuple[Tensor | None, Tensor | None] = (None, None)
    if measured.replicates is not None and dense.replicates is not None:
        replicates = (measured.replicates[:, :, chosen], dense.replicates[:, :, chosen])
    change = paired_change(measured.mis[chosen], dense.mis[chosen], *replicates)
    return {
        "mis/change": change.mean,
        "mis/change_error": math.hypot(change.unit_error, change.image_error),
        "mis/n_compared": float(change.n_units),
    }


def _control(config: TrialConfig, data: Data, cache: Path) -> dict[str, float]:
    """Units whose activations are shuffled: 0.5 but for chance."""
    space = probe_vectors(data.probe, config.score, cache, resolve_device(config.compute))
    mean, error = shuffle_control(
        space.vectors,
        slope=space.slope,
        metric=space.metric,
        n_tasks=config.score.n_tasks,
        k=config.score.n_explanations,
        generator=generator(config.seed, "shuffled"),
    )
    return {
        "mis/slope": space.slope,
        "mis/shuffled_mean": mean,
        "mis/shuffled_error": error,
    }


def _only(scores: UnitScores, chosen: Tensor) -> UnitScores:
    return dataclasses.replace(
        scores,
        layer_of=scores.layer_of[chosen],
        mis=scores.mis[chosen],
        task_accuracy=scores.task_accuracy[chosen],
        state=scores.state[chosen],
    )


def _columns(measured: Measured, dense: Measured | None) -> dict[str, Any]:
    """Columns: layer, channel, state, mis, task_accuracy and mis_pixels (NaN for dead and
    constant units), dense_mis (of the same unit in the dense network), minimum, maximum (of the
    spatial mean over the images), counted, mis_error (of the unit's MIS, over images) and
    replicates: the unit's MIS without each group of images, for both deals, from which the errors
    over images are."""
    nothing = torch.full_like(measured.mis, math.nan)
    columns = {
        "layer": [measured.layers[i] for i in measured.layer_of.tolist()],
        "channel": measured.channel.numpy(),
        "state": [UNIT_STATES[i] for i in measured.state.tolist()],
        "mis": measured.mis.double().numpy(),
        "task_accuracy": measured.task_accuracy.double().numpy(),
        "mis_pixels": measured.mis_pixels.double().numpy(),
        "dense_mis": (nothing if dense is None else dense.mis).double().numpy(),
        "minimum": measured.minimum.numpy(),
        "maximum": measured.maximum.numpy(),
        "counted": measured.counted.numpy(),
    }
    if measured.replicates is not None:
        error = image_error(measured.replicates).masked_fill(measured.mis.isnan(), math.nan)
        columns["mis_error"] = error.numpy()
        columns["replicates"] = list(measured.replicates.flatten(0, 1).T.contiguous().numpy())
    return columns

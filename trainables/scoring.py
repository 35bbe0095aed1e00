"""From a network and the probe images to the score of every unit."""

import dataclasses
from pathlib import Path

import pandas as pd
import torch
from torch import Generator, Tensor
from torchvision.models import GoogLeNet

from mis import (
    UNIT_STATES,
    Extremes,
    UnitScores,
    collect_extremes,
    images_needed,
    score_units,
    shuffle_control,
    summarize,
)
from trainables.compute import autocast
from trainables.config import TrialConfig
from trainables.datasets.images import ImageSet
from trainables.embeddings import probe_vectors
from trainables.evaluate import network_inputs
from trainables.networks import unit_layers, unread_units


def require_enough_images(config: TrialConfig, n_images: int) -> None:
    """Raise ValueError when the probe set is too small for the tasks of `config.score`."""
    score = config.score
    needed = images_needed(score.n_tasks, score.n_explanations)
    if n_images < needed:
        raise ValueError(
            f"MIS with {score.n_tasks} tasks of {score.n_explanations} explanations and 1 query "
            f"on each side needs at least {needed} probe images, there are {n_images}"
        )


def score_network(
    network: GoogLeNet,
    images: ImageSet,
    config: TrialConfig,
    cache: Path,
    *,
    device: torch.device,
    precision: str,
    generator: Generator,
) -> tuple[dict[str, float], pd.DataFrame]:
    """MIS of every unit: its summary by metric name, and a table with a row a unit.

    Columns: layer, channel, state, mis, task_accuracy (NaN for dead and constant units),
    minimum, maximum (of the spatial mean over the images), counted (whether the unit's layer
    belongs to the mean).
    """
    require_enough_images(config, len(images))
    similarity = probe_vectors(images, config.score, cache, device)
    layers = unit_layers(network)
    network.eval()
    with autocast(precision, device):
        extremes = collect_extremes(
            network,
            layers,
            network_inputs(
                images, torch.arange(len(images)), config.compute.eval_batch_size, device
            ),
            depth=images_needed(config.score.n_tasks, config.score.n_explanations) // 2,
            priority=torch.randperm(len(images), generator=generator),
        )
    scores = score_units(
        extremes,
        similarity.vectors,
        slope=similarity.slope,
        metric=similarity.metric,
        n_tasks=config.score.n_tasks,
        k=config.score.n_explanations,
        generator=generator,
        unread=torch.cat(list(unread_units(network).values())),
    )
    counted = torch.ones(len(scores.mis), dtype=torch.bool)
    if config.score.leave_out_first_and_last:
        counted = (scores.layer_of > 0) & (scores.layer_of < len(layers) - 1)
    # Every layer has its own mean; the network's is over the layers that count.
    metrics = summarize(scores) | summarize(_only(scores, counted))
    control, error = shuffle_control(
        similarity.vectors,
        slope=similarity.slope,
        metric=similarity.metric,
        n_tasks=config.score.n_tasks,
        k=config.score.n_explanations,
        generator=generator,
    )
    metrics |= {
        "mis/slope": similarity.slope,
        "mis/shuffled_mean": control,
        "mis/shuffled_error": error,
    }
    return metrics, _table(scores, extremes, counted)


def _only(scores: UnitScores, chosen: Tensor) -> UnitScores:
    return dataclasses.replace(
        scores,
        layer_of=scores.layer_of[chosen],
        mis=scores.mis[chosen],
        task_accuracy=scores.task_accuracy[chosen],
        state=scores.state[chosen],
    )


def _table(scores: UnitScores, extremes: Extremes, counted: Tensor) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "layer": [scores.layers[i] for i in scores.layer_of.tolist()],
            "channel": extremes.channel.numpy(),
            "state": [UNIT_STATES[i] for i in scores.state.tolist()],
            "mis": scores.mis.double().numpy(),
            "task_accuracy": scores.task_accuracy.double().numpy(),
            "minimum": extremes.minimum.numpy(),
            "maximum": extremes.maximum.numpy(),
            "counted": counted.numpy(),
        }
    )

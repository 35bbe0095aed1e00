"""The importance that a trial prunes by: of the weights, or by images, then cached and shared."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from pruning import importance_of_groups, normalised
from trainables.config import KEY_VERSION, PruneConfig, TrialConfig
from trainables.datasets.ahead import network_inputs
from trainables.datasets.images import Data, ImageSet
from trainables.memo import Memo
from trainables.randomness import generator
from trainables.rounds.pruned import PrunedNetwork
from trainables.training.dense import dense_key

_VERSION = 3  # of the importance that is kept: raise it when a criterion tells another
_BATCH = 32  # fixed, so that importance does not depend on how a trial evaluates


def importance(
    pruned: PrunedNetwork, config: TrialConfig, data: Data, cache: Path, round_: int
) -> dict[str, Tensor]:
    """The importance of every group of the network's weights at the start of a round; normalised.

    That of the dense network by images is computed once: all rates, schedules and scopes of one
    checkpoint, criterion, granularity and set of samples share it.
    """
    prune = _of(config)
    norm = prune.by.norm(prune.scope)
    if not prune.by.looks_at_images or round_ > 0:
        return normalised(_importance(pruned, config, data, round_), norm)
    found = Memo(cache).of(
        "scores", _depends_on(config, data), lambda: _importance(pruned, config, data, round_)
    )
    return normalised(found, norm)


def samples(images: ImageSet, per_class: int, seed: int) -> Tensor:
    """Ids int64 of so many images of each class, at random; those of fewer are among them.

    Raises ValueError for a class that has not so many.
    """
    require_samples(images.labels.bincount().tolist(), per_class)
    order = torch.randperm(len(images), generator=generator(seed, "samples"))
    labels = images.labels[order]
    chosen = [order[labels == label][:per_class] for label in labels.unique().tolist()]
    # Classes mixed, the first sample of each, then the second: batches are alike.
    return torch.stack(chosen, dim=1).flatten()


def require_samples(counts: Sequence[int], per_class: int) -> None:
    """Raise ValueError for a class that has images, and not so many. counts: of each class."""
    there = [(count, label) for label, count in enumerate(counts) if count]
    fewest, label = min(there, default=(per_class, 0))
    if fewest < per_class:
        raise ValueError(
            f"prune.samples_per_class must be at most the training images of a class: class "
            f"{label} has {fewest}, got {per_class}; SET=prune.samples_per_class={fewest}, or "
            "other values by GRID where it is an axis"
        )


def _importance(
    pruned: PrunedNetwork, config: TrialConfig, data: Data, round_: int
) -> dict[str, Tensor]:
    prune = _of(config)
    batches = None
    if prune.by.looks_at_images:
        ids = samples(data.train, prune.samples_per_class, config.seed)
        device = next(pruned.network.parameters()).device
        batches = ((x, labels) for _, x, labels in network_inputs(data.train, ids, _BATCH, device))
    return importance_of_groups(
        pruned.network,
        prune.by,
        prune.granularity,
        generator=generator(config.seed, "criterion", round_, *_draw(prune)),
        names=list(pruned.weights),
        batches=batches,
        structure=pruned.structure,
    )


def _depends_on(config: TrialConfig, data: Data) -> dict[str, object]:
    prune = _of(config)
    return {
        "version": (KEY_VERSION, _VERSION),
        "network": dense_key(config, data),
        "criterion": prune.by.name if not prune.code else (prune.ranks_by, prune.code),
        "settings": asdict(prune.by) | {"normalise": None},  # which is done to what is kept
        "granularity": prune.granularity,
        "exclude": prune.exclude,
        "layers": (prune.layers, prune.biases),
    }


def _draw(prune: PruneConfig) -> tuple[int, ...]:
    return (prune.draw,) if prune.draw else ()


def _of(config: TrialConfig) -> PruneConfig:
    if config.prune is None:
        raise ValueError("a dense network has no importance to be pruned by: prune is None")
    return config.prune

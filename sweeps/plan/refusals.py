"""What a sweep would refuse, told by a plan: from names, counts and shapes, without the images."""

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import nn

from mis import require_similarity
from mis.reading import watching
from sweeps.plan.inputs import Inputs
from trainables.config import TrialConfig
from trainables.datasets.concepts import first_labels, require_pixels_drawn
from trainables.datasets.images import split_batches
from trainables.networks import (
    ReadAt,
    build_network,
    forward_of_shapes,
    outline,
    require_again,
    require_logits,
    require_pixels,
    require_trainable,
    unit_layers,
)
from trainables.rounds.importance import require_samples
from trainables.rounds.outlined import require_outline_within_reach, require_prunable_outline
from trainables.scores.dissection import concept_source, require_dissectable, require_n_images
from trainables.scores.mis import depth_of
from trainables.scores.similarity import similarity_of


def require_sound(configs: Sequence[TrialConfig], inputs: Inputs) -> None:
    """Raise ValueError, in one sentence, for what `check` would refuse and shapes can tell.

    inputs: what the trials read. What only a machine, its disk or the internet can tell (a GPU,
    room, packages, weights that are downloaded) is left to the sweep.
    """
    for config in configs:
        if config.data.name == "concepts":
            require_pixels_drawn(config.data.pixels)
        require_pixels(config.network, config.data.pixels)
        require_sizes(inputs.counted(config), inputs.per_class(config))
        if config.sensitivity is not None:
            require_prunable_outline(config.network, config.sensitivity.prune)
        if config.prune is not None:
            require_prunable_outline(config.network, config.prune)
            if n_classes := inputs.n_classes(config):
                which = (config.network, config.prune, n_classes, config.data.pixels)
                require_outline_within_reach(*which)
    for config in once(configs, lambda c: c.score):
        if config.score.own:
            similarity_of(config.score)
    groups: dict[object, list[TrialConfig]] = {}
    for config in configs:
        groups.setdefault((config.data, config.network), []).append(config)
    for alike in groups.values():
        _require_network(alike, inputs.n_classes(alike[0]))
        n_train = inputs.counted(alike[0]).data.train_images
        network, _ = outline(alike[0].network)
        if n_train is not None:
            require_batches(alike, network, n_train)
        for config in once(alike, lambda c: c.dissection):
            _require_dissection(config, network)


def missing_here(configs: Sequence[TrialConfig]) -> tuple[str, ...]:
    """What a sweep on this machine lacks, a sentence each: a plan may be made on another."""
    found: dict[str, None] = {}
    for config in once(configs, lambda c: c.score.similarity):
        try:
            if not config.score.own:
                require_similarity(config.score.similarity)
        except ValueError as error:
            found[f"a sweep from here would be refused: {error}"] = None
    return tuple(found)


def once(
    configs: Iterable[TrialConfig], what: Callable[[TrialConfig], object]
) -> list[TrialConfig]:
    """One trial of each sort."""
    return list({what(config): config for config in configs}.values())


def require_sizes(config: TrialConfig, per_class: Sequence[int] = ()) -> None:
    """Raise ValueError where the images that the config itself counts are too few for it.

    per_class: how many training images a folder has of each class.
    """
    data, prune, dissection = config.data, config.prune, config.dissection
    if data.train_images is not None:
        require_recalibration(config, data.train_images)
    if data.probe_images is not None:
        depth_of(config.score, data.probe_images)
    if config.beside and data.name == "concepts":
        require_classes(config, _classes_drawn("probe", data.probe_images or 0, data.seed))
    elif config.beside and per_class and data.probe_images in (None, sum(per_class)):
        require_classes(config, per_class)  # all that there are, which are those to train on
    if prune is not None and prune.by.looks_at_images:
        if data.name == "concepts":
            per_class = _classes_drawn("train", data.train_images or 0, data.seed)
        require_samples(per_class, prune.samples_per_class)
    if dissection is not None and dissection.concepts != "broden" and data.name == "concepts":
        require_n_images(dissection, data.probe_images or 0)


@lru_cache(16)
def _classes_drawn(split: str, n_images: int, seed: int) -> tuple[int, ...]:
    """How many of the generated images are of each class."""
    return tuple(np.bincount(first_labels(split, n_images, seed)).tolist())


def require_classes(config: TrialConfig, per_class: Sequence[int]) -> None:
    """Raise ValueError where the probe images of a class are too few for a score."""
    for score in config.beside:
        score.require(per_class)


def require_recalibration(config: TrialConfig, n_images: int) -> None:
    """Raise ValueError where BatchNorm is to be measured on more training images than there are."""
    if config.recalibrate_images > n_images:
        raise ValueError(
            f"recalibrate_images must be at most the {n_images} training images, "
            f"got {config.recalibrate_images}; SET=recalibrate_images={n_images} takes all"
        )


def require_batches(configs: Sequence[TrialConfig], network: nn.Module, n_train: int) -> None:
    """Raise ValueError unless the network can train on the smallest batch that there will be.

    configs: trials of this network. n_train: their training images. Nothing of the network changes.
    """
    smallest: dict[int, str] = {}
    for config in configs:
        recipes = {"network.recipe": config.network.recipe, "finetune": config.retrain}
        if not config.network.is_trained:
            del recipes["network.recipe"]
        for name, recipe in recipes.items():
            if recipe is not None:
                least = _smallest_batch(n_train, recipe.batch_size, config.compute.processes)
                smallest[least] = f"{name}.batch_size={recipe.batch_size}"
        if config.recalibrate_images == 1:
            smallest[1] = "recalibrate_images=1"
    if 1 not in smallest:
        return
    pixels = configs[0].data.pixels
    try:
        forward_of_shapes(network, pixels, training=True, n_images=1)
    except ValueError as error:  # what torch says of a BatchNorm that sees one value
        raise ValueError(
            f"BatchNorm cannot train on one image of {pixels} pixels, whose last maps are one "
            f"pixel: a batch must have at least 2 images, {n_train:,} training images and "
            f"{smallest[1]} give one of 1; take more images or a larger batch"
        ) from error


@lru_cache(64)  # of a million images it takes milliseconds, and a study has thousands of trials
def _smallest_batch(n_train: int, batch_size: int, processes: int) -> int:
    return min(map(len, split_batches(torch.arange(n_train), batch_size, processes)))


def require_own(configs: Sequence[TrialConfig], network: nn.Module, n_classes: int) -> None:
    """Raise ValueError unless a network of the user's own is one that these trials, which are all
    of it, can begin with and train. Nothing of the network changes."""
    config = configs[0]
    if not config.network.own:  # one's own function may do as it likes with the classes
        return
    name, pixels = config.network.name, config.data.pixels
    require_logits(network, name, n_classes, pixels)
    require_again(network, config.network, n_classes)
    for read_at in {c.score.read_at for c in configs}:
        _require_read(network, name, pixels, read_at)
    if any(c.retrain is not None or c.network.is_trained for c in configs):
        require_trainable(network, name, n_classes, pixels)


def _require_read(network: nn.Module, name: str, pixels: int, read_at: ReadAt) -> None:
    """Raise ValueError where a layer gives what no unit can be read from, tokens say."""
    layers, was_training = unit_layers(network, read_at), network.training
    names = list(dict.fromkeys(layer.name for layer in layers))
    device = next(network.parameters()).device
    try:
        with watching(network.eval(), names, {}, lambda *_: None, dims=(2, 4)) as run:
            run(torch.zeros(1, 3, pixels, pixels, device=device))
    except ValueError as error:
        raise ValueError(f"units of network.name={name!r} cannot be read: {error}") from error
    finally:
        network.train(was_training)


def _require_network(configs: Sequence[TrialConfig], n_classes: int | None) -> None:
    """Of weights in a file whether they fit, of one's own network what `require_own` asks."""
    network = configs[0].network
    if n_classes is None or not (network.own or network.weights == "file"):
        return
    built = build_network(network, n_classes)
    require_own(configs, built, n_classes)


def _require_dissection(config: TrialConfig, network: nn.Module) -> None:
    dissection = config.dissection
    if dissection is None:
        return
    if dissection.concepts == "broden":
        n_images = len(concept_source(config, Path()))
    elif config.data.name == "concepts":
        n_images = dissection.n_images or config.data.probe_images or 0
    else:
        concept_source(config, Path())  # which says what other data sets lack
        return
    require_dissectable(network, config, n_images)

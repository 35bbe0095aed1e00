"""All that must be right before the first trial is launched."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.markup import escape
from torch import nn

from pruning import Structure, structure_of
from sweeps.plan.bar import step_bar
from sweeps.plan.cost import disk
from trainables.config import TrialConfig
from trainables.contents import hold_own_code
from trainables.datasets.concepts import first_labels
from trainables.datasets.images import Data, split_batches
from trainables.datasets.loading import load_data
from trainables.datasets.packs import unused
from trainables.networks import (
    build_network,
    require_again,
    require_logits,
    require_pixels,
    require_trainable,
)
from trainables.rounds.budget import require_within_reach
from trainables.rounds.importance import require_samples, samples
from trainables.rounds.pruned import PrunedNetwork, require_prunable
from trainables.scores.dissection import check_dissection, require_n_images
from trainables.scores.mis import depth_of
from trainables.scores.similarity import similarity_of
from trainables.training.dense import load_dense, missing_dense
from trainables.workspace import Workspace, node_cache, require_space, size_shown

_SLOTS = 4  # trials under way, as far as free disk is concerned: Ray is not up yet


def check(configs: Sequence[TrialConfig], results: Path, console: Console) -> None:
    """See that every trial can run; generated images are drawn on the way.

    Raises ValueError or OSError, in one sentence, for anything that would make one fail.
    """
    cache = Workspace(results).cache
    require_space(results, int(disk(configs, _SLOTS).of_trials))
    said: dict[str, None] = {}
    groups: dict[object, list[TrialConfig]] = {}
    hold_own_code(configs, results)
    for config in configs:
        groups.setdefault((config.data, config.network), []).append(config)
    for alike in groups.values():
        config = alike[0]
        with step_bar(console, f"images: {config.data.name}") as progress:
            data = load_data(config.data, cache, progress)
        said[data.said] = None
        require_pixels(config.network, config.data.pixels)
        if any([missing_dense(c, data, cache) for c in _once(alike, lambda c: c.seed)]):
            network = build_network(config.network, data.n_classes)
        else:
            network = load_dense(config, data, cache)
        if config.network.code:  # one's own function may do as it likes with the number of classes
            require_logits(network, config.network.name, data.n_classes, config.data.pixels)
            require_again(network, config.network, data.n_classes)
            if any(c.retrain is not None or c.network.is_trained for c in alike):
                pixels = config.data.pixels
                require_trainable(network, config.network.name, data.n_classes, pixels)
        _check_alike(alike, network, data, cache)
    for images in said:
        console.print(escape(f"images: {images}"), soft_wrap=True)
    own = node_cache(cache)
    if n_bytes := sum(unused(own).values()):
        way = "secateur clean (make clean-results) removes them"
        if own != cache:
            way = f"between sweeps {own / 'packs'} may be deleted, what is needed is decoded anew"
        console.print(
            f"{size_shown(n_bytes)} of decoded images are of pictures that have changed or are "
            f"no longer asked for: {escape(way)}",
            soft_wrap=True,
        )


def _check_alike(
    configs: Sequence[TrialConfig], network: nn.Module, data: Data, cache: Path
) -> None:
    """Each thing that trials on the same images and network differ in is checked once."""
    for config in _once(configs, lambda c: c.score):
        depth_of(config.score, len(data.probe))
        similarity_of(config.score, "cpu")  # its package and its weights are there
    for config in _once(configs, lambda c: c.recalibrate_images):
        _check_recalibration(config, len(data.train))
    structure = structure_of(network)
    for config in _once(configs, _what_prunes):
        _check_pruning(config, network, structure, data)
    _check_batches(configs, network, data)
    for config in _once(configs, lambda c: c.dissection):
        if config.dissection is not None:
            check_dissection(network, config, cache)


def _once(
    configs: Sequence[TrialConfig], what: Callable[[TrialConfig], object]
) -> list[TrialConfig]:
    """One trial of each sort."""
    return list({what(config): config for config in configs}.values())


def _what_prunes(config: TrialConfig) -> object:
    """What `_check_pruning` looks at."""
    prune = config.prune
    if prune is None:
        return None
    which = (prune.exclude, prune.layers, prune.biases)
    how = (prune.amount, prune.rates, prune.granularity, prune.scope)
    return (*which, *how, prune.by, config.seed if prune.by.looks_at_images else None)


def refuser(base: TrialConfig, results: Path) -> Callable[[TrialConfig], None]:
    """A check like `check`'s for trials that are `base` but for how they prune and retrain."""
    cache = Workspace(results).cache
    hold_own_code([base], results)
    data = load_data(base.data, cache)
    network = build_network(base.network.untrained, data.n_classes)  # its shapes alone are asked
    structure = structure_of(network)

    def refuse(config: TrialConfig) -> None:
        _check_recalibration(config, len(data.train))
        _check_pruning(config, network, structure, data)

    return refuse


def require_sizes(config: TrialConfig, per_class: Sequence[int] = ()) -> None:
    """Raise ValueError where the images that the config itself counts are too few for it.

    per_class: how many training images a folder has of each class.
    """
    data, prune, dissection = config.data, config.prune, config.dissection
    if data.train_images is not None:
        _check_recalibration(config, data.train_images)
    if data.probe_images is not None:
        depth_of(config.score, data.probe_images)
    if prune is not None and prune.by.looks_at_images:
        if data.name == "concepts":
            per_class = _classes_drawn(data.train_images or 0, data.seed)
        require_samples(per_class, prune.samples_per_class)
    if dissection is not None and dissection.concepts != "broden" and data.name == "concepts":
        require_n_images(dissection, data.probe_images or 0)


@lru_cache(16)
def _classes_drawn(n_images: int, seed: int) -> tuple[int, ...]:
    """How many of the generated training images are of each class."""
    return tuple(np.bincount(first_labels("train", n_images, seed)).tolist())


def _check_recalibration(config: TrialConfig, n_images: int) -> None:
    if config.recalibrate_images > n_images:
        raise ValueError(
            f"recalibrate_images must be at most the {n_images} training images, "
            f"got {config.recalibrate_images}; SET=recalibrate_images={n_images} takes all"
        )


def _check_batches(configs: Sequence[TrialConfig], network: nn.Module, data: Data) -> None:
    """See that the network can train on the smallest batch that there will be."""
    smallest: dict[int, str] = {}
    for config in configs:
        order = torch.arange(len(data.train))
        recipes = {"network.recipe": config.network.recipe, "finetune": config.retrain}
        if not config.network.is_trained:
            del recipes["network.recipe"]
        for name, recipe in recipes.items():
            if recipe is not None:
                batches = split_batches(order, recipe.batch_size, config.compute.processes)
                smallest[min(map(len, batches))] = f"{name}.batch_size={recipe.batch_size}"
        if config.recalibrate_images == 1:
            smallest[1] = "recalibrate_images=1"
    if 1 not in smallest:
        return
    pixels = configs[0].data.pixels
    try:
        with torch.no_grad():
            network.train()(torch.zeros(1, 3, pixels, pixels))
    except ValueError as error:  # what torch says of a BatchNorm that sees one value
        raise ValueError(
            f"BatchNorm cannot train on one image of {pixels} pixels, whose last maps are one "
            f"pixel: a batch must have at least 2 images, {len(data.train):,} training images and "
            f"{smallest[1]} give one of 1; take more images or a larger batch"
        ) from error
    finally:
        network.eval()


def _check_pruning(
    config: TrialConfig, network: nn.Module, structure: Structure, data: Data
) -> None:
    prune = config.prune
    if prune is None:
        return
    pruned = PrunedNetwork(network, prune, structure)
    require_prunable(pruned)
    require_within_reach(pruned, config.data.pixels)
    if prune.by.looks_at_images:
        samples(data.train, prune.samples_per_class, config.seed)

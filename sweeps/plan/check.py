"""All that must be right before the first trial is launched."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.markup import escape
from torch import nn

from pruning import Structure, structure_of
from sweeps.plan.bar import step_bar
from sweeps.plan.cost import disk
from sweeps.plan.refusals import (
    once,
    require_batches,
    require_classes,
    require_own,
    require_recalibration,
)
from trainables.config import TrialConfig
from trainables.contents import hold_own_code
from trainables.datasets.folder_data import require_named
from trainables.datasets.images import Data
from trainables.datasets.loading import load_data
from trainables.datasets.packs import unused
from trainables.networks import (
    build_network,
    require_pixels,
)
from trainables.rounds.budget import require_within_reach
from trainables.rounds.importance import samples
from trainables.rounds.pruned import PrunedNetwork, require_prunable
from trainables.scores.dissection import check_dissection
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
    for config in configs:  # before the space that pictures take
        if config.data.name == "image_folder":
            require_named(config.data.path)
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
        if any([missing_dense(c, data, cache) for c in once(alike, lambda c: c.seed)]):
            network = build_network(config.network, data.n_classes)
        else:
            network = load_dense(config, data, cache)
        require_own(alike, network, data.n_classes)
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
    for config in once(configs, lambda c: c.score):
        depth_of(config.score, len(data.probe))
        similarity_of(config.score, "cpu")  # its package and its weights are there
    for config in once(configs, lambda c: c.recalibrate_images):
        require_recalibration(config, len(data.train))
    per_class = torch.bincount(data.probe.labels).tolist()
    for config in once(configs, lambda c: (c.scores, c.scores_code)):
        require_classes(config, per_class)
    structure = structure_of(network)
    for config in once(configs, _what_prunes):
        _check_pruning(config, network, structure, data)
    require_batches(configs, network, len(data.train))
    for config in once(configs, lambda c: c.dissection):
        if config.dissection is not None:
            check_dissection(network, config, cache)


def _what_prunes(config: TrialConfig) -> object:
    """What `_check_pruning` looks at."""
    prune = config.prune
    if prune is None:
        return None
    which = (prune.exclude, prune.layers, prune.biases)
    how = (prune.amount, prune.rates, prune.round_to, prune.granularity, prune.scope)
    return (*which, *how, prune.by, config.seed if prune.by.looks_at_images else None)


def refuser(base: TrialConfig, results: Path) -> Callable[[TrialConfig], None]:
    """A check like `check`'s for trials that are `base` but for how they prune and retrain."""
    cache = Workspace(results).cache
    hold_own_code([base], results)
    data = load_data(base.data, cache)
    network = build_network(base.network.untrained, data.n_classes)  # its shapes alone are asked
    structure = structure_of(network)

    def refuse(config: TrialConfig) -> None:
        require_recalibration(config, len(data.train))
        _check_pruning(config, network, structure, data)

    return refuse


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

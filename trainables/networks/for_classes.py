"""Weights that are given, and data of its own classes: which head the network gets."""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Literal

import torch

from trainables.config import NetworkConfig, TrainConfig
from trainables.datasets.names import shown
from trainables.networks.checkpoints import checkpoint_state, require_fit
from trainables.networks.heads import fitted, output_layers
from trainables.networks.imagenet import imagenet_classes
from trainables.networks.outline import outline_with
from trainables.networks.wnids import imagenet_wnids, places_in_imagenet

_THOUSAND = len(imagenet_wnids())


@lru_cache(64)
def for_classes(config: NetworkConfig, classes: tuple[str, ...]) -> NetworkConfig:
    """The config with the head that it gets for data of these classes, named by label.

    Given weights of as many classes keep theirs. Of others: where `recipe` says how, a new one is
    trained; else weights of ImageNet keep it for the data's classes, if these are WordNet ids of
    ImageNet's. Nothing is downloaded for it; a checkpoint is read.

    Raises ValueError, in one sentence, for weights that do not fit, and where neither can be.
    """
    if config.weights not in ("imagenet", "file"):
        return config
    there = _classes_of(config, len(classes))
    if config.head is None:
        config = replace(config, head=_head(config, there, classes))
    elif config.head == "kept" and there == len(classes):
        config = replace(config, head=None)
    if config.head == "kept":
        config = replace(config, kept_classes=_kept(there, classes))
    if config.weights == "file" and config.head is not None:
        _require_file(config, len(classes))
    elif config.head == "new":
        output_layers(outline_with(config.untrained, len(classes)))
    return config


@lru_cache(64)
def head_said(config: NetworkConfig, classes: tuple[str, ...]) -> str:
    """What is done with the head of given weights, for people; "" where it stays as it is, and the
    classes have ImageNet's names."""
    n_classes = len(classes)
    if config.head is None:
        return _order_said(config, classes)
    there = _classes_of(config, n_classes)
    own, auxiliary = output_layers(outline_with(config.untrained, n_classes))
    weights = "ImageNet weights" if config.weights == "imagenet" else f"{config.checkpoint}"
    of = f"network.name={config.name!r}: of the head of {weights} ({_number(there)})"
    if config.head == "kept":
        return f"{of} those of the data's {_number(n_classes)} are kept: nothing is trained for it"
    recipe = config.recipe
    alone = ""
    if recipe is not None:
        alone = f": {recipe.epochs} epochs"
        alone += f", the first {recipe.head_epochs} of it alone" if recipe.head_epochs else ""
        alone += f", all else at lr={recipe.body_lr:g}" if recipe.body_lr is not None else ""
        alone += ", BatchNorms frozen" if recipe.frozen_batchnorm else ""
    return (
        f"{of} nothing is taken: a new one of {_number(n_classes)} ({', '.join(own + auxiliary)}) "
        f"is trained by network.recipe{alone}"
    )


def _order_said(config: NetworkConfig, classes: tuple[str, ...]) -> str:
    if config.weights != "imagenet" or len(classes) != _THOUSAND or classes == imagenet_wnids():
        return ""
    return (
        f"network.name={config.name!r}: its head has ImageNet's classes by WordNet id, "
        f"{imagenet_wnids()[0]} first; the data's {_THOUSAND:,} have other names, "
        f"{shown(classes[0])} first, and are taken to be the same in the same order"
    )


def _number(n: int | None) -> str:
    return "none in it" if n is None else f"{n:,} classes"


def _head(
    config: NetworkConfig, there: int | None, classes: Sequence[str]
) -> Literal["new", "kept"] | None:
    if there == len(classes):
        return None
    if config.recipe is not None:
        return "new"
    known = places_in_imagenet(classes) if there == _THOUSAND else None
    if known is not None and config.weights == "imagenet":
        return "kept"
    what = "ImageNet weights have" if config.weights == "imagenet" else f"{config.checkpoint} has"
    kept = "; network.head='kept' answers among the data's without one" if known else ""
    raise ValueError(
        f"{what} {_number(there)}, the data has {len(classes):,}: network.recipe must say how a "
        f"new head is trained (SET=network.recipe.epochs=10){kept}"
    )


def _kept(there: int | None, classes: Sequence[str]) -> tuple[int, ...]:
    if there != _THOUSAND:
        raise ValueError(
            f"network.head='kept' needs weights of ImageNet's {_THOUSAND:,} classes, these have "
            f"{_number(there)}"
        )
    places = places_in_imagenet(classes)
    if places is None:
        other = next(name for name in classes if name not in imagenet_wnids())
        raise ValueError(
            "network.head='kept' needs classes that are named by WordNet ids of ImageNet's "
            f"{_THOUSAND:,}, such as {imagenet_wnids()[0]}, got {other!r}"
        )
    return places


def _classes_of(config: NetworkConfig, n_classes: int) -> int | None:
    """How many classes the weights know; None where a checkpoint has no head."""
    if config.weights == "imagenet":
        return imagenet_classes(config)
    return _classes_in(config.checkpoint or "", config.entry, config.digest, config, n_classes)


@lru_cache(32)
def _classes_in(
    path: str, entry: str, digest: str, config: NetworkConfig, n_classes: int
) -> int | None:
    """Of a checkpoint, which is of the network but for its head, or ValueError is raised."""
    network = outline_with(config.untrained, n_classes)
    state = checkpoint_state(network, Path(path), entry)
    try:
        require_fit(network, state, Path(path))
    except ValueError as error:
        try:
            weight = f"{output_layers(network)[0][0]}.weight"
            new = replace(config, head="new", recipe=config.recipe or TrainConfig())
            _require_file(new, n_classes)
        except ValueError:  # not even its body fits
            raise error from None
        there = len(state[weight]) if weight in state and state[weight].dim() else None
        if there == n_classes:
            raise
        return there
    return n_classes


def _require_file(config: NetworkConfig, n_classes: int) -> None:
    """Raise ValueError unless a checkpoint fits the network with the head that it gets."""
    path = Path(config.checkpoint or "")
    network = outline_with(config.untrained, n_classes)
    state = fitted(network, config, checkpoint_state(network, path, config.entry))
    drawn = {name: torch.empty(t.shape) for name, t in state.items() if t.is_meta}
    require_fit(network, state | drawn, path)

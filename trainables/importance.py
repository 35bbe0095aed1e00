"""The scores that a trial prunes by: from the weights, or from images, then cached and shared."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from pruning import DATA_CRITERIA, LrpRules, normalise_scores, score_groups
from trainables.config import KEY_VERSION, PruneConfig, TrialConfig
from trainables.datasets.images import Data, ImageSet, normalise
from trainables.dense import dense_key
from trainables.fields import digest_of, flat
from trainables.kept import read_state
from trainables.randomness import generator
from trainables.workspace import whole_file

_VERSION = 2  # of the scores that are kept: raise it when a criterion scores otherwise
_BATCH = 32  # fixed, so that scores do not depend on how a trial evaluates


def importance(
    network: nn.Module, config: TrialConfig, data: Data, cache: Path, round_: int
) -> dict[str, Tensor]:
    """The score of every group of `network`, at the start of a round; normalised.

    Scores of the dense network that take images are computed once: all rates, schedules and
    scopes of one checkpoint, criterion, granularity and set of samples share them.
    """
    prune = _of(config)
    if prune.criterion not in DATA_CRITERIA or round_ > 0:
        return normalise_scores(_score(network, config, data, round_), prune.norm)
    path = cache / f"scores-{_key(config, data)}.pt"
    scores = read_state(path, torch.device("cpu"))
    if scores is None:
        scores = _score(network, config, data, round_)
        with whole_file(path) as partial:
            torch.save(scores, partial)
    return normalise_scores(scores, prune.norm)


def samples(images: ImageSet, per_class: int, seed: int) -> Tensor:
    """Ids int64 of so many images of each class, at random; those of fewer are among them.

    Raises ValueError for a class that has not so many.
    """
    order = torch.randperm(len(images), generator=generator(seed, "samples"))
    labels = images.labels[order]
    chosen = []
    for label in labels.unique().tolist():
        of_class = order[labels == label]
        if len(of_class) < per_class:
            raise ValueError(
                f"prune.samples_per_class must be at most the training images of a class: class "
                f"{label} has {len(of_class)}, got {per_class}; "
                f"SET=prune.samples_per_class={len(of_class)}"
            )
        chosen.append(of_class[:per_class])
    # Classes mixed, the first sample of each, then the second: batches are alike.
    return torch.stack(chosen, dim=1).flatten()


def _score(network: nn.Module, config: TrialConfig, data: Data, round_: int) -> dict[str, Tensor]:
    prune = _of(config)
    batches = None
    if prune.criterion in DATA_CRITERIA:
        ids = samples(data.train, prune.samples_per_class, config.seed)
        batches = _batches(data.train, ids, next(network.parameters()).device)
    return score_groups(
        network,
        prune.criterion,
        prune.granularity,
        generator=generator(config.seed, "criterion", round_, *_draw(prune)),
        exclude=prune.exclude,
        batches=batches,
        rules=_rules(prune),
        target=prune.target,
    )


def _batches(
    images: ImageSet, ids: Tensor, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    for _, pixels, labels in images.batches(ids, _BATCH):
        yield normalise(pixels.to(device)), labels.to(device)


def _key(config: TrialConfig, data: Data) -> str:
    prune = _of(config)
    depends_on = {
        "version": (KEY_VERSION, _VERSION),
        "network": dense_key(config, data),
        "criterion": prune.criterion,
        "rules": asdict(_rules(prune)),
        "granularity": prune.granularity,
        "samples": prune.samples_per_class,
        "target": prune.target,
        "exclude": prune.exclude,
    }
    return digest_of(depends_on)[:16]


def _rules(prune: PruneConfig) -> LrpRules:
    return LrpRules(**flat(prune.lrp)).of(prune.granularity)


def _draw(prune: PruneConfig) -> tuple[int, ...]:
    return (prune.draw,) if prune.draw else ()


def _of(config: TrialConfig) -> PruneConfig:
    if config.prune is None:
        raise ValueError("a dense network has no scores to be pruned by: prune is None")
    return config.prune

"""The dense network: trained once where the study says so, and cached by all it depends on."""

from collections.abc import Callable
from pathlib import Path

import torch
from torchvision.models import GoogLeNet

from trainables.compute import resolve_device, resolve_precision
from trainables.config import KEY_VERSION, TrialConfig
from trainables.datasets.images import Data, Progress
from trainables.evaluate import accuracy_metrics, predict
from trainables.fields import digest_of, identity
from trainables.finetune import Training
from trainables.networks import build_network, load_checkpoint
from trainables.workspace import whole_file

EpochReport = Callable[[int, dict[str, float]], None]
"""Called with the number of epochs done and their metrics."""


def dense_key(config: TrialConfig, data: Data) -> str:
    """16 hex digits that change with anything the dense network depends on."""
    return digest_of(
        {
            "version": KEY_VERSION,
            "network": identity(config.network),
            "train": data.train.digest,
            "seed": config.seed,
            "precision": config.compute.precision,
        }
    )[:16]


def dense_path(config: TrialConfig, data: Data, cache: Path) -> Path:
    """Where the trained dense network of `config` is, or will be."""
    return cache / f"dense-{dense_key(config, data)}.pt"


def load_dense(config: TrialConfig, data: Data, cache: Path) -> GoogLeNet:
    """The dense network of `config`, on the CPU, with the weights it starts from.

    Raises ValueError when it has to be trained first (`train_dense`), or its weights do not fit.
    """
    torch.manual_seed(config.seed)
    network = build_network(config.network, data.n_classes)
    if config.network.weights == "train":
        load_checkpoint(network, dense_path(config, data, cache))
    return network


def train_dense(
    config: TrialConfig,
    data: Data,
    cache: Path,
    *,
    report: EpochReport | None = None,
    progress: Progress | None = None,
) -> Path:
    """Train the dense network from scratch by `config.network.recipe`; returns its checkpoint.

    The checkpoint is a plain state_dict of torchvision's GoogLeNet, written when training ended.
    """
    recipe = config.network.recipe
    if recipe is None:
        raise ValueError(f"only weights='train' are trained, got {config.network.weights!r}")
    device = resolve_device(config.compute)
    precision = resolve_precision(config.compute, device)
    torch.manual_seed(config.seed)
    network = build_network(config.network, data.n_classes)
    network = network.to(device=device, memory_format=torch.channels_last)
    training = Training(network, data.train, recipe, precision=precision)
    generator = torch.Generator().manual_seed(config.seed)
    for epoch in range(1, recipe.epochs + 1):
        metrics = training.epoch(generator, progress)
        if report is not None:
            batch_size = config.compute.eval_batch_size
            logits = predict(network, data.val, device, precision, batch_size)
            report(epoch, metrics | accuracy_metrics(logits, data.val.labels))
    path = dense_path(config, data, cache)
    with whole_file(path) as partial:
        torch.save(network.cpu().state_dict(), partial)
    return path

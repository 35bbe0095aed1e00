"""The dense network: trained once where the study says so, and cached by all it depends on."""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trainables.config import KEY_VERSION, TrainConfig, TrialConfig
from trainables.datasets.images import Data, Progress
from trainables.fields import digest_of, identity
from trainables.kept import read_kept, read_state, require_state, set_aside
from trainables.memo import Memo
from trainables.networks import build_network, file_digest, load_checkpoint, require_fit
from trainables.training.compute import (
    place,
    prepare_process,
    resolve_compile,
    resolve_device,
    resolve_precision,
    share_compiled,
)
from trainables.training.crew import Crew, crew_of, epoch_by_all
from trainables.training.evaluate import accuracy_after_epoch
from trainables.training.finetune import Training

EpochReport = Callable[[int, dict[str, float]], None]
"""Called with the number of epochs done and their metrics."""


def dense_key(config: TrialConfig, data: Data) -> str:
    """16 hex digits that change with anything the dense network depends on."""
    network = identity(config.network)
    if config.network.checkpoint and not config.network.digest:  # without a planner
        network["digest"] = file_digest(Path(config.network.checkpoint))
    return digest_of(
        {
            "version": KEY_VERSION,
            "network": network,
            "train": data.train.digest,
            "seed": config.seed,
            "precision": config.compute.precision,
        }
    )[:16]


def dense_path(config: TrialConfig, data: Data, cache: Path, epoch: int | None = None) -> Path:
    """Where the trained dense network of `config` is, or will be; or it after so many epochs."""
    early = "" if epoch is None else f"-epoch{epoch}"
    return cache / f"dense-{dense_key(config, data)}{early}.pt"


def load_teacher(
    config: TrialConfig, data: Data, cache: Path, device: torch.device
) -> nn.Module | None:
    """The dense network, on the device, whole and never trained again, for a fine-tuning that
    distills; None for all others."""
    if config.finetune is None or not config.finetune.distill:
        return None
    return place(load_dense(config, data, cache), device).requires_grad_(False)


def missing_dense(config: TrialConfig, data: Data, cache: Path) -> bool:
    """Whether `train_dense` has to be called before a trial of `config` can run.

    A checkpoint that is there and cannot be used is set aside, and has to be made anew.
    """
    if not config.network.is_trained:
        return False
    wanted = {None, config.rewind_epoch if config.rewind == "weights" else None}
    network = build_network(config.network.untrained, data.n_classes)

    def fits(path: Path) -> bool:
        load_checkpoint(network, path)
        return True

    paths = [dense_path(config, data, cache, epoch) for epoch in wanted]
    # All of them are looked at, so that all that are broken are set aside.
    return not all([path.exists() and read_kept(path, fits) for path in paths])


def load_dense(config: TrialConfig, data: Data, cache: Path) -> nn.Module:
    """The dense network of `config`, on the CPU, with the weights it starts from.

    Raises ValueError when it has to be trained first (`train_dense`), or its weights do not fit.
    """
    torch.manual_seed(config.seed)
    if not config.network.is_trained:
        return build_network(config.network, data.n_classes)
    network = build_network(config.network.untrained, data.n_classes)
    load_checkpoint(network, dense_path(config, data, cache))
    return network


def train_dense(
    config: TrialConfig,
    data: Data,
    cache: Path,
    *,
    keep_epochs: Collection[int] = (),
    report: EpochReport | None = None,
    progress: Progress | None = None,
) -> Path:
    """Train the dense network by `config.network.recipe`, from scratch or from given weights with a
    new head; returns its checkpoint.

    The checkpoint is a plain state_dict of torchvision's network, written when training ended.
    keep_epochs: numbers of epochs after which to keep the network, too (0: as it was drawn), for
    trials that rewind to them. Where the checkpoint is there, it stays, and training ends with the
    last of those that are missing. An interrupted training goes on from its last epoch.
    """
    recipe = config.network.recipe
    if recipe is None or not config.network.is_trained:
        raise ValueError(
            f"only weights='train' and a new head are trained, got {config.network.weights!r}"
        )
    prepare_process(config.compute)  # as its trials do, whose bits are to be the same
    share_compiled(cache)
    path, state_path = dense_path(config, data, cache), _state_path(config, data, cache)
    last = recipe.epochs
    if path.exists():
        last = max((e for e in keep_epochs if not _early(config, data, cache, e)), default=0)
    with crew_of(config, cache) as crew:
        training = _start(config, recipe, data, crew)
        done = _resume(training, state_path)
        if done > min((e for e in keep_epochs if not _early(config, data, cache, e)), default=done):
            # What is to be kept has gone by.
            training, done = _start(config, recipe, data, crew), 0
        while True:
            if done in keep_epochs:
                _save(training.network, dense_path(config, data, cache, done))
            if done >= last:
                break
            metrics = epoch_by_all(training, config.seed, done, crew, progress)
            done += 1
            if report is not None:
                on = (training.device, training.precision)
                accuracy = accuracy_after_epoch(training.network, config, data, *on)
                report(done, metrics | accuracy)
            Memo.write(state_path, _state(training, done))
    if not path.exists():
        _save(training.network, path)
    state_path.unlink(missing_ok=True)
    return path


def _start(config: TrialConfig, recipe: TrainConfig, data: Data, crew: Crew | None) -> Training:
    device = resolve_device(config.compute)
    precision = resolve_precision(config.compute, device)
    torch.manual_seed(config.seed)
    network = place(build_network(config.network, data.n_classes), device)
    mode = resolve_compile(config.compute, device)
    member = None if crew is None else crew.member
    return Training(network, data.train, recipe, precision=precision, compile=mode, member=member)


def _early(config: TrialConfig, data: Data, cache: Path, epoch: int) -> bool:
    return dense_path(config, data, cache, epoch).exists()


def _state_path(config: TrialConfig, data: Data, cache: Path) -> Path:
    return cache / f"dense-{dense_key(config, data)}-state.pt"


def _state(training: Training, done: int) -> dict[str, Any]:
    network = training.network.state_dict()
    return {"done": done, "network": network, "training": training.state_dict()}


def _resume(training: Training, path: Path) -> int:
    """Load what an interrupted training left; returns how many epochs are done."""
    state = read_state(path, training.device)
    if state is None:
        return 0
    try:
        require_state(state, {"done": int, "network": dict, "training": dict})
        require_fit(training.network, state["network"], path)
        training.load_state_dict(state["training"])
    except ValueError as error:
        set_aside(path, error)
        return 0
    training.network.load_state_dict(state["network"])
    return int(state["done"])


def _save(network: nn.Module, path: Path) -> None:
    Memo.write(path, {n: t.detach().cpu() for n, t in network.state_dict().items()})

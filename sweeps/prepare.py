"""All that must be right, and ready, before the first trial is launched."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from mis import load_similarity
from pruning import prunable_weights
from sweeps.outbox import Outbox
from trainables.compute import resolve_device, resolve_precision
from trainables.config import TrialConfig, flat_params
from trainables.datasets.images import Data
from trainables.datasets.loading import load_data
from trainables.dense import dense_key, dense_path, load_dense, train_dense
from trainables.embeddings import probe_vectors
from trainables.networks import build_network
from trainables.scoring import require_enough_images
from trainables.workspace import Workspace, require_space

_BYTES_PER_TRIAL = 120_000_000  # its checkpoint in MLflow, its last state and optimizer in Ray


def check(configs: Sequence[TrialConfig], results: Path, console: Console) -> None:
    """See that every trial can run; generated images are drawn on the way.

    Raises ValueError or OSError, in one sentence, for anything that would make one fail.
    """
    cache = Workspace(results).cache
    require_space(results, _BYTES_PER_TRIAL * len(configs))
    for config in _different(configs):
        with _bar(console, f"images: {config.data.name}") as progress:
            data = load_data(config.data, cache, progress)
        require_enough_images(config, len(data.probe))
        load_similarity(config.score.similarity)  # its package and its weights are there
        if config.recalibrate_images > len(data.train):
            raise ValueError(
                f"recalibrate_images must be at most the {len(data.train)} training images, "
                f"got {config.recalibrate_images}"
            )
        if config.network.weights == "train":
            network = build_network(config.network, data.n_classes)
        else:
            network = load_dense(config, data, cache)
        if config.prune is not None:
            prunable_weights(network, config.prune.exclude)


def prepare(
    configs: Sequence[TrialConfig], results: Path, outbox: Outbox, console: Console
) -> None:
    """Make and cache what the trials share: dense networks and embeddings."""
    cache = Workspace(results).cache
    for config in _different(configs):
        data = load_data(config.data, cache)
        _train_dense(config, data, cache, outbox, console)
        with _bar(console, f"embeddings: {config.score.similarity}") as progress:
            device = resolve_device(config.compute)
            probe_vectors(data.probe, config.score, cache, device, progress)


def _different(configs: Sequence[TrialConfig]) -> list[TrialConfig]:
    """One trial of each sort that differs in anything that is shared or checked."""
    sorts = {}
    for config in configs:
        exclude = () if config.prune is None else config.prune.exclude
        sorts[
            config.data,
            config.network,
            config.score,
            config.compute,
            config.seed,
            config.recalibrate_images,
            exclude,
        ] = config
    return list(sorts.values())


def _train_dense(
    config: TrialConfig, data: Data, cache: Path, outbox: Outbox, console: Console
) -> None:
    """Train the dense network if it has to be, as a run of its own in MLflow."""
    recipe = config.network.recipe
    if recipe is not None and not dense_path(config, data, cache).exists():
        key = f"dense-{dense_key(config, data)}"
        outbox.start(key, "dense training", "dense training", flat_params(config))
        device = resolve_device(config.compute)
        precision = resolve_precision(config.compute, device)
        title = f"dense network ({device.type}, {precision})"

        def report(epoch: int, metrics: dict[str, float]) -> None:
            outbox.metrics(key, epoch, metrics)
            if not console.is_terminal:  # where no bar is seen
                top1 = metrics["val/top1"]
                console.print(f"  epoch {epoch} of {recipe.epochs}: top-1 {top1:.3f}")

        with _bar(console, title) as progress:
            path = train_dense(config, data, cache, report=report, progress=progress)
        console.print(f"dense network trained, {recipe.epochs} epochs: {path}", soft_wrap=True)
        outbox.end(key, "FINISHED", "completed", {})


@contextmanager
def _bar(console: Console, title: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar that appears with the first step: nothing is shown for what is cached."""
    bars = Progress(
        TextColumn("[bold]{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    task = bars.add_task(title, total=None)
    started = False

    def progress(done: int, total: int) -> None:
        nonlocal started
        if not started:
            if not console.is_terminal:
                console.print(f"{title} …")
            bars.start()
            started = True
        bars.update(task, completed=done, total=total)

    try:
        yield progress
    finally:
        bars.stop()

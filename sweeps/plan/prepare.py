"""What the trials of a plan share, made and cached before the first is launched."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console
from rich.markup import escape

from sweeps.plan.bar import step_bar
from trainables.config import TrialConfig, flat_params
from trainables.contents import hold_own_code
from trainables.datasets.images import Data
from trainables.datasets.loading import load_data
from trainables.scores.embeddings import probe_vectors
from trainables.scores.mis import measure_dense
from trainables.training.compute import (
    prepare_process,
    resolve_compile,
    resolve_device,
    resolve_precision,
)
from trainables.training.dense import dense_key, missing_dense, train_dense
from trainables.workspace import Workspace


class Log(Protocol):
    """What prepare tells its doings to: an Outbox, or what stands for it on another node."""

    def start(self, key: str, name: str, kind: str, params: Mapping[str, Any], /) -> None: ...

    def metrics(self, key: str, step: int, values: Mapping[str, float], /) -> None: ...

    def end(
        self, key: str, status: str, outcome: str | None, tags: Mapping[str, str], /
    ) -> None: ...


def prepare(configs: Sequence[TrialConfig], results: Path, outbox: Log, console: Console) -> None:
    """Make and cache what the trials share: dense networks and embeddings."""
    cache = Workspace(results).cache
    hold_own_code(configs, results)
    for config in _different(configs):
        prepare_process(config.compute)
        device = resolve_device(config.compute)
        resolve_compile(config.compute, device)  # which refuses what no trial here could do
        data = load_data(config.data, cache)
        alike = [c for c in configs if (c.network, c.seed) == (config.network, config.seed)]
        rewound = {c.rewind_epoch for c in alike if c.rewind == "weights"}
        each = {c.rewind_epoch if c.rewind == "weights" else None: c for c in alike}.values()
        if any([missing_dense(c, data, cache) for c in each]):
            _train_dense(config, data, rewound, cache, outbox, console)
        for score in (config.score, config.score.by_pixels):  # the latter as a control
            with step_bar(console, f"embeddings: {score.similarity}") as progress:
                probe_vectors(data.probe, score, cache, device, progress)
        if config.network.weights != "random" and not config.score.rotated:
            with step_bar(console, "MIS of the dense network") as progress:
                measure_dense(config, data, cache, progress)


def _different(configs: Sequence[TrialConfig]) -> list[TrialConfig]:
    """One trial of each sort that differs in anything that is shared or checked."""
    sorts = {}
    for config in configs:
        shared = (config.data, config.network, config.score, config.dissection, config.compute)
        scores = (config.scores, config.scores_code)
        sorts[(*shared, *scores, config.seed, config.recalibrate_images)] = config
    return list(sorts.values())


def _train_dense(
    config: TrialConfig,
    data: Data,
    keep_epochs: set[int],
    cache: Path,
    outbox: Log,
    console: Console,
) -> None:
    """Train the dense network, as a run of its own in MLflow."""
    recipe = config.network.recipe
    key = f"dense-{dense_key(config, data)}"
    outbox.start(key, "dense training", "dense training", flat_params(config))
    device = resolve_device(config.compute)
    precision = resolve_precision(config.compute, device)
    title = f"dense network ({device.type}, {precision})"

    def report(epoch: int, metrics: dict[str, float]) -> None:
        outbox.metrics(key, epoch, metrics)
        if not console.is_terminal and recipe is not None:  # where no bar is seen
            top1 = metrics["val/top1"]
            console.print(f"  epoch {epoch} of {recipe.epochs}: top-1 {top1:.3f}")

    with step_bar(console, title) as progress:
        path = train_dense(
            config, data, cache, keep_epochs=keep_epochs, report=report, progress=progress
        )
    console.print(f"dense network trained: {escape(str(path))}", soft_wrap=True)
    outbox.end(key, "FINISHED", "completed", {})

"""The trials of a plan on Ray Tune: on this machine, or on the cluster of RAY_ADDRESS."""

import logging
import os
import signal
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# Before Ray is imported, which reads them.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # its header prints even when silent
os.environ.setdefault("TUNE_DISABLE_STRICT_METRIC_CHECKING", "1")

import ray
from ray import tune
from rich.console import Console

from sweeps.callbacks import SweepCallback
from sweeps.outbox import Outbox
from sweeps.progress import SweepProgress
from sweeps.sweep import Sweep
from sweeps.trainable import PruningTrial
from trainables.config import TrialConfig
from trainables.workspace import Workspace

_TRIAL_BYTES = 1_500_000_000  # of memory: torch, a GoogLeNet in training, a batch of 224 px
_OBJECT_STORE_BYTES = 300_000_000  # images are memory-mapped files and do not travel through Ray


@dataclass(frozen=True)
class Launched:
    """How it went: sentences about failed trials, and whether it was broken off."""

    failures: tuple[str, ...]
    problems: tuple[str, ...]  # of our own bookkeeping
    interrupted: bool


def connect() -> dict[str, float]:
    """Start Ray here, or join the cluster of RAY_ADDRESS; what it has, by resource.

    Raises ValueError when the cluster does not answer.
    """
    address = os.environ.get("RAY_ADDRESS")
    if address and ":" in address and "//" not in address:
        _require_port(address)
    if not ray.is_initialized():
        ray.init(
            address=address,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=None if address else _OBJECT_STORE_BYTES,
        )
    return ray.cluster_resources()


def _require_port(address: str) -> None:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, ValueError) as error:
        raise ValueError(
            f"a Ray cluster must answer at RAY_ADDRESS={address}, none does ({error}); unset it "
            "to run on this machine"
        ) from error


def trial_resources(sweep: Sweep, cluster: dict[str, float]) -> dict[str, float]:
    """CPUs, GPUs and memory of a trial: a share of a GPU where the cluster has one.

    Raises ValueError when no trial would ever fit: Ray would wait for ever.
    """
    gpus = sweep.gpus_per_trial if cluster.get("GPU", 0) > 0 else 0.0
    cpus = min(sweep.cpus_per_trial, cluster.get("CPU", 0.0))
    wanted = sweep.base.compute.device
    if wanted == "cuda" and not gpus:
        raise ValueError("compute.device='cuda' needs a GPU and this Ray has none; use 'auto'")
    if gpus > cluster.get("GPU", 0):
        raise ValueError(f"a trial needs {gpus:g} GPUs, the cluster has {cluster['GPU']:g}")
    memory = cluster.get("memory", 0.0)
    if memory < _TRIAL_BYTES:
        raise ValueError(f"a trial needs 1.5 GB of memory, Ray has {memory / 1e9:.1f} GB to give")
    return {"cpu": cpus, "gpu": gpus if wanted != "cpu" else 0.0, "memory": _TRIAL_BYTES}


def launch(
    sweep: Sweep,
    configs: Sequence[TrialConfig],
    *,
    n_done: int,
    results: Path,
    outbox: Outbox,
    console: Console,
) -> Launched:
    """Run the trials; returns when all have ended, or the user breaks it off."""
    progress = SweepProgress(console, n_done + len(configs), n_done)
    callback = SweepCallback(outbox, progress, Workspace(results))
    resources = trial_resources(sweep, connect())
    tuner = tune.Tuner(
        tune.with_resources(PruningTrial, resources),
        param_space={"trial": tune.grid_search(list(configs)), "results": str(results)},
        tune_config=tune.TuneConfig(reuse_actors=True, num_samples=1),
        run_config=tune.RunConfig(
            name=sweep.name,
            storage_path=str(results / "ray"),
            verbose=0,
            callbacks=[callback],
            checkpoint_config=tune.CheckpointConfig(
                num_to_keep=1, checkpoint_frequency=1, checkpoint_at_end=False
            ),
            failure_config=tune.FailureConfig(max_failures=2),  # of a worker that dies
            log_to_file=True,
        ),
    )
    # Ray winds down on Ctrl-C only; schedulers of machines send this.
    before = signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    try:
        with progress:
            tuner.fit()
    finally:
        signal.signal(signal.SIGTERM, before)
    return Launched(
        failures=tuple(progress.failures),
        problems=tuple(callback.problems),
        interrupted=len(callback.ended) < len(configs),
    )

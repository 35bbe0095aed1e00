"""What a sweep costs beside its trials: `python -m benchmarks sweep`.

Short trials of GoogLeNet on this machine, on Ray and MLflow as `make sweep` runs them, against
the same trials in as many plain processes.
"""

import argparse
import dataclasses
import io
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import ray
from rich.console import Console
from rich.table import Table

from sweeps.plan.planner import Plan, make_plan
from sweeps.plan.prepare import prepare
from sweeps.plan.sweep import Grid, axis, methods
from sweeps.studies import load_study
from sweeps.studies.demo import BASE
from sweeps.tracking.outbox import Outbox
from sweeps.tracking.sync import outbox_path
from sweeps.tracking.tracker import Tracker
from sweeps.tune.launch import connect, launch
from trainables.config import NetworkConfig, TrialConfig
from trainables.trial import Trial
from trainables.workspace import Workspace

_SHORT = {"data.train_images": 480, "data.val_images": 400, "data.probe_images": 1_000}
# With the three baselines 24: one that is left over at the end is not the launcher's fault.
_RATES = [i / 40 for i in range(8, 29)]


@dataclass(frozen=True)
class Pure:
    """Seconds of a trial by itself: all of it, and its first epoch."""

    total: float
    first_epoch: float


def _plan(slots: int) -> Plan:
    """Trials like the demo's, of some seconds each, of a network that need not be trained."""
    demo = load_study("demo")
    base = BASE.replace(
        {
            "network": NetworkConfig(weights="random"),
            "dissection": None,
            "compute.device": "cpu",
            "compute.threads": max(1, (os.cpu_count() or 1) // slots),
            **_SHORT,
        }
    )
    grid = Grid({"method": methods("structured"), "rate": axis("prune.rate", _RATES)})
    changes = {"base": base, "grids": (grid,), "controls": False, "recalibrate_images": 64}
    return make_plan(dataclasses.replace(demo, name="bench", **changes))


def _pure(config: TrialConfig, results: Path) -> Pure:
    start = time.perf_counter()
    trial = Trial(config, Workspace(results))
    ready = time.perf_counter()
    first = 0.0
    while not trial.trained:
        trial.epoch()
        first = first or time.perf_counter() - ready
    trial.finish()
    return Pure(time.perf_counter() - start, first)


def pure_trials(configs: Sequence[TrialConfig], results: Path, slots: int) -> list[Pure]:
    """Each trial in one of `slots` processes, which disturb each other as workers do."""
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(slots) as pool:
        warm_up = [(configs[0], results)] * slots
        pool.starmap(_pure, warm_up, chunksize=1)
        return pool.starmap(_pure, [(config, results) for config in configs], chunksize=1)


def swept(plan: Plan, results: Path) -> tuple[float, list[dict]]:
    """Wall seconds from the first trial's start to the last event's delivery; all events.

    Ray is up, and its first workers' imports are in it.
    """
    tracker = Tracker(plan.sweep.name, results)
    outbox = Outbox(outbox_path(results, plan.sweep.name), tracker, tracker.sweep_run(plan))
    quiet = Console(file=io.StringIO())
    start = time.perf_counter()
    launched = launch(
        plan.sweep, plan.configs, n_done=0, results=results, outbox=outbox, console=quiet
    )
    events = [json.loads(line) for line in outbox.path.read_text().splitlines()]
    outbox.end_sweep("FINISHED")
    waiting = outbox.close(600)
    if launched.failures or launched.problems or launched.interrupted or waiting:
        raise RuntimeError(f"the benchmark's sweep must go well: {launched}, {waiting} wait")
    return time.perf_counter() - start, events


def start_ups(events: list[dict], pure: dict[str, Pure], slots: int) -> list[float]:
    """Seconds from a trial's end to its successor's first epoch, without the time of that epoch."""
    ends = sorted(e["time_ms"] for e in events if e["event"] == "end")
    first = {e["key"]: e["time_ms"] for e in events if e["event"] == "metrics" and e["step"] == 1}
    started = [e["key"] for e in events if e["event"] == "start"]
    # The n-th that starts after the first ones takes the place of the n-th that has ended.
    return [
        (first[key] - ended) / 1000 - pure[key].first_epoch
        for key, ended in zip(started[slots:], ends, strict=False)
        if key in first
    ]


def logging_share(results: Path) -> tuple[float, float]:
    """Shares of a demo epoch: delivering its metrics to SQLite, and keeping the trial's state."""
    network = {"network": NetworkConfig(weights="random")}
    config = BASE.replace({**network, "compute.threads": 1})
    trial = Trial(config, Workspace(results))
    trial.epoch()  # to warm up
    start = time.perf_counter()
    metrics = trial.epoch()
    epoch = time.perf_counter() - start
    tracker = Tracker("bench", results)
    run = tracker.start_run("logging", kind="bench", key="logging")
    log, save = [], []
    for step in range(1, 12):
        start = time.perf_counter()
        tracker.log_metrics(run, metrics, step, step)
        log.append(time.perf_counter() - start)
        start = time.perf_counter()
        trial.save()
        save.append(time.perf_counter() - start)
    return statistics.median(log) / epoch, statistics.median(save) / epoch


def main(argv: list[str] | None = None) -> None:
    argparse.ArgumentParser(description=__doc__).parse_args(argv)
    # Ray's workers give way to others, plain processes do not: a busy machine must hit both alike.
    os.environ.update(RAY_worker_niceness="0")
    slots = max(1, int(connect().get("CPU", 1)))
    plan = _plan(slots)
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder)
        tracker = Tracker("bench", results)
        outbox = Outbox(results / "prepare.jsonl", tracker, None)
        prepare(list(plan.configs), results, outbox, Console())
        outbox.close(60)
        pure = pure_trials(plan.configs, results, slots)
        wall, events = swept(plan, results)
        by_key = dict(zip(plan.keys, pure, strict=True))
        starts = start_ups(events, by_key, slots)
        log, save = logging_share(results)
    ray.shutdown()
    ideal = sum(each.total for each in pure) / slots
    table = Table(
        title=f"{len(plan.configs)} trials of {ideal * slots / len(plan.configs):.1f} s, "
        f"{slots} at a time"
    )
    for heading in ("what", "measured", "goal"):
        table.add_column(heading)
    table.add_row("wall time / (sum of pure trials / slots)", f"{wall / ideal:.2f}", "<= 1.15")
    table.add_row("start-up of a trial, s", f"{statistics.median(starts):.2f}", "<= 1")
    table.add_row("metrics into MLflow, of a demo epoch", f"{log:.2%}", "<= 1 %")
    table.add_row("the trial's state to disk, of a demo epoch", f"{save:.2%}", "")
    Console(width=110).print(table)


if __name__ == "__main__":
    main()

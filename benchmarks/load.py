"""What a sweep of many trials costs: `python -m benchmarks load [100 500 2000]`.

Trials are stubs that write what a trial of GoogLeNet leaves, in no time; Ray, the outbox, MLflow on
SQLite and the report are real. Each step is a process of its own, as its command would be. Memory
is what counts: on a machine that does other things as well, no time is to be believed.
"""

import argparse
import dataclasses
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
_STUDY = "load"
_UNITS, _LAYERS = 7_280, 57
_SEEDS = 25  # so many trials of a rate
GOALS = {
    "driver, kB per trial": 50.0,
    "Ray's state file, kB per trial": 50.0,
    "delivery, CPU of the second half / of the first": 1.25,
    "report, MB per trial above its imports": 0.5,
    "nothing to do / bare search_runs": 1.2,
    "a new report where nothing is new": 0.0,
    "a run deleted in MLflow goes unnoticed": 0.0,
}
"""What is measured -> the most that it may be."""


def plan_of(n: int) -> Any:
    """A plan of about n trials: rates by seeds, of a network that is not trained."""
    from sweeps.plan.planner import make_plan
    from sweeps.plan.sweep import Grid, Sweep, axis, methods
    from trainables.config import DataConfig, NetworkConfig, PruneConfig, ScoreConfig, TrialConfig

    rates = [0.1 + 0.8 * at / max(1, n // _SEEDS) for at in range(max(1, n // _SEEDS))]
    base = TrialConfig(
        data=DataConfig(pixels=32, train_images=64, val_images=40, probe_images=60),
        network=NetworkConfig(weights="random"),
        prune=PruneConfig(),
        score=ScoreConfig(n_tasks=5, n_explanations=3),
    )
    base = base.replace({"finetune": None, "compute.device": "cpu", "compute.threads": 1})
    axes = {
        "method": methods("structured"),
        "rate": axis("prune.rate", rates),
        "seed": axis("seed", range(_SEEDS)),
    }
    sweep = Sweep(_STUDY, "Many trials that do nothing.", base, [Grid(axes)], controls=False)
    sweep = dataclasses.replace(sweep, recalibrate_images=32, cpus_per_trial=0.5)
    return make_plan(sweep)


def stub() -> type:
    """A trial that ends at once, with all the metrics and tables that a real one has."""
    from sweeps.tune.worker import PruningTrial
    from trainables.config import TrialConfig
    from trainables.workspace import Workspace, files_of

    class Stub(PruningTrial):
        def setup(self, config: dict[str, Any]) -> None:
            self.wanted: TrialConfig = config["trial"]
            self.workspace = Workspace(Path(config["results"]), config["study"])

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self.setup(new_config)
            return True

        def step(self) -> dict[str, Any]:
            config, folder = self.wanted, self.workspace.trial(self.wanted.key)
            random = np.random.default_rng(int(config.key, 16) % 2**32)
            folder.mkdir(parents=True, exist_ok=True)
            _units(random).to_parquet(folder / "units.parquet", index=False)
            for name in ("checkpoint.pt", "keep.pt", "compacted.pt", "network.json", "config.json"):
                (folder / name).write_bytes(b"x" * 20_000)
            final = _metrics(config.rate, random)
            return {
                **{"epoch": 0, "epochs": [], "key": config.key, "metrics": final, "final": final},
                **{"outcome": "completed", "made_on": {"device": "stub"}, "done": True},
                "files": files_of(folder),
            }

        def _drop(self) -> None:
            pass

    return Stub


def _units(random: np.random.Generator) -> pd.DataFrame:
    layers = [f"inception{at}.branch" for at in range(_LAYERS)]
    mis = random.normal(0.67, 0.07, _UNITS).clip(0, 1)
    columns: dict[str, Any] = {
        "layer": np.resize(np.repeat(layers, -(-_UNITS // _LAYERS)), _UNITS),
        "channel": np.arange(_UNITS) % -(-_UNITS // _LAYERS),
        "state": "alive",
        **{"mis": mis, "task_accuracy": mis, "mis_pixels": mis, "dense_mis": mis[::-1]},
        **{"minimum": np.float32(0), "maximum": np.float32(1), "counted": True},
        "replicates": list(random.normal(0.67, 0.07, (_UNITS, 20)).astype(np.float32)),
    }
    return pd.DataFrame(columns)


def _metrics(rate: float, random: np.random.Generator) -> dict[str, float]:
    values = {
        **{"val/top1": 0.8 * (1 - rate**4), "val/top5": 0.95, "val/loss": 1.0, "val/ece": 0.1},
        **{"prune/sparsity": rate, "prune/sparsity_network": rate, "prune/n_collapsed": 0.0},
        **{"mis/mean": 0.68 - 0.05 * rate + random.normal(0, 0.003), "mis/n_units": 7e3},
        **{"mis/shuffled_mean": 0.5, "mis/shuffled_error": 0.01, "cost/macs": 1e8 * (1 - rate)},
    }
    for at in range(_LAYERS):
        values |= {f"mis/layer{at}/{what}": 0.6 for what in ("mean", "error", "n_units", "n_dead")}
    return values


def _rss() -> float:
    """Bytes that this process has now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return float(pages * os.sysconf("SC_PAGE_SIZE"))


def _sweep(n: int, results: Path) -> dict[str, float]:
    """A whole sweep, its report left out: what a driver and Ray's file grow by."""
    import sweeps.plan.check
    import sweeps.run
    import sweeps.tune.fit
    from sweeps.tune.events import SweepCallback

    seen: list[tuple[int, float, float, float]] = []
    ended = SweepCallback._ended

    def note(self: SweepCallback, *arguments: Any) -> None:
        ended(self, *arguments)
        files = (results / "ray" / _STUDY).glob("experiment_state*.json")
        size = max((file.stat().st_size for file in files), default=0)
        seen.append((len(self.ended), _rss(), float(size), time.process_time()))

    SweepCallback._ended = note  # type: ignore[method-assign]
    sweeps.tune.fit.PruningTrial = stub()  # type: ignore[attr-defined]
    sweeps.run.write_report = lambda *_: results
    sweeps.plan.check.require_space = lambda *_: None  # stubs leave a fiftieth of a trial's files
    if code := sweeps.run.run_sweep(plan_of(n), results, Console(file=sys.stderr, width=110)):
        raise RuntimeError(f"the sweep must end with 0, it ended with {code}")
    table = np.array(seen)
    later = table[len(table) // 5 :]  # what is imported and filled once comes before
    half = len(later) // 2
    cpu = np.diff(later[:, 3])
    # The last file: how often Ray writes it depends on its size.
    return {
        "trials": float(len(table)),
        "driver, kB per trial": float(np.polyfit(later[:, 0], later[:, 1], 1)[0]) / 1e3,
        "Ray's state file, kB per trial": float(later[:, 2].max() / later[-1, 0]) / 1e3,
        "delivery, CPU of the second half / of the first": float(
            cpu[half:].mean() / cpu[:half].mean()
        ),
    }


def _report(n: int, results: Path) -> dict[str, float]:
    from sweeps.report import report_study

    before, start = _rss(), time.perf_counter()
    report_study(_STUDY, results, None, Console(file=io.StringIO()))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "report, MB per trial above its imports": (peak - before) / 1e6 / len(plan_of(n).configs),
        "report, s": time.perf_counter() - start,
    }


def _idle(n: int, results: Path) -> dict[str, float]:
    import sweeps.run
    from sweeps.tracking.tracker import Tracker

    plan, page = plan_of(n), results / "report" / _STUDY / "report.html"
    quiet = Console(file=io.StringIO())
    sweeps.run.run_sweep(plan, results, quiet)  # a report that is known to be of these runs
    made = page.stat().st_mtime_ns
    tracker = Tracker(_STUDY, results)
    runs = tracker.runs("trial", "FINISHED")
    times = []
    for _ in range(3):
        bare = _cpu_seconds(lambda: tracker.runs("trial", "FINISHED"))
        times.append((_cpu_seconds(lambda: sweeps.run.run_sweep(plan, results, quiet)), bare))
    idle, bare = sorted(times, key=lambda pair: pair[0] / pair[1])[1]
    anew = float(page.stat().st_mtime_ns != made)
    tracker.client.delete_run(runs[0].info.run_id)
    return {
        "bare search_runs, CPU s": bare,
        "nothing to do, CPU s": idle,
        "nothing to do / bare search_runs": idle / bare,
        "a new report where nothing is new": anew,
        "a run deleted in MLflow goes unnoticed": float(
            len(plan.remaining(tracker.done(plan))) != 1
        ),
    }


def _cpu_seconds(action: Callable[[], object]) -> float:
    """Of this process: who else is on the machine does not count."""
    start = time.process_time()
    action()
    return time.process_time() - start


_STEPS = {"sweep": _sweep, "report": _report, "idle": _idle}


def main(options: list[str]) -> None:
    """A table of what was measured at each number of trials, beside the goals."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks load")
    parser.add_argument("trials", nargs="*", type=int, default=[100, 500, 2_000])
    parser.add_argument("--step", choices=_STEPS)
    parser.add_argument("--results", type=Path)
    arguments = parser.parse_args(options)
    if arguments.step:
        print(json.dumps(_STEPS[arguments.step](arguments.trials[0], arguments.results)))
        return
    found = {n: _measured(n) for n in arguments.trials}
    table = Table(title="Load: trials stubbed; Ray, outbox, MLflow on SQLite, report real")
    for heading in ("what", *(f"{n:,} trials" for n in found), "at most", ""):
        table.add_column(heading)
    for what in dict.fromkeys(name for each in found.values() for name in each):
        values = [each.get(what, float("nan")) for each in found.values()]
        goal = GOALS.get(what)
        kept = "" if goal is None else ("kept" if values[-1] <= goal else "NOT KEPT")
        shown = "" if goal is None else f"{goal:g}"
        table.add_row(what, *(f"{value:,.3g}" for value in values), shown, kept)
    Console(width=130).print(table)


def _measured(n: int) -> dict[str, float]:
    found: dict[str, float] = {}
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("MLFLOW_TRACKING_URI", None)
    with tempfile.TemporaryDirectory() as folder:
        for step in _STEPS:
            command = [sys.executable, "-m", "benchmarks", "load", str(n), "--step", step]
            said = subprocess.run(
                [*command, "--results", str(Path(folder) / "results")],
                env=environment,
                cwd=ROOT,
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            ).stdout
            found |= json.loads(said.splitlines()[-1])
            print(f"{n} trials, {step}: {said.splitlines()[-1]}", file=sys.stderr, flush=True)
    return found

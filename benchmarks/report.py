"""The report of one sweep, in a tracking store that holds ten thousand runs."""

import io
import os
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from rich.console import Console

from sweeps.report import report_study
from sweeps.tracking.tracker import Tracker

RUNS, TRIALS, UNITS = 10_000, 100, 7_296
MOST_SECONDS = 60.0
_METHODS = ("unstructured", "structured", "connection")
_TABLES = ("runs", "params", "metrics", "latest_metrics", "tags")  # that hold what a run is


def report_seconds(device: torch.device) -> float:
    """Seconds of one report of a sweep of 100 trials among 10,000 runs, over a minute."""
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results"
        fill(results, Path(folder) / "files")
        start = time.perf_counter()
        report_study("busy", results, None, Console(file=io.StringIO()))
        return (time.perf_counter() - start) / MOST_SECONDS


def fill(results: Path, files: Path) -> None:
    """A store with a sweep that is whole, and copies of its runs that other sweeps logged."""
    tracker = Tracker("busy", results)
    random = np.random.default_rng(0)
    trials = list(_trials())[:TRIALS]
    parent = tracker.client.create_run(
        tracker.experiment_id, tags={"kind": "sweep", "sweep_key": "bench"}, run_name="sweep"
    ).info.run_id
    keys = [f"{place:012x}" for place in range(len(trials))]
    tracker.client.log_text(parent, "\n".join(keys), "plan/trial_keys.txt")
    for key, params in zip(keys, trials, strict=True):
        name = " ".join(params[axis] for axis in ("method", "rate", "schedule", "seed"))
        run = tracker.start_run(name, kind="trial", key=key, parent=parent, params=params)
        tracker.log_metrics(run, _metrics(params, random), 0, 1_700_000_000_000)
        _units(random, files / key)
        tracker.log_folder(run, files / key)
        tracker.set_tags(run, {"outcome": "completed"})
        tracker.end_run(run, "FINISHED")
    tracker.end_run(parent, "FINISHED")
    with closing(sqlite3.connect(results / "mlflow.db")) as database, database:
        _copy(database, RUNS // TRIALS - 1)


def _trials() -> Iterator[dict[str, str]]:
    for seed in range(10):
        common = {"seed": str(seed), "network.name": "googlenet", "data.name": "concepts"}
        common |= {f"setting.{place}": "1" for place in range(40)}  # as many as trials have
        base = {"rate": "0.0", "schedule": "none", "criterion": "none"}
        yield {"method": "dense", "retraining": "none", **base, **common}
        yield {"method": "dense", "retraining": "finetune", **base, **common}
        for method in _METHODS:
            for rate in ("0.25", "0.5", "0.75", "0.9"):
                pruned = {"schedule": "one_shot", "criterion": "l1", "retraining": "finetune"}
                pruned |= {"method": method, "rate": rate, "prune.rate": rate}
                yield {**pruned, **common}


def _metrics(params: dict[str, str], random: np.random.Generator) -> dict[str, float]:
    rate = float(params["rate"])
    values = {
        "val/top1": 0.8 * (1 - rate**4) + random.normal(0, 0.01),
        "prune/sparsity": rate,
        "mis/mean": 0.68 - 0.05 * rate**2 + random.normal(0, 0.003),
        "mis/n_units": float(UNITS),
        "mis/n_dead": 0.0,
        "mis/shuffled_mean": 0.5,
        "mis/shuffled_error": 0.001,
        "cost/macs": 1e8 * (1 - rate),
    }
    return values | {f"mis/layer{place}/mean": 0.6 for place in range(57)}


def _units(random: np.random.Generator, folder: Path) -> None:
    folder.mkdir(parents=True)
    columns: dict[str, Any] = {
        "layer": np.repeat([f"inception{i}.branch{i % 4 + 1}" for i in range(57)], 128),
        "channel": np.tile(np.arange(128), 57),
        "state": "alive",
        "mis": random.normal(0.67, 0.07, UNITS),
        "task_accuracy": 0.7,
        "dense_mis": random.normal(0.68, 0.07, UNITS),
        "minimum": 0.0,
        "maximum": 1.0,
        "counted": True,
    }
    pd.DataFrame(columns).to_parquet(folder / "units.parquet", index=False)


def _copy(database: sqlite3.Connection, times: int) -> None:
    """Every run so many times again, under other ids, keys and parents."""
    database.execute("CREATE TEMP TABLE original AS SELECT run_uuid AS id FROM runs")
    for number in range(times):
        other = "CASE WHEN key IN ('trial_key', 'mlflow.parentRunId', 'sweep_key')"
        changed = {"run_uuid": f"printf('z%02d', {number}) || substr(run_uuid, 4)"}
        for table in _TABLES:
            columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
            if table == "tags":
                changed["value"] = f"{other} THEN value || '-{number}' ELSE value END"
            else:
                changed.pop("value", None)
            taken = ", ".join(changed.get(column, column) for column in columns)
            database.execute(
                f"INSERT INTO {table} ({', '.join(columns)}) SELECT {taken} FROM {table} "
                "WHERE run_uuid IN (SELECT id FROM original)"
            )


BENCHMARKS = {f"report of a sweep among {RUNS:,} runs, minutes": (report_seconds, 1.0)}

"""The studies whose results folder is kept in tests/data, and that folder unpacked.

What is said here is what they were made with: it stays, whatever the defaults become.
"""

import sqlite3
import tarfile
from pathlib import Path

from optuna.distributions import FloatDistribution

from sweeps.plan.space import Choice, Search
from sweeps.plan.sweep import Grid, Sweep, axis, methods
from trainables.config import (
    ComputeConfig,
    DataConfig,
    DissectionConfig,
    NetworkConfig,
    PruneConfig,
    ScoreConfig,
    TrainConfig,
    TrialConfig,
)

KEPT = Path(__file__).parent / "data" / "results_88ae263.tar.xz"
MADE_IN = "/tmp/keys/make/results"  # where its database and its outbox say that it is


def recipe(epochs):
    return TrainConfig(epochs=epochs, batch_size=16, lr=1e-3, lr_schedule="cosine")


def base(**changes):
    config = TrialConfig(
        network=NetworkConfig(name="googlenet", weights="train", recipe=recipe(1)),
        data=DataConfig(
            name="concepts", pixels=32, train_images=64, val_images=40, probe_images=60
        ),
        prune=PruneConfig(granularity="filter", scope="layer", criterion="l1", rate=0.5),
        finetune=None,
        recalibrate_images=32,
        score=ScoreConfig(
            similarity="efficientnet_lite0",
            n_tasks=5,
            n_explanations=3,
            protocol="zimmermann2024",
            read_at="relu",
        ),
        compute=ComputeConfig(device="cpu", precision="fp32", threads=1),
    )
    return config.replace(changes)


def sweep(name, grids, base, **more):
    return Sweep(
        name=name,
        purpose="A study of seconds, of which a results folder is kept.",
        base=base,
        grids=grids,
        controls=False,
        recalibrate_images=32,
        **more,
    )


def finished():
    """Three trials: dense, untrained, pruned; two layers dissected."""
    layers = ("inception3a.branch1", "inception3b.branch1")
    dissection = DissectionConfig(layers=layers, aligned=False)  # which could not be said then
    return sweep("finished", [Grid({"method": methods("structured")})], base(dissection=dissection))


def interrupted():
    """Four trials; the driver was killed while the pruned one was between its two rounds."""
    two_rounds = {"prune.schedule": "iterative", "prune.rounds": 2}
    grids = [Grid({"method": methods("structured")}, set=two_rounds)]
    return sweep("interrupted", grids, base(finetune=recipe(2), recalibrate_images=0))


def searched(n_trials=2):
    """Three trials, and two that Optuna proposed."""
    search = Search(
        {
            "method": Choice(methods("structured", "connection")),
            "prune.rate": FloatDistribution(0.3, 0.8),
        },
        {"val/top1": "max", "prune/sparsity": "max"},
        n_trials,
        constraints={"prune/n_collapsed": (None, 0)},
    )
    return sweep("searched", [Grid({"rate": axis("prune.rate", (0.5,))})], base(), search=search)


def unpack(folder):
    """The kept results folder under `folder`, as if it had been made there."""
    results = folder / "results"
    with tarfile.open(KEPT) as file:
        file.extractall(folder, filter="data")
    for path in results.glob("outbox/*.jsonl"):
        path.write_text(path.read_text().replace(MADE_IN, str(results)))
    with sqlite3.connect(results / "mlflow.db") as database:
        for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
            database.execute(
                f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (MADE_IN, str(results))
            )
    database.close()
    return results

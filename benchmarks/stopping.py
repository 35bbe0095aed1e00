"""What early stopping saves on recorded learning curves: rungs per stratum, plain ASHA, none.

The curves: GoogLeNet on generated images of 32 px (400 to train on, 300 to validate), pruned by
four methods at three rates, in one shot and in three rounds, at two learning rates, and fine-tuned
for nine epochs. `python -m benchmarks stopping --record FILE` records them anew, within hours.
`--results FOLDER --study NAME` replays on the curves of a study of your own: see `replay.py`.
"""

import argparse
import csv
import random
import statistics
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler
from rich.console import Console
from rich.table import Table

from benchmarks.replay import read_recorded, replay_table
from sweeps.plan.forecast import Curve, Decide, by_rungs, simulate
from sweeps.plan.rungs import Rungs, Stopping
from sweeps.plan.sweep import Grid, axis, methods
from sweeps.tracking.quiet import settled
from trainables.config import (
    ComputeConfig,
    DataConfig,
    NetworkConfig,
    PruneConfig,
    TrainConfig,
    TrialConfig,
)
from trainables.datasets.loading import load_data
from trainables.training.dense import missing_dense, train_dense
from trainables.trial import Trial
from trainables.workspace import Workspace

RECORDED = Path(__file__).parents[1] / "tests" / "sweeps" / "learning_curves.csv"
_COLUMNS = ("key", "method", "rate", "schedule", "lr", "epoch", "val/top1")
_SLOTS, _ORDERS = 4, 20


def read_curves(path: Path = RECORDED) -> list[Curve]:
    """The recorded curves; the stratum is rate and schedule, all else being equal."""
    values, axes = _recorded(path)
    strata = {key: f"{each['rate']} {each['schedule']}" for key, each in axes.items()}
    return [Curve(key, strata[key], tuple(each)) for key, each in values.items()]


def arms_of(path: Path = RECORDED) -> dict[str, str]:
    """Key -> what a study of these trials would ask about; two recipes are of each."""
    axes = _recorded(path)[1]
    return {k: f"{each['rate']} {each['schedule']} {each['method']}" for k, each in axes.items()}


def _recorded(path: Path) -> tuple[dict[str, list[float]], dict[str, dict[str, str]]]:
    values: dict[str, list[float]] = defaultdict(list)
    axes: dict[str, dict[str, str]] = {}
    with path.open() as file:
        for row in csv.DictReader(file):
            values[row["key"]].append(float(row["val/top1"]))
            axes[row["key"]] = row
    return values, axes


def by_ray(stopping: Stopping, max_epochs: int) -> Decide:
    """Ray's own ASHA over all trials together, with the same warm-up and reduction."""
    asha = AsyncHyperBandScheduler(
        time_attr="epoch",
        metric="value",
        mode="max",
        grace_period=stopping.warmup,
        reduction_factor=stopping.reduction,
        max_t=max_epochs,
    )
    added: set[str] = set()

    def decide(curve: Curve, epoch: int) -> bool:
        trial = SimpleNamespace(trial_id=curve.key)
        if curve.key not in added:
            added.add(curve.key)
            asha.on_trial_add(None, trial)
        result = {"epoch": epoch, "value": curve.values[epoch - 1]}
        return asha.on_trial_result(None, trial, result) == TrialScheduler.CONTINUE

    return decide


def compare(
    curves: Sequence[Curve],
    make: Callable[[], Decide],
    slots: int,
    peers: Mapping[str, str] | None = None,
) -> tuple[float, float, float, float, float]:
    """Means over orders of the trials: fraction of epochs saved; strata without a trial that ran
    to its end; strata whose best trial is the best still; top-1 lost by the others, the mean; arms
    (`arms_of`) that have a trial which ran to its end.

    A stratum that lost all its trials is judged by what its best reached before it was stopped.
    peers: key -> with whom a trial competes, where that is not its stratum.
    """
    by_stratum: dict[str | None, list[Curve]] = defaultdict(list)
    for curve in curves:
        by_stratum[curve.stratum].append(curve)
    total, arms = sum(len(curve.values) for curve in curves), arms_of()
    rows = []
    for seed in range(_ORDERS):
        order = [replace(c, stratum=peers[c.key]) if peers else c for c in curves]
        random.Random(seed).shuffle(order)
        epochs = simulate(order, make(), slots)
        lost = kept = 0
        missing = []
        for each in by_stratum.values():
            through = [c for c in each if epochs[c.key] == len(c.values)]
            lost += not through
            best = max(c.values[-1] for c in each)
            reached = max(c.values[epochs[c.key] - 1] for c in (through or each))
            kept += reached == best
            missing.append(best - reached)
        left = {arms.get(c.key) for c in curves if epochs[c.key] == len(c.values)}
        saved = 1 - sum(epochs.values()) / total
        rows.append((saved, lost, kept, statistics.mean(missing), len(left)))
    saved, lost_, kept_, missing_, left_ = (
        statistics.mean(column) for column in zip(*rows, strict=True)
    )
    return saved, lost_, kept_, missing_, left_


def table(curves: Sequence[Curve], slots: int = _SLOTS) -> Table:
    n_strata, arms = len({curve.stratum for curve in curves}), arms_of()
    shown = Table(
        title=f"{len(curves)} recorded trials in {n_strata} strata, {slots} at a time, means over "
        f"{_ORDERS} orders"
    )
    for heading in (
        *("stopping", "epochs saved", "strata lost", "best kept", "top-1 given away"),
        "arms left",
    ):
        shown.add_column(heading, justify="left" if heading == "stopping" else "right")
    longest = max(len(curve.values) for curve in curves)
    makers: dict[str, tuple[Callable[[], Decide], Mapping[str, str] | None]] = {
        "none": (lambda: lambda *_: True, None)
    }
    for warmup in (1, 2):
        rule = Stopping(warmup=warmup)
        # Each arm has two recipes: the worse one goes.
        pairs = Stopping(warmup=warmup, reduction=2, min_peers=2)
        name = f"warm-up {warmup}"
        makers[f"Ray's ASHA, {name}"] = (lambda rule=rule: by_ray(rule, longest), None)
        makers[f"STOP=best, {name}"] = (lambda rule=rule: by_rungs(Rungs(rule)), None)
        makers[f"STOP=1, of two recipes, {name}"] = (
            lambda pairs=pairs: by_rungs(Rungs(pairs)),
            arms,
        )
    for name, (make, peers) in makers.items():
        saved, lost, kept, given, left = compare(curves, make, slots, peers)
        shown.add_row(
            *(name, f"{saved:.0%}", f"{lost:.1f}", f"{kept:.1f} of {n_strata}", f"{given:.3f}"),
            f"{left:.1f} of {len(set(arms.values()))}",
        )
    return shown


def _configs() -> list[TrialConfig]:
    base = TrialConfig(
        data=DataConfig(pixels=32, train_images=400, val_images=300, probe_images=60),
        network=NetworkConfig(recipe=TrainConfig(epochs=20, lr=2e-3, warmup=0.15)),
        prune=PruneConfig(),
        finetune=TrainConfig(epochs=9, optimizer="sgd", lr=0.003, weight_decay=1e-4, warmup=0.1),
        compute=ComputeConfig(device="cpu", precision="fp32", threads=1),
    )
    rounds = {"prune.schedule": "iterative", "prune.rounds": 3, "finetune.epochs": 3}
    grid = Grid(
        {
            "schedule": {"one_shot": {}, "iterative": rounds},
            "lr": axis("finetune.lr", (0.003, 0.03)),
            "rate": axis("prune.rate", (0.5, 0.8, 0.95)),
            "method": methods("unstructured", "unstructured_layerwise", "structured", "connection"),
        }
    )
    return [base.replace(point) for point in grid.points()]


def record(path: Path) -> None:
    """Run the trials, without their scores; what `path` holds already is not run again."""
    configs, workspace = _configs(), Workspace(path.parent / "results")
    data = load_data(configs[0].data, workspace.cache)
    if missing_dense(configs[0], data, workspace.cache):
        train_dense(configs[0], data, workspace.cache)
    there = {curve.key for curve in read_curves(path)} if path.exists() else set()
    with path.open("a", newline="") as file:
        writer = csv.writer(file)
        if not there:
            writer.writerow(_COLUMNS)
        for config in configs:
            if config.key in there or config.finetune is None:
                continue
            trial = Trial(config, workspace)
            rows = []
            while not trial.trained:
                found = trial.epoch()
                axes = (config.key, config.method, config.rate, config.schedule)
                rows.append(
                    (*axes, config.finetune.lr, int(found["epoch"]), round(found["val/top1"], 4))
                )
            writer.writerows(rows)
            file.flush()


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", type=Path, help="record the curves into this file instead")
    parser.add_argument("--results", type=Path, help="replay on a study of this results folder")
    parser.add_argument("--study", default="demo", help="which (default: demo)")
    parser.add_argument("--slots", type=int, default=2, help="trials at a time (default: 2)")
    arguments = parser.parse_args(argv)
    if arguments.results is not None:
        try:
            with settled():
                recorded = read_recorded(arguments.study, arguments.results)
        except ValueError as error:
            sys.exit(str(error))
        Console(width=140).print(replay_table(recorded, arguments.slots))
        return
    if arguments.record is not None:
        record(arguments.record)
        return
    curves = read_curves()
    for slots in (2, _SLOTS, 16):
        Console(width=110).print(table(curves, slots))


if __name__ == "__main__":
    main()

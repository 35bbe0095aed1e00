"""A plan for people: what would run, what it may save, and what it costs."""

import os
from collections import Counter
from collections.abc import Collection, Sequence

from rich.table import Table

from sweeps.plan.cost import Speed, duration, estimate, slots_here
from sweeps.plan.forecast import stopping_sentences
from sweeps.plan.planner import Plan
from sweeps.plan.sweep import Sweep
from trainables.config import TrialConfig
from trainables.workspace import size_shown


def plan_table(plan: Plan, done: Collection[str]) -> Table:
    """What would run, a line a kind of trial."""
    rows: Counter[tuple[str, ...]] = Counter()
    finished: Counter[tuple[str, ...]] = Counter()
    for config in plan.configs:
        retraining = "as it is" if config.retraining == "none" else config.retraining
        criterion = "none" if config.prune is None else config.prune.criterion
        kind = (config.method, criterion, config.schedule, retraining, str(config.n_epochs))
        rows[kind] += 1
        finished[kind] += config.key in done
    what = f"{len(plan.configs)} trials"
    if plan.sweep.search is not None:
        what = f"{len(plan.configs)} grid trials, then up to {plan.sweep.search.n_trials} searched"
    table = Table(title=f"study {plan.sweep.name}: {what}")
    for heading in ("method", "criterion", "schedule", "retraining", "epochs each"):
        table.add_column(heading)
    table.add_column("trials", justify="right")
    table.add_column("done", justify="right")
    for row, count in rows.items():
        table.add_row(*row, str(count), str(finished[row]))
    return table


def plan_summary(plan: Plan, done: Collection[str]) -> str:
    """One sentence: how much is left to run."""
    left = plan.remaining(done)
    epochs = sum(config.n_epochs for config in left)
    scores = sum(config.n_scores for config in left)
    size = plan.inputs.counted(plan.configs[0]).data.train_images
    images = "all training images" if size is None else f"{size:,} images"
    amounts = {c.prune.amount: c.rate for c in plan.configs if c.prune is not None}
    rates = sorted(amounts, key=lambda amount: (amounts[amount], amount))
    # Each once, and only if no earlier sweep has left it.
    recipes = {(c.network, c.seed): c.network.recipe for c in left if c.network.is_trained}
    dense = sum(recipe.epochs for recipe in recipes.values() if recipe is not None)
    before = f", after {dense} of the dense network where it is not there yet" if dense else ""
    return (
        f"rates {', '.join(rates)}; {len(left)} of {len(plan.configs)} "
        f"trials to run, {scores} scores and {epochs} epochs of {images} in all{before}"
    )


def axes_summary(sweep: Sweep) -> str:
    """One sentence: what GRID may name, and the values of each."""
    values: dict[str, dict[str, None]] = {}
    for grid in sweep.grids:
        for name, points in grid.axes.items():
            values.setdefault(name, {}).update(dict.fromkeys(points))
    axes = [f"{name} ({', '.join(points)})" for name, points in values.items()]
    return f"axes: {'; '.join(axes)}"


def stopping_summary(
    plan: Plan, done: Collection[str], gpus: float | None = None, *, chosen: bool = False
) -> list[str]:
    """What early stopping may save, or would, of the trials that are left; see forecast."""
    slots = slots_here(plan.sweep, gpus, os.cpu_count() or 1)
    return stopping_sentences(plan.remaining(done), plan.sweep, slots, chosen=chosen)


def cost_summary(
    sweep: Sweep, to_come: Sequence[TrialConfig], speed: Speed, gpus: float | None
) -> str:
    """One sentence: hours, storage and when it would be finished. gpus: None is CPUs alone."""
    slots = slots_here(sweep, gpus, os.cpu_count() or 1)
    cost = estimate(to_come, speed, slots)
    where = f"{gpus:g} GPUs" if gpus else f"{os.cpu_count()} CPUs"
    share = sweep.gpus_per_trial if gpus else min(sweep.cpus_per_trial, os.cpu_count() or 1)
    unit = "GPU-hours" if gpus else "CPU-hours"
    return (
        f"at {speed.train:,.0f} images/s in training and {speed.evaluate:,.0f} in evaluation a "
        f"trial: {cost.seconds * share / 3600:,.1f} {unit}, {duration(cost.finish)} with "
        f"{slots} trials at a time on {where}, {size_shown(cost.bytes)}"
    )

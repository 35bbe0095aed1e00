"""The planner: which trials a sweep has, which of them are done, which are to run."""

import dataclasses
import os
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from sweeps.addresses import has_secrets, without_secrets
from sweeps.plan.cost import Speed, duration, estimate, slots_here
from sweeps.plan.forecast import stopping_sentence
from sweeps.plan.inputs import Inputs, look_at_inputs
from sweeps.plan.prepare import require_sizes
from sweeps.plan.settings import with_own_settings
from sweeps.plan.sweep import Axis, Grid, Sweep, axis, methods, sweep_key
from trainables.config import TrialConfig
from trainables.datasets.remote import is_remote
from trainables.networks import lost_in, require_pixels, require_prunable_outline
from trainables.workspace import at_home


@dataclass(frozen=True)
class Plan:
    """What one `make sweep` is about."""

    sweep: Sweep
    configs: tuple[TrialConfig, ...]  # all trials, in the order in which they run
    searched: TrialConfig | None = None  # the base of what Optuna proposes after them
    inputs: Inputs = Inputs()  # what the trials read

    @property
    def key(self) -> str:
        return sweep_key(self.sweep.name, self.configs)

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(config.key for config in self.configs)

    def remaining(self, done: Collection[str]) -> list[TrialConfig]:
        """The trials whose keys are not among those done."""
        return [config for config in self.configs if config.key not in done]


def make_plan(
    sweep: Sweep,
    *,
    data: str | None = None,
    grid: Mapping[str, Sequence[Any]] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Plan:
    """The trials of a study after the changes of the command line.

    data: path of an image folder, or its URI in an object store. grid: axis -> the values it shall
    have instead. settings: field -> value, on every trial that has the field. Raises ValueError
    for what is not legal.
    """
    for name, value in {"DATA": data, **(settings or {})}.items():
        if isinstance(value, str) and is_remote(value) and has_secrets(value):
            raise ValueError(
                f"{name} must hold no password or key, got {without_secrets(value)}: it is stored "
                "with every trial; an object store's keys are read from AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY, or from its own client's files"
            )
    if data is not None:
        sweep = sweep.with_data(data if is_remote(data) else str(at_home(data).resolve()))
    for name, values in (grid or {}).items():
        sweep = dataclasses.replace(sweep, grids=_with_axis(sweep.grids, name, values))
    given, varied = set(settings or {}), {name for name, values in (grid or {}).items() if values}
    configs, inputs = look_at_inputs(sweep.expand(settings), given, varied)
    for config in configs:
        require_pixels(config.network, config.data.pixels)
        require_sizes(inputs.counted(config))
        if config.prune is not None:
            require_prunable_outline(config.network, config.prune)
    pruned = dict.fromkeys((c.network, c.prune.granularity) for c in configs if c.prune is not None)
    lost = [sentence for each in pruned for sentence in lost_in(*each)]
    inputs = dataclasses.replace(inputs, lost=tuple(dict.fromkeys(lost)))
    if sweep.search is None:
        return Plan(sweep, tuple(configs), inputs=inputs)
    for name in sweep.search.fields & (settings or {}).keys():
        raise ValueError(f"{name} is searched by this study, it cannot be set as well")
    base = with_own_settings(sweep.base, settings or {})
    return Plan(sweep, tuple(configs), look_at_inputs([base], given, varied)[0][0], inputs)


def _with_axis(grids: Sequence[Grid], name: str, values: Sequence[Any]) -> tuple[Grid, ...]:
    known = {axis_name for grid in grids for axis_name in grid.axes}
    if name not in known:
        raise ValueError(f"this study has the axes {', '.join(sorted(known))}, got {name!r}")
    return tuple(
        dataclasses.replace(g, axes={**g.axes, name: _points(g.axes[name], name, values)})
        if name in g.axes
        else g
        for g in grids
    )


def _points(points: Axis, name: str, values: Sequence[Any]) -> Axis:
    """The axis with other values: any for an axis of one field, else those that it has."""
    if name == "method":
        return methods(*map(str, values))
    fields = {field for point in points.values() for field in point}
    if len(fields) == 1:
        return axis(next(iter(fields)), values)
    for value in values:
        if value not in points:
            raise ValueError(f"{name} must be one of {', '.join(points)}, got {value!r}")
    return {str(value): points[value] for value in values}


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
    rates = sorted({config.rate for config in plan.configs if config.prune is not None})
    # Each once, and only if no earlier sweep has left it.
    recipes = {(c.network, c.seed): c.network.recipe for c in left}
    dense = sum(recipe.epochs for recipe in recipes.values() if recipe is not None)
    before = f", after {dense} of the dense network where it is not there yet" if dense else ""
    return (
        f"rates {', '.join(f'{rate:g}' for rate in rates)}; {len(left)} of {len(plan.configs)} "
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


def stopping_summary(plan: Plan, done: Collection[str], gpus: float | None = None) -> str | None:
    """One sentence: what early stopping may save of the trials that are left."""
    stopping, search = plan.sweep.stopping, plan.sweep.search
    if stopping is None:
        return None
    return stopping_sentence(
        plan.remaining(done),
        stopping,
        slots_here(plan.sweep, gpus, os.cpu_count() or 1),
        rate_is_searched=search is not None and search.rate_is_searched,
    )


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
        f"{slots} trials at a time on {where}, {cost.bytes / 1e9:,.1f} GB"
    )

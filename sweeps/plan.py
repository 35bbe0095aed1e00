"""The planner: which trials a sweep has, which of them are done, which are to run."""

import dataclasses
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from sweeps.sweep import Axis, Grid, Sweep, axis, methods, sweep_key, with_settings
from trainables.config import TrialConfig
from trainables.datasets.image_folder import folder_digest
from trainables.networks import file_digest


@dataclass(frozen=True)
class Plan:
    """What one `make sweep` is about."""

    sweep: Sweep
    configs: tuple[TrialConfig, ...]  # all trials, in the order in which they run

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

    data: path of an image folder. grid: axis -> the values it shall have instead. settings:
    field -> value, on every trial that has the field. Raises ValueError for what is not legal.
    """
    if data is not None:
        if sweep.base.data.name != "image_folder":
            raise ValueError(
                f"DATA goes with studies of an image folder; {sweep.name} generates its images"
            )
        sweep = sweep.with_data(str(Path(data).expanduser().resolve()))
    for name, values in (grid or {}).items():
        sweep = dataclasses.replace(sweep, grids=_with_axis(sweep.grids, name, values))
    configs = with_settings(sweep.expand(), settings or {})
    return Plan(sweep, tuple(_with_digests(configs)))


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


def _with_digests(configs: Sequence[TrialConfig]) -> list[TrialConfig]:
    """Name the contents of folders and files, so that the trials' keys depend on them."""
    folders = {c.data.path for c in configs if c.data.name == "image_folder" and c.data.path}
    files = {c.network.checkpoint for c in configs if c.network.checkpoint}
    found: dict[str, str] = {path: folder_digest(Path(path)) for path in folders}
    found |= {path: file_digest(Path(path)) for path in files}
    named = []
    for config in configs:
        digests = {}
        if config.data.path in folders:
            digests["data.digest"] = found[config.data.path]
        if config.network.checkpoint:
            digests["network.digest"] = found[config.network.checkpoint]
        named.append(config.replace(digests))
    return named


def plan_table(plan: Plan, done: Collection[str]) -> Table:
    """What would run, a line a kind of trial."""
    rows: Counter[tuple[str, str, str, str]] = Counter()
    finished: Counter[tuple[str, str, str, str]] = Counter()
    for config in plan.configs:
        retraining = "as it is" if config.retraining == "none" else config.retraining
        kind = (config.method, config.schedule, retraining, str(config.n_epochs))
        rows[kind] += 1
        finished[kind] += config.key in done
    table = Table(title=f"study {plan.sweep.name}: {len(plan.configs)} trials")
    for heading in ("method", "schedule", "retraining", "epochs each"):
        table.add_column(heading)
    table.add_column("trials", justify="right")
    table.add_column("done", justify="right")
    for kind, count in rows.items():
        table.add_row(*kind, str(count), str(finished[kind]))
    return table


def plan_summary(plan: Plan, done: Collection[str]) -> str:
    """One sentence: how much is left to run."""
    left = plan.remaining(done)
    epochs = sum(config.n_epochs for config in left)
    size = plan.sweep.base.data.train_images
    images = "all training images" if size is None else f"{size:,} images"
    rates = sorted({config.rate for config in plan.configs if config.prune is not None})
    return (
        f"rates {', '.join(f'{rate:g}' for rate in rates)}; {len(left)} of {len(plan.configs)} "
        f"trials to run, {epochs} epochs of {images} and {len(left)} scores in all"
    )

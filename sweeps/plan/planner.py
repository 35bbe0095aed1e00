"""The planner: which trials a sweep has, which of them are done, which are to run."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweeps.addresses import has_secrets, without_secrets
from sweeps.plan.inputs import Inputs, look_at_inputs
from sweeps.plan.refusals import missing_here, require_sound
from sweeps.plan.settings import with_own_settings
from sweeps.plan.sweep import Axis, Grid, Sweep, axis, methods, sweep_key
from sweeps.plan.weights import at_hand_or_scratch
from trainables.config import TrialConfig
from trainables.data_names import names_set
from trainables.datasets.remote import is_remote
from trainables.rounds.outlined import lost_in
from trainables.workspace import at_home

SEED = "seed"  # an axis of every study: more trainings of the same


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

    @property
    def purpose(self) -> str:
        return self.sweep.purpose

    @property
    def primary(self) -> str:
        return str(self.sweep.primary or "")

    @property
    def stopped_by(self) -> str:
        """The rule by which trials are stopped early; "" where none are."""
        return self.sweep.stopped_by

    def remaining(self, done: Collection[str]) -> list[TrialConfig]:
        """The trials whose keys are not among those done."""
        return [config for config in self.configs if config.key not in done]


def make_plan(
    sweep: Sweep,
    *,
    data: str | None = None,
    grid: Mapping[str, Sequence[Any]] | None = None,
    settings: Mapping[str, Any] | None = None,
    stop: str | None = None,
) -> Plan:
    """The trials of a study after the changes of the command line.

    data: path of an image folder, its URI in an object store, or the name of a data set. grid:
    axis -> the values it shall have instead; every study that searches nothing has the axis `seed`.
    settings: field -> value, on every trial that has the field. stop: `Sweep.stopped_as`. Raises
    ValueError for what is not legal.
    """
    sweep, settings = sweep.stopped_as(stop).with_shares(settings or {})
    for name, value in {"DATA": data, **(settings or {})}.items():
        if isinstance(value, str) and is_remote(value) and has_secrets(value):
            raise ValueError(
                f"{name} must hold no password or key, got {without_secrets(value)}: it is stored "
                "with every trial; an object store's keys are read from AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY, or from its own client's files"
            )
    if data is not None:
        is_folder = not is_remote(data) and not names_set(data)
        sweep = sweep.with_data(str(at_home(data).resolve()) if is_folder else data)
    sweep, without_weights = at_hand_or_scratch(sweep, settings or {})
    for name, values in (grid or {}).items():
        grids = _with_seeds(sweep) if name == SEED else sweep.grids
        sweep = dataclasses.replace(sweep, grids=_with_axis(grids, name, values))
    given, varied = set(settings or {}), {name for name, values in (grid or {}).items() if values}
    configs, inputs = look_at_inputs(sweep.expand(settings), given, varied)
    require_sound(configs, inputs)
    pruned = dict.fromkeys((c.network, c.prune.granularity) for c in configs if c.prune is not None)
    lost = [sentence for each in pruned for sentence in lost_in(*each)]
    adapted = (*missing_here(configs), *without_weights, *inputs.adapted)
    inputs = dataclasses.replace(inputs, lost=tuple(dict.fromkeys(lost)), adapted=adapted)
    if sweep.search is None:
        return Plan(sweep, tuple(configs), inputs=inputs)
    for name in sweep.search.fields & (settings or {}).keys():
        raise ValueError(f"{name} is searched by this study, it cannot be set as well")
    base = with_own_settings(sweep.base, settings or {})
    return Plan(sweep, tuple(configs), look_at_inputs([base], given, varied)[0][0], inputs)


def _with_seeds(sweep: Sweep) -> Sequence[Grid]:
    """The study's grids, with the axis `seed` where no grid has one."""
    if any(SEED in grid.axes for grid in sweep.grids):
        return sweep.grids
    if sweep.search is not None:
        raise ValueError(
            "seed must not be an axis of a study that searches, which compares trials of one dense "
            "network: Search(again=...) names the seeds on which its winners are run again"
        )
    own = axis(SEED, (sweep.base.seed,))
    return tuple(dataclasses.replace(grid, axes={**grid.axes, SEED: own}) for grid in sweep.grids)


def _with_axis(grids: Sequence[Grid], name: str, values: Sequence[Any]) -> tuple[Grid, ...]:
    known = {axis_name for grid in grids for axis_name in grid.axes}
    if name not in known:
        named = ", ".join(sorted({*known, SEED}))
        raise ValueError(f"this study has the axes {named}, got {name!r}")
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

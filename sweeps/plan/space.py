"""What a study hands to Optuna: fields with their ranges, objectives, constraints."""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from optuna.distributions import FloatDistribution, IntDistribution

from sweeps.plan.metrics import find
from trainables.config import TrialConfig, flat_params
from trainables.fields import digest_of, flat

Point = Mapping[str, Any]
"""Name of a dimension -> a value: of a choice among labelled ones, its label."""

_PLAIN = (type(None), bool, int, float, str)
# What is made ready before the first trial starts is the same for all.
_FIXED = ("network.", "data.", "score.", "dissection.", "compute.", "seed.", "rewind")


@dataclass(frozen=True)
class Choice:
    """One of several values of a field; or, as in an axis of a grid, label -> fields to set."""

    options: Sequence[Any] | Mapping[str, Mapping[str, Any]]

    def __post_init__(self) -> None:
        if not self.options or isinstance(self.options, str):
            raise ValueError(f"Choice needs options to choose from, got {self.options!r}")
        for option in self.options:
            if not isinstance(option, _PLAIN):
                raise ValueError(f"Choice takes values or labels with fields, got {option!r}")

    def settings(self, name: str, option: Any) -> dict[str, Any]:
        """What an option sets."""
        if isinstance(self.options, Mapping):
            return dict(self.options[option])
        return {name: option}


Dimension = Choice | FloatDistribution | IntDistribution


@dataclass(frozen=True)
class Search:
    """Trials that Optuna proposes after the grid; a field of a Sweep.

    Every proposal is laid over the sweep's base. Optuna learns from each finished trial of the
    study, of this and of earlier sweeps, that is the base but for the fields of the space.

    space: dotted field of a TrialConfig, or a name of its own for a choice among labelled points
    -> what may be proposed: a Choice, or Optuna's FloatDistribution or IntDistribution.
    objectives: metric -> "max" or "min"; several give a Pareto front. n_trials: how many are
    proposed in all. constraints: metric -> its legal interval, None where it has no end; trials
    outside are run and known, and are never called the best. winners: so many of the front of all
    that was proposed, and as many of the grid's, are run again at the end, on each of the seeds
    `again`: other trainings and other images than those that they were chosen by.
    """

    space: Mapping[str, Dimension]
    objectives: Mapping[str, Literal["max", "min"]]
    n_trials: int
    constraints: Mapping[str, tuple[float | None, float | None]] = dataclasses.field(
        default_factory=dict
    )
    seed: int = 0
    winners: int = 0
    again: tuple[int, ...] = (1,)

    def __post_init__(self) -> None:
        if not self.space or not self.objectives:
            raise ValueError("Search needs a space and at least one objective, one is empty")
        if not isinstance(self.n_trials, int) or self.n_trials < 1:
            raise ValueError(f"Search.n_trials must be a positive integer, got {self.n_trials!r}")
        if not isinstance(self.winners, int) or self.winners < 0:
            raise ValueError(
                f"Search.winners must be an integer of at least 0, got {self.winners!r}"
            )
        if self.winners and not self.again:
            raise ValueError("Search.again must name a seed at least, where winners are run again")
        for metric, mode in self.objectives.items():
            if mode not in ("max", "min"):
                raise ValueError(f"the objective {metric} must be 'max' or 'min', got {mode!r}")
        for metric, (low, high) in self.constraints.items():
            bounds = [bound for bound in (low, high) if bound is not None]
            if not bounds or bounds != sorted(bounds):
                raise ValueError(f"the interval of {metric} must hold something, got {low, high}")
        for metric in (*self.objectives, *self.constraints):
            if not ((known := find(metric)) and known.searched):
                raise ValueError(
                    f"a search needs metrics that trials end with, such as val/top1, "
                    f"prune/sparsity, mis/mean or cost/macs; got {metric!r}"
                )

    @property
    def key(self) -> str:
        """8 hex digits: all that proposals depend on, but for their number, which may grow."""
        said = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        said = {n: v for n, v in said.items() if n not in ("winners", "again")}
        said |= {"n_trials": 1, "space": {n: _said(d) for n, d in self.space.items()}}
        return digest_of(repr(said))[:8]

    @property
    def fields(self) -> set[str]:
        """Dotted names of all that a proposal may set."""
        named: set[str] = set()
        for name, dimension in self.space.items():
            if isinstance(dimension, Choice):
                for option in dimension.options:
                    named |= dimension.settings(name, option).keys()
            else:
                named.add(name)
        return named

    @property
    def rate_is_searched(self) -> bool:
        """Whether rates come from a range, so that hardly two trials have the same."""
        rate = self.space.get("prune.rate")
        return isinstance(rate, FloatDistribution) and rate.step is None

    def outside(self, metrics: Mapping[str, float]) -> list[str]:
        """The constraints that a trial does not meet, by metric; of what it has not, too."""
        return [
            name
            for name, (low, high) in self.constraints.items()
            if not (-math.inf if low is None else low)
            <= metrics.get(name, math.nan)
            <= (math.inf if high is None else high)
        ]

    def config(self, base: TrialConfig, point: Point) -> TrialConfig:
        """The trial of a point. Raises ValueError for a combination that is refused."""
        settings: dict[str, Any] = {}
        for name, value in point.items():
            dimension = self.space[name]
            if isinstance(dimension, Choice):
                settings |= dimension.settings(name, value)
            else:
                settings[name] = value
        return base.replace(settings)

    def point_of(self, base: TrialConfig, key: str, params: Mapping[str, str]) -> Point | None:
        """The point whose trial has this key; None where it lies outside of the space.

        params: as `flat_params` of the trial's config; what MLflow holds of a run.
        """
        options = {name: list(self._options(name, params)) for name in self.space}
        for values in itertools.product(*options.values()):
            point = dict(zip(options, values, strict=True))
            try:
                if self.config(base, point).key == key:
                    return point
            except ValueError:
                continue
        return None

    def _options(self, name: str, params: Mapping[str, str]) -> Iterator[Any]:
        """Values of one dimension that such params may come from."""
        dimension = self.space[name]
        if isinstance(dimension, Choice):
            for option in dimension.options:
                said = dimension.settings(name, option).items()
                if all(params.get(f) == str(v) for f, v in said if isinstance(v, _PLAIN)):
                    yield option
            return
        try:
            as_type = float if isinstance(dimension, FloatDistribution) else int
            value = as_type(params[name])
        except (KeyError, ValueError):
            return
        if dimension.low <= value <= dimension.high:
            yield value

    def check(self, base: TrialConfig) -> None:
        """Raises ValueError for a field that the base lacks, or that a search cannot change."""
        there = flat(base)
        for field in sorted(self.fields):
            if f"{field}.".startswith(_FIXED):
                raise ValueError(
                    f"a search compares trials of one dense network, image set and score: {field} "
                    "cannot be searched"
                )
            if field not in there and getattr(base, field, None) is None:
                raise ValueError(
                    f"a search needs fields that the base of the study has, such as prune.rate; "
                    f"it has no {field!r}"
                )
        if self.winners and base.seed in self.again:
            raise ValueError(
                f"Search.again must name other seeds than {base.seed}, by which the winners were "
                f"chosen, got {self.again}"
            )
        of_concepts = [m for m in (*self.objectives, *self.constraints) if "dissection/" in m]
        if of_concepts and base.dissection is None:
            raise ValueError(f"{of_concepts[0]} needs a study that dissects, its base does not")


def _said(dimension: Dimension) -> dict[str, Any]:
    """What a digest says of a dimension; keys are older than the use of Optuna's own classes."""
    if isinstance(dimension, Choice):
        return {"options": dimension.options}
    return {name: getattr(dimension, name) for name in ("low", "high", "log", "step")}


def point_of_config(search: Search, base: TrialConfig, config: TrialConfig) -> Point | None:
    """`Search.point_of` for a trial that is at hand."""
    return search.point_of(base, config.key, flat_params(config))

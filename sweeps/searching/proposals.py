"""Optuna's study of one sweep: what it knows, and what it proposes next."""

import json
import math
import warnings
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from sweeps.plan.metrics import SAVED
from sweeps.plan.space import Choice, Dimension, Point, Search, point_of_config
from sweeps.searching.journal import Journal
from trainables.config import TrialConfig
from trainables.workspace import add_line, read_own

_TRIES = 100  # proposals in a row that may be known or illegal; the second half drawn at random

optuna.logging.set_verbosity(optuna.logging.WARNING)


class Proposals:
    """The searched trials of one sweep.

    base: what every proposal is laid over. path: a file of JSON lines, one a proposal, from which
    a sweep that was broken off goes on. refuse: where set, raises ValueError for a trial that
    could not run; such a one is not proposed.
    """

    def __init__(self, search: Search, base: TrialConfig, path: Path) -> None:
        self.search, self.base, self.path = search, base, path
        self.refuse: Callable[[TrialConfig], None] | None = None
        self.journal: Journal | None = None  # for people; see `keep_journal`
        self.configs: list[TrialConfig] = []  # all that were proposed so far
        self.shortfall: str | None = None  # why there will be fewer than asked for
        self._known: set[str] = set()
        self._running: dict[str, optuna.Trial] = {}
        self._distributions = {name: _distribution(d) for name, d in search.space.items()}
        modes = {"max": StudyDirection.MAXIMIZE, "min": StudyDirection.MINIMIZE}
        self.study = optuna.create_study(
            directions=[modes[mode] for mode in search.objectives.values()]
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self.study.set_metric_names(list(search.objectives))
        self._recall()
        # A sweep that goes on must not draw the same random numbers again.
        seed = search.seed + len(self.configs)
        self._samplers = (
            optuna.samplers.TPESampler(seed=seed),
            optuna.samplers.RandomSampler(seed=seed),
        )

    @property
    def wanted(self) -> int:
        """How many more are to be proposed."""
        return 0 if self.shortfall else max(0, self.search.n_trials - len(self.configs))

    def news(self, done: Collection[str]) -> str:
        """How far the search is. done: keys of finished trials."""
        n_done = sum(config.key in done for config in self.configs)
        return (
            f"search: {self.search.n_trials} trials, {len(self.configs)} proposed, {n_done} done; "
            f"it learns from {len(self.finished())} finished trials"
        )

    def learn(self, key: str, params: Mapping[str, str], metrics: Mapping[str, float]) -> bool:
        """Tell Optuna of a finished trial; whether it is a point of the space.

        params: as `flat_params`. One that was stopped early counts with what it ended with, and is
        never called the best: its accuracy is not final.
        """
        self._known.add(key)
        point = self.search.point_of(self.base, key, params)
        values = self._values(metrics)
        if point is None or values is None or not self._fits(point):
            return False
        self.study.add_trial(
            create_trial(
                params=dict(point),
                distributions=self._distributions,
                values=values,
                constraints=self._violations(metrics),
                user_attrs={"key": key},
            )
        )
        return True

    def expect(self, config: TrialConfig) -> None:
        """A trial of the grid, or an earlier proposal, that is going to run in this sweep."""
        self._known.add(config.key)
        point = point_of_config(self.search, self.base, config)
        if point is not None and self._fits(point):
            self.study.enqueue_trial(dict(point), {"key": config.key})
            self._running[config.key] = self.study.ask(self._distributions)

    def learns_from(self, config: TrialConfig) -> bool:
        """Whether a trial of the grid is a point that Optuna can hold."""
        point = point_of_config(self.search, self.base, config)
        return point is not None and self._fits(point)

    def next(self) -> TrialConfig | None:
        """The next proposal, or None when there are enough or none can be found: `shortfall`.

        Raises OSError when it cannot be written down.
        """
        if not self.wanted:
            return None
        for attempt in range(_TRIES):
            self.study.sampler = self._samplers[attempt >= _TRIES // 2]
            trial = self.study.ask(self._distributions)
            config = self._legal(trial.params)
            if config is None or config.key in self._known:
                self.study.tell(trial, state=TrialState.FAIL)
                continue
            trial.set_user_attr("key", config.key)
            self._remember(config, trial.params)
            self._known.add(config.key)
            self.configs.append(config)
            self._running[config.key] = trial
            return config
        self.shortfall = (
            f"the search proposed {len(self.configs)} of {self.search.n_trials} trials: the last "
            f"{_TRIES} that it drew were all known or refused, so its space is as good as used up"
        )
        return None

    def ended(self, key: str, metrics: Mapping[str, float] | None) -> None:
        """Tell Optuna how a trial that it was to expect ended; None: it failed."""
        trial = self._running.pop(key, None)
        if trial is None:
            return
        values = None if metrics is None else self._values(metrics)
        if metrics is None or values is None:
            self.study.tell(trial, state=TrialState.FAIL)
            return
        for name, violation in self._violations(metrics).items():
            trial.set_constraint(name, violation)
        told = self.study.tell(trial, values)
        if self.journal is not None:
            self.journal.add([told])

    def keep_journal(self) -> None:
        """Write what is known, and from now on what is learned, beside the proposals' file."""
        self.journal = Journal(self.path.with_suffix(".journal"), self.study)

    def finished(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))

    def _values(self, metrics: Mapping[str, float]) -> list[float] | None:
        """The objectives; None where one of them, or a constraint's metric, is no number."""
        needed = (*self.search.objectives, *self.search.constraints)
        if any(not math.isfinite(metrics.get(name, math.nan)) for name in needed):
            return None
        return [float(metrics[name]) for name in self.search.objectives]

    def _violations(self, metrics: Mapping[str, float]) -> dict[str, float]:
        """Optuna's constraints: not above 0 where the metric lies in its interval."""
        stopped = metrics.get(SAVED, 0.0)
        violations = {"stopped early": stopped} if stopped else {}
        for name, (low, high) in self.search.constraints.items():
            if low is not None:
                violations[f"{name} >= {low:g}"] = low - metrics[name]
            if high is not None:
                violations[f"{name} <= {high:g}"] = metrics[name] - high
        return violations

    def _legal(self, point: Point) -> TrialConfig | None:
        try:
            config = self.search.config(self.base, point)
            if self.refuse is not None:
                self.refuse(config)
        except ValueError:
            return None
        return config

    def _fits(self, point: Point) -> bool:
        """Whether Optuna can hold the point: a grid may lie between the steps of a range."""
        return all(
            self._distributions[name]._contains(self._distributions[name].to_internal_repr(value))
            for name, value in point.items()
        )

    def _remember(self, config: TrialConfig, point: Point) -> None:
        add_line(self.path, json.dumps({"key": config.key, "point": dict(point)}))

    def _recall(self) -> None:
        """Earlier proposals; those of a base that has changed since are other trials, and left."""
        lines = read_own(self.path).decode(errors="replace").splitlines()
        found: dict[str, TrialConfig] = {}
        for line in lines:
            try:
                said = json.loads(line)
                config = self.search.config(self.base, said["point"])
                if config.key == said["key"]:
                    found[config.key] = config
            except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
                continue  # of a machine that went down while writing, or of another space
        self.configs = list(found.values())


def _distribution(dimension: Dimension) -> BaseDistribution:
    if isinstance(dimension, Choice):
        return CategoricalDistribution(tuple(dimension.options))
    return dimension

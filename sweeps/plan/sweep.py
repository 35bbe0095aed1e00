"""A sweep: a base configuration, the grids laid over it, and the baselines no comparison lacks."""

import dataclasses
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sweeps.plan.atlas import Atlas
from sweeps.plan.controls import AS_IT_IS, controls, setting
from sweeps.plan.primary import Primary
from sweeps.plan.rungs import Stopping
from sweeps.plan.settings import with_settings
from sweeps.plan.space import Search
from sweeps.plan.strata import QUESTION, Strata, fields_of
from trainables.config import TrialConfig
from trainables.config.effects import has_effect, with_room
from trainables.data_names import is_torchvision, names_set
from trainables.fields import digest_of
from trainables.methods import METHODS

if TYPE_CHECKING:  # the report knows studies, and a study only what a section is
    from sweeps.plan.section import Section

STOP = {"1": "recipes and other settings compete", "best": "methods, too", "0": "nothing does"}
"""What early stopping is asked for by -> what competes."""

SHARES = ("cpus_per_trial", "gpus_per_trial")
"""What a trial takes of a machine: set as fields of trials are, and no part of any key."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def require_name(name: str) -> None:
    """Raise ValueError for what no study can be called: files and folders are called by it."""
    if not _NAME.fullmatch(name):
        raise ValueError(
            "the name of a study must be letters, digits, '-', '_' and '.', the first a letter "
            f"or a digit, at most 100; got {name!r}"
        )


Overrides = Mapping[str, Any]
"""Dotted field of a TrialConfig -> value."""

Axis = Mapping[str, Overrides]
"""Label of a grid point -> what it sets. An axis may set several fields at once."""


def methods(*names: str) -> Axis:
    """Points of the axis "method". Raises ValueError for a name that is not in METHODS."""
    for name in names:
        if name not in METHODS:
            raise ValueError(f"method must be one of {', '.join(METHODS)}, got {name!r}")
    return {
        name: {f"prune.{field}": value for field, value in METHODS[name].items()} for name in names
    }


def axis(field: str, values: Iterable[Any]) -> Axis:
    """Points that set one field each."""
    return {str(value): {field: value} for value in values}


@dataclass(frozen=True)
class Grid:
    """All combinations of its axes, each laid over the base with `set` applied first."""

    axes: Mapping[str, Axis]
    set: Overrides = dataclasses.field(default_factory=dict)

    def points(self) -> list[Overrides]:
        """The overrides of every combination, the last axis running fastest."""
        combinations = itertools.product(*(points.values() for points in self.axes.values()))
        merged: list[Overrides] = []
        for combination in combinations:
            point = dict(self.set)
            for overrides in combination:
                point |= overrides
            merged.append(point)
        return merged


@dataclass(frozen=True)
class Sweep:
    """A study, ready to be expanded to its trials.

    base: holds `prune` and a way of retraining; the grids change them. on_folder: the base
    instead where the study is given an image folder, or all of a sweep where its grids are others
    there; None if `base` is of a folder itself, or no folder makes sense. from_scratch: the base
    instead where ImageNet's weights, which the base begins with, can neither be found nor
    downloaded. retry_smaller_batch: a trial that runs out of memory is run once more with half the
    batch. primary: the one question that the study asks beforehand; its report takes all others as
    exploratory (None: all). question: what the study compares, of which no early stopping may take
    anything away: names of `strata.QUESTION`, of axes of the grids, or fields; trials compete only
    with others that agree on all of it. sections: of the study's own, which its report shows after
    those of every report, and atlas: the limits of its atlas of units; no trial depends on them.

    More trials belong to every sweep and are added for each seed, network, data set and score: the
    dense network, the dense network retrained with the same recipe, and an untrained one, which
    says what a score owes to the images alone; with `controls`, or scores beside MIS, the dense one
    with its units rotated, which says what a score owes to the layer; and with `controls` those of
    `sweeps/plan/controls.py`: a criterion that means something lies above chance, and itself turned
    round below.
    """

    name: str
    purpose: str
    base: TrialConfig
    grids: Sequence[Grid]
    on_folder: "TrialConfig | Sweep | None" = None
    controls: bool = True
    recalibrate_images: int = 512  # of the untrained network, whose statistics say nothing
    retry_smaller_batch: bool = False
    stopping: Stopping | None = None  # of hopeless trials; None: all run to their end
    question: tuple[str, ...] = QUESTION
    search: Search | None = None  # trials that Optuna proposes beside the grids
    cpus_per_trial: float = 1.0
    gpus_per_trial: float = 0.25  # where there is a GPU: so many trials share one
    primary: Primary | None = Primary()
    sections: tuple["Section", ...] = ()
    atlas: Atlas = Atlas()
    from_scratch: TrialConfig | None = None

    def __post_init__(self) -> None:
        require_name(self.name)
        if self.search is not None:
            self.search.check(self.base)
        self._require_shares()
        self.strata()

    def strata(self, *, best: bool = False) -> Strata:
        """Which of its trials are peers where hopeless ones are stopped. best: see Stopping."""
        axes: dict[str, dict[str, None]] = {}
        for grid in self.grids:
            for name, points in grid.axes.items():
                fields = {field: None for point in points.values() for field in point}
                axes.setdefault(name, {}).update(fields)
        searched = self.search is not None and self.search.rate_is_searched
        return Strata(fields_of(self.question, axes), best, searched)

    @property
    def stopped_by(self) -> str:
        """8 hex digits: the rule by which trials are stopped; "" where none are."""
        if self.stopping is None:
            return ""
        strata = self.strata(best=self.stopping.best)
        return digest_of([self.stopping.key, strata.key])[:8]

    def expand(self, settings: Overrides | None = None) -> list[TrialConfig]:
        """Every trial once: the baselines, then the grids, the longest first; then the controls.

        settings: fields set on all trials that have them, see `with_settings`. The baselines and
        the controls are those of the trials as they have become: another criterion is compared
        with chance, too, and the untrained network stays untrained whatever the others start from.

        Raises ValueError when nothing is left, or a combination is not legal.
        """
        settings = dict(settings or {})
        pruned = [self.base.replace(point) for grid in self.grids for point in grid.points()]
        if not pruned:
            raise ValueError(f"the study {self.name} expands to no trial: an axis is empty")
        recalibrate_images = settings.get("recalibrate_images", self.recalibrate_images)
        if not any(config.recalibrate_images for config in pruned):
            settings.pop("recalibrate_images", None)  # it is of the untrained network alone
        pruned = with_settings(pruned, settings)
        baselines = _baselines(pruned, recalibrate_images, rotate=self.controls)
        configs = list({config.key: config for config in [*baselines, *pruned]}.values())
        # The baselines first; then so that no long trial starts last.
        configs.sort(key=lambda c: (c.prune is not None, -c.n_epochs if c.prune else 0))
        beside = controls(configs) if self.controls else []
        return list({config.key: config for config in [*configs, *beside]}.values())

    def with_shares(self, settings: Overrides) -> tuple["Sweep", dict[str, Any]]:
        """The sweep with what a trial takes of a machine, where settings say it, and the others,
        which are fields of trials. Raises ValueError for what is no such share."""
        own = {name: settings[name] for name in SHARES if name in settings}
        others = {name: value for name, value in settings.items() if name not in SHARES}
        return dataclasses.replace(self, **own), others

    def _require_shares(self) -> None:
        for name in SHARES:
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or isinstance(value, bool) or not value > 0:
                raise ValueError(f"{name} must be a number above 0, got {value!r}")
            if value > 1 and value != int(value):  # Ray takes no other
                raise ValueError(
                    f"{name} must be a share of one, or a whole number of them, got {value:g}"
                )

    def stopped_as(self, stop: str | None) -> "Sweep":
        """The same sweep with early stopping as the command line has it: "1", "best", "0" for
        none, None as the study says. Raises ValueError for another word."""
        if stop is None:
            return self
        if stop not in STOP:
            raise ValueError(f"STOP must be one of {', '.join(STOP)}, got {stop!r}")
        rule = dataclasses.replace(self.stopping or Stopping(), best=stop == "best")
        return dataclasses.replace(self, stopping=None if stop == "0" else rule)

    def with_data(self, path: str) -> "Sweep":
        """The same sweep on an image folder, or on a data set of that name.

        Raises ValueError where it cannot be on one.
        """
        if isinstance(self.on_folder, Sweep):
            return dataclasses.replace(self.on_folder, name=self.name).with_data(path)
        base = self.on_folder or self.base
        if names_set(path):
            changes = {"data.name": path, "data.path": None}
            return dataclasses.replace(self, base=base.replace(changes))
        if base.data.name != "image_folder" and not is_torchvision(base.data.name):
            raise ValueError(
                f"DATA goes with studies of an image folder; {self.name} generates its images"
            )
        return dataclasses.replace(self, base=base.replace({"data.path": path}))


def _baselines(
    pruned: Sequence[TrialConfig], recalibrate_images: int, *, rotate: bool
) -> list[TrialConfig]:
    """The dense networks, these retrained by every one-round recipe, and untrained ones; where
    there are scores beside MIS, or `rotate`, also the dense ones with rotated units.

    Where all trials of a setting have several rounds the control trains as long as all of theirs
    together.
    """
    dense, retrained, untrained, rotated = [], [], [], []
    one_round = {setting(c) for c in pruned if c.retrain is not None and c.rounds == 1}
    for config in pruned:
        dense.append(with_room(config, AS_IT_IS))
        settings: dict[str, Any] = {**AS_IT_IS, "network": config.network.untrained}
        if has_effect(config, "recalibrate_images", settings):
            settings["recalibrate_images"] = recalibrate_images
        untrained.append(with_room(config, settings))
        if rotate or config.beside:
            rotated.append(with_room(config, {**AS_IT_IS, "score.rotated": True}))
        if config.retrain is not None and (config.rounds == 1 or setting(config) not in one_round):
            recipe = config.finetune
            if recipe is not None:
                recipe = dataclasses.replace(recipe, epochs=config.n_epochs, last_epochs=0)
            retrained.append(with_room(config, {"prune": None, "finetune": recipe}))
    return [*dense, *retrained, *untrained, *rotated]


def sweep_key(name: str, configs: Sequence[TrialConfig]) -> str:
    """12 hex digits: the study and the set of its trials."""
    return digest_of([name, sorted(config.key for config in configs)])[:12]

"""Which trials are replicates of one another, and which start from one dense network.

Both are read from a trial's params, so that they hold for a config and for what MLflow has of it.
A param that was added since a trial ran is at its default, as in the trial's key.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from trainables.config import (
    DissectionConfig,
    PruneConfig,
    TrainConfig,
    TrialConfig,
    flat_params,
)
from trainables.config.criteria import SETTINGS_OF_CRITERIA, has_setting

Params = Mapping[str, str]
"""A trial's fields under their dotted names, as text: see `flat_params`."""

AMOUNTS, DRAWS = ("prune.rate", "prune.rates_factor"), ("seed", "data.seed", "prune.draw")
"""How much is pruned, and what is drawn: trials that differ in these alone are one arm."""

_FULL = TrialConfig(prune=PruneConfig(), finetune=TrainConfig(), dissection=DissectionConfig())
_DEFAULTS = {n: t for n, t in flat_params(_FULL).items() if "." in n}
OF_DENSE = ("network.", "data.", "compute.")
_NOT_OF_DENSE = ("data.val_images", "data.val_images_per_epoch", "data.probe_images")


def identity_fields(config: Any = _FULL, prefix: str = "") -> tuple[str, ...]:
    """The dotted names of all fields that are part of a trial's key, stages included."""
    names: list[str] = []
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        if dataclasses.is_dataclass(value):
            names += identity_fields(value, f"{prefix}{item.name}.")
        elif not item.metadata.get("place"):
            names.append(f"{prefix}{item.name}")
    return tuple(names)


def differing(trials: Sequence[Params]) -> list[str]:
    """The fields that set trials apart, beside rate and draws; not those that one does not use."""
    names = [n for n in identity_fields() if n not in (*AMOUNTS, *DRAWS)]
    return [n for n in names if len({value_of(params, n) for params in trials}) > 1]


def value_of(params: Params, name: str) -> str:
    """A field as text; "" where the trial has no such stage, or does not depend on the field."""
    steps = name.split(".")
    if any(params.get(".".join(steps[:n])) == "None" for n in range(1, len(steps))):
        return ""
    criterion = params.get("prune.criterion", params.get("criterion", ""))
    counts_of = params.get("prune.counts_of", "None")
    if name == "prune.counts_of":
        return "" if counts_of == "None" else counts_of
    criterion = criterion if counts_of == "None" else counts_of  # whose choices they are
    if name in SETTINGS_OF_CRITERIA and not has_setting(criterion, name):
        return ""
    if name == "prune.target":  # of a budget how much it is does not set apart, of what it is does
        return params.get(name, "None").replace("None", "").partition("=")[0]
    if name == "prune.rates":
        return params.get(name, "")
    if name == "prune.normalise" and params.get(name) == "None":
        return ""
    return params.get(name, _DEFAULTS.get(name, ""))


def arms(trials: Sequence[Params]) -> list[tuple[str, ...]]:
    """What each trial is apart from its rate and its draws; equal for replicates."""
    names = differing(trials)
    return [tuple(value_of(params, name) for name in names) for params in trials]


def fields_of_dense() -> tuple[str, ...]:
    """The fields that decide which dense network a trial starts from, beside what is drawn."""
    apart = (*_NOT_OF_DENSE, *DRAWS)
    return tuple(n for n in identity_fields() if n.startswith(OF_DENSE) and n not in apart)


def starts(trials: Sequence[Params]) -> list[tuple[str, ...]]:
    """The `fields_of_dense` of each trial, as text: equal where networks differ in what is drawn
    alone. A network that comes trained, with its head, has no recipe, whatever says how to train
    it again."""
    names = fields_of_dense()
    return [tuple(_of_dense(params, name) for name in names) for params in trials]


def _of_dense(params: Params, name: str) -> str:
    has_recipe = _is_trained(params) or params.get("network.head") == "new"
    return value_of(params, name) if has_recipe or not name.startswith("network.recipe.") else ""


def _is_trained(params: Params) -> bool:
    return params.get("network.weights", "train") == "train"


def trainings(trials: Sequence[Params]) -> list[tuple[str, ...]]:
    """Which dense network each trial starts from: equal where it is one and the same.

    A network that is trained is another one for each seed, recipe, training set and precision; of
    given weights (`imagenet`, `file`) there is one for each data, whatever the seed, also under a
    new head.
    """
    drawn = ("data.seed", "seed")
    return [
        (*start, *(value_of(params, name) for name in drawn)) if _is_trained(params) else start
        for params, start in zip(trials, starts(trials), strict=True)
    ]

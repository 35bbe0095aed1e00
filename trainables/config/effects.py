"""Which settings do something in which trials: one that does nothing makes a key of its own."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from trainables.config.effect import Effect, Values, effect
from trainables.config.effects_of_pruning import OF_PRUNING, retrains
from trainables.config.network import NetworkConfig, TrainConfig
from trainables.config.stages import (
    DataConfig,
    DissectionConfig,
    ScoreConfig,
)
from trainables.data_names import is_own_data
from trainables.fields import flat
from trainables.network_names import HEADS, has_no_norm, is_own

_GIVEN = ("imagenet", "file")  # weights that were trained elsewhere


def _of_finetuning(recipe: str) -> list[Effect]:
    def is_taught(values: Values) -> bool:
        return recipe == "finetune"

    def softens(values: Values) -> bool:
        return is_taught(values) and values[f"{recipe}.distill"] > 0

    def has_rounds(values: Values) -> bool:
        return is_taught(values) and values.get("prune.rounds", 1) > 1

    no_teacher = "it is of finetune: the dense network teaches, and has no teacher itself"
    above = "it is of finetune.distill above 0"
    return [
        effect(f"{recipe}.distill", TrainConfig, is_taught, no_teacher),
        effect(f"{recipe}.distill_temperature", TrainConfig, softens, above),
        effect(
            f"{recipe}.last_epochs",
            TrainConfig,
            has_rounds,
            "they are of finetune where there are several rounds of pruning, prune.rounds",
        ),
    ]


def _of_recipe(recipe: str) -> list[Effect]:
    def is_sgd(values: Values) -> bool:
        return values[f"{recipe}.optimizer"] == "sgd"

    def falls_by_gamma(values: Values) -> bool:
        return values[f"{recipe}.lr_schedule"] in ("exponential", "step")

    def has_heads(values: Values) -> bool:
        return bool(values["network.aux_heads"])

    def trains_a_head(values: Values) -> bool:
        given = values["network.weights"] in _GIVEN and values["network.head"] != "kept"
        return recipe == "network.recipe" and given

    def trains_a_body(values: Values) -> bool:
        within = values[f"{recipe}.head_epochs"] < values[f"{recipe}.epochs"]
        return trains_a_head(values) and within

    def has_norms(values: Values) -> bool:
        is_given = recipe == "finetune" or values["network.weights"] in _GIVEN
        return is_given and not has_no_norm(values["network.name"])

    new_head = "it is of network.recipe where that trains a new head on weights that are given"
    return [
        effect(f"{recipe}.head_epochs", TrainConfig, trains_a_head, new_head),
        effect(f"{recipe}.body_lr", TrainConfig, trains_a_body, f"{new_head}, and then the rest"),
        effect(
            f"{recipe}.frozen_batchnorm",
            TrainConfig,
            has_norms,
            "there must be BatchNorms that were trained before",
        ),
        *_of_finetuning(recipe),
        effect(f"{recipe}.momentum", TrainConfig, is_sgd, "only optimizer='sgd' has one"),
        effect(f"{recipe}.nesterov", TrainConfig, is_sgd, "only optimizer='sgd' has it"),
        effect(
            f"{recipe}.lr_gamma",
            TrainConfig,
            falls_by_gamma,
            "lr_schedule='exponential' and 'step' alone fall by it",
        ),
        effect(f"{recipe}.aux_weight", TrainConfig, has_heads, "network.aux_heads is False"),
    ]


EFFECTS: tuple[Effect, ...] = (
    *_of_recipe("network.recipe"),
    *_of_recipe("finetune"),
    effect(
        "network.digest",
        NetworkConfig,
        lambda v: v["network.weights"] == "file",
        "only network.weights='file' has a checkpoint",
    ),
    effect(
        "network.entry",
        NetworkConfig,
        lambda v: v["network.weights"] == "file",
        "only network.weights='file' has a checkpoint",
    ),
    effect(
        "network.head",
        NetworkConfig,
        lambda v: v["network.weights"] in _GIVEN,
        "only weights that are given, 'imagenet' and 'file', come with another",
    ),
    effect(
        "network.kept_classes",
        NetworkConfig,
        lambda v: v["network.head"] == "kept",
        "they are of network.head='kept'",
    ),
    effect(
        "network.code",
        NetworkConfig,
        lambda v: is_own(v["network.name"]),
        "only a function of one's own, package.module:function, has source to be known by",
    ),
    *(
        effect(
            f"network.{name}",
            NetworkConfig,
            lambda v: v["network.name"] in HEADS,
            f"only {' and '.join(HEADS)} have it",
        )
        for name in ("aux_heads", "transform_input")
    ),
    effect(
        "network.transform_input",
        NetworkConfig,
        lambda v: v["network.weights"] != "imagenet",
        "torchvision's weights say themselves how their input is transformed",
    ),
    *(
        effect(
            f"data.{name}",
            DataConfig,
            lambda v: v["data.name"] != "concepts",
            "concepts are drawn",
        )
        for name in ("digest", "broken_images", "val_share")
    ),
    effect(
        "data.code",
        DataConfig,
        lambda v: is_own_data(v["data.name"]),
        "it is of a data set that is your own function",
    ),
    *OF_PRUNING,
    effect(
        "score.code",
        ScoreConfig,
        lambda v: is_own(v["score.similarity"]),
        "it is of a similarity of your own",
    ),
    Effect(
        "scores_code",
        lambda v: any(is_own(name) for name in v["scores"]),
        ((),),
        "it is of a score of your own",
    ),
    effect(
        "dissection.digest",
        DissectionConfig,
        lambda v: v["dissection.concepts"] == "broden",
        "only concepts='broden' has a folder",
    ),
    Effect(
        "recalibrate_images",
        lambda v: not has_no_norm(v["network.name"]),
        (0,),
        "such a network has no BatchNorm",
    ),
    Effect(
        "score_every_round",
        # Dense networks beside such trials have it, too, and keep their keys.
        lambda v: "prune.rounds" not in v or (retrains(v) and v["prune.rounds"] > 1),
        (False,),
        "it needs rounds of pruning and retraining; the end is scored anyway",
    ),
)


def idle(values: Values) -> list[Effect]:
    """The effects of fields that are there and do nothing in such a trial."""
    return [each for each in EFFECTS if each.field in values and not each.holds(values)]


def require_effects(config: Any) -> None:
    """Raise ValueError for a field of a trial that is not at its default and does nothing."""
    values = flat(config)
    for each in idle(values):
        if values[each.field] not in each.neutral:
            raise ValueError(
                f"{each.field} must be left alone (at {each.neutral[0]!r}): {each.why}; "
                f"got {values[each.field]!r}"
            )


def with_room(config: Any, changes: Mapping[str, Any]) -> Any:
    """The config with fields replaced; others that thereby do nothing any more are at rest.

    Raises ValueError as `replace` does, also for a change that does nothing itself.
    """
    values = _laid_over(flat(config), changes)
    room = {
        each.field: each.neutral[0]
        for each in _idle_if_legal(values)
        if values[each.field] not in each.neutral and each.field not in changes
    }
    room = {name: value for name, value in room.items() if not _is_within(name, changes)}
    return config.replace({**changes, **room})


def _is_within(name: str, changes: Mapping[str, Any]) -> bool:
    """Whether a change replaces a part as a whole that this field is of."""
    return any(name.startswith(f"{part}.") for part in changes)


def has_effect(config: Any, name: str, changes: Mapping[str, Any]) -> bool:
    """Whether a field does something in the config as the changes leave it."""
    return name not in {each.field for each in _idle_if_legal(_laid_over(flat(config), changes))}


def why_idle(config: Any, name: str, changes: Mapping[str, Any]) -> str | None:
    """Why a field that the config has does nothing in it, as the changes leave it; None: it does
    something, or the config has not got it."""
    found = _idle_if_legal(_laid_over(flat(config), changes))
    return next((each.why for each in found if each.field == name), None)


def _idle_if_legal(values: Values) -> list[Effect]:
    """Nothing where a value is of a stage that the config has not, or of no legal type: of both
    `replace` tells better."""
    try:
        return idle(values)
    except (KeyError, TypeError, AttributeError):
        return []


def _laid_over(values: Values, changes: Mapping[str, Any]) -> dict[str, Any]:
    laid = dict(values)
    for name, value in sorted(changes.items()):  # a part before its fields
        if dataclasses.is_dataclass(value) or value is None:
            laid = {n: v for n, v in laid.items() if not n.startswith(f"{name}.")}
        if dataclasses.is_dataclass(value):
            laid.pop(name, None)
            laid |= flat(value, f"{name}.")
        else:
            laid[name] = value
    return laid

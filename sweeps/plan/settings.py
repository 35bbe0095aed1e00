"""Fields set on the trials of a study: what `make sweep SET=…` changes."""

from collections.abc import Mapping, Sequence
from typing import Any

from trainables.config import TrainConfig, TrialConfig
from trainables.config.effects import has_effect, why_idle, with_room

Settings = Mapping[str, Any]
"""Dotted field of a TrialConfig -> value."""


def with_settings(configs: Sequence[TrialConfig], settings: Settings) -> list[TrialConfig]:
    """The trials with fields set on all that have them; those that become equal are merged.

    A trial that trains nothing has no `finetune.lr` to set and stays as it is. The fields are set
    together and checked once, so that their order says nothing.
    Raises ValueError for a field that no trial has, and for values that are refused.
    """
    for name in settings:
        if not any(_has(config, name, settings) for config in configs):
            raise ValueError(
                f"no trial of this study has a {name} to set{_why(configs, name, settings)}"
            )
    changed = [with_own_settings(config, settings) for config in configs]
    return list({config.key: config for config in changed}.values())


def _why(configs: Sequence[TrialConfig], name: str, settings: Settings) -> str:
    """Of a field that trials have, and that does nothing in them."""
    reasons = dict.fromkeys(why_idle(config, name, settings) for config in configs)
    return "".join(f": {reason}" for reason in list(filter(None, reasons))[:1])


def with_own_settings(config: TrialConfig, settings: Settings) -> TrialConfig:
    """The trial with those of the fields set that it has. Raises ValueError as `replace` does."""
    own = {name: value for name, value in settings.items() if _has(config, name, settings)}
    changed: TrialConfig = with_room(config, _made_room(config, own) | own)
    return changed


def _made_room(config: TrialConfig, own: Settings) -> dict[str, Any]:
    """What has to change along with the fields that are set: there is no other way to say it."""
    needs_recipe = config.network.recipe is None and any(
        name.startswith("network.recipe.") for name in own
    )
    return {"network.recipe": TrainConfig()} if needs_recipe else {}


def _has(config: TrialConfig, name: str, settings: Settings) -> bool:
    """Whether all that the dotted name leads through is there, as the settings leave the trial; a
    wrong name is left to replace.
    """
    if not has_effect(config, name, {**_made_room(config, settings), **settings}):
        return False
    if name == "recalibrate_images":  # 0 is not to recalibrate: such a trial has no number of them
        return config.recalibrate_images > 0
    if name in ("finetune", "rewind", "rewind_epoch"):  # as pruned stays as pruned
        return config.retrain is not None
    weights = settings.get("network.weights", config.network.weights)
    if name.startswith("network.recipe.") and weights != "random":
        return True
    part: Any = config
    for step in name.split(".")[:-1]:
        part = getattr(part, step, config)
        if part is None:
            return False
    return True

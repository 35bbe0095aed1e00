"""What tells apart trials of one method, criterion and schedule, in a few words."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

Params = Mapping[str, str]
"""A trial's fields under their dotted names, as text."""

# Where trials that share these differ in anything but rate and draws, their recipe says it.
_SHARED = ("method", "schedule", "prune.criterion", "retraining")
# What these tell, or a recipe's first words.
_TOLD = {
    *("prune.granularity", "prune.scope", "prune.criterion", "prune.schedule"),
    *("prune.most_important_first", "finetune.epochs", "finetune.optimizer", "finetune.lr"),
}


def recipes(trials: Sequence[Params]) -> list[str]:
    """A recipe per trial: "3 epochs, sgd 0.005", and what else differs among the pruned ones.

    Pruned trials of one method, schedule, criterion and retraining with one recipe are replicates:
    they differ in rate and draws alone.
    """
    # Brings torch: not for an import of `load`.
    from trainables.config.replicates import differing, starts

    groups: dict[tuple[str, ...], list[Params]] = defaultdict(list)
    for params, start in zip(trials, starts(trials), strict=True):
        if "prune.rate" in params:
            is_finetuned = str("finetune.epochs" in params)
            alike = (*(params.get(name, "") for name in _SHARED), is_finetuned)
            groups[(*alike, *start)].append(params)  # networks are told by themselves (`pairs`)
    names = {name for group in groups.values() for name in differing(group)} - _TOLD
    return [_recipe(params, sorted(names)) for params in trials]


def _recipe(params: Params, names: Sequence[str]) -> str:
    from trainables.config.replicates import value_of

    words = []
    if "finetune.epochs" in params:
        rounds, epochs = params.get("prune.rounds", "1"), params["finetune.epochs"]
        times = "" if rounds == "1" else f"{rounds} × "
        words.append(f"{times}{epochs} epoch{'s' * (epochs != '1')}")
        words.append(f"{params.get('finetune.optimizer')} {params.get('finetune.lr')}")
        names = [name for name in names if name != "prune.rounds"]
    if "prune.rate" in params:
        values = {name: value_of(params, name) for name in names}
        words += [_said(name, value) for name, value in values.items() if _tells(name, value)]
    return ", ".join(words)


def _tells(name: str, value: str) -> bool:
    """Whether the trial has such a thing: one that is not recalibrated has no images for it."""
    return value != "" and (name, value) not in {("recalibrate_images", "0"), ("prune.rounds", "1")}


def _said(name: str, value: str) -> str:
    if name == "prune.rates" and len(entries := value.split(", ")) > 2:
        value = f"of {len(entries)} layers"
    last = name.rpartition(".")[2].replace("_", " ")
    if value in ("True", "False"):
        return last if value == "True" else f"not {last}"
    return f"{last} {value}"

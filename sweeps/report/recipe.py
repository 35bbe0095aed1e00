"""What tells apart trials of one method, criterion and schedule, in a few words."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from trainables.config import DATA_CRITERIA, FIRST_ORDER

Params = Mapping[str, str]
"""A trial's fields under their dotted names, as text."""

# What has a column of its own, is part of `method`, or is among a recipe's first words.
_TOLD = {
    *("method", "rate", "schedule", "criterion", "retraining", "seed"),
    *("prune.granularity", "prune.scope", "prune.criterion", "prune.rate", "prune.schedule"),
    *("prune.rounds", "prune.most_important_first", "finetune", "rewind", "recalibrate_images"),
    *("finetune.epochs", "finetune.optimizer", "finetune.lr"),
}


def recipes(trials: Sequence[Params]) -> list[str]:
    """A recipe a trial: "3 epochs, sgd 0.005", and what else differs among the pruned ones."""
    values: dict[str, set[str]] = defaultdict(set)
    for params in trials:
        if "prune.rate" in params:
            for name, value in _own(params).items():
                values[name].add(value)
    differing = sorted(name for name, found in values.items() if len(found) > 1)
    return [_recipe(params, differing) for params in trials]


def _own(params: Params) -> dict[str, str]:
    """The params that this trial depends on and that are not told elsewhere."""
    criterion = params.get("prune.criterion")
    return {
        name: value
        for name, value in params.items()
        if name not in _TOLD
        and not (name == "prune.samples_per_class" and criterion not in DATA_CRITERIA)
        and not (name.startswith("prune.lrp") and criterion != "lrp")
        and not (name == "prune.target" and criterion not in FIRST_ORDER)
        and not (name == "prune.normalise" and value == "None")
    }


def _recipe(params: Params, differing: Sequence[str]) -> str:
    words = []
    if "finetune.epochs" in params:
        rounds, epochs = params.get("prune.rounds", "1"), params["finetune.epochs"]
        times = "" if rounds == "1" else f"{rounds} × "
        words.append(f"{times}{epochs} epoch{'s' * (epochs != '1')}")
        words.append(f"{params.get('finetune.optimizer')} {params.get('finetune.lr')}")
    own = _own(params) if "prune.rate" in params else {}
    return ", ".join([*words, *(_said(name, own[name]) for name in differing if name in own)])


def _said(name: str, value: str) -> str:
    last = name.rpartition(".")[2].replace("_", " ")
    if value in ("True", "False"):
        return last if value == "True" else f"not {last}"
    return f"{last} {value}"

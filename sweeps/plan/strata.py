"""Which trials compete when hopeless ones are stopped: those that agree on what the study asks."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from trainables.config import PruneConfig, TrialConfig
from trainables.config.replicates import identity_fields
from trainables.fields import digest_of, flat, identity

QUESTION = ("method", "rate", "schedule", "criterion")
"""What a study asks about where it does not say: all of how it prunes, and nothing of how it
retrains."""

_BINS_AN_OCTAVE = 4  # of density, where the rate is searched and hardly any two are equal
_CRITERION = (
    *("criterion", "code", "samples_per_class", "change_of", "normalise", "lrp"),
    *("most_important_first", "counts_of", "draw"),
)
_OF_OTHERS = {
    "rate": ("rate", "target", "rates", "rates_factor"),
    "schedule": ("schedule", "rounds"),
    "criterion": _CRITERION,
}


def fields_of(question: Iterable[str], axes: Mapping[str, Iterable[str]]) -> tuple[str, ...]:
    """The dotted fields of a trial that a study's question is about.

    question: names of QUESTION, of which "method" is all of `prune` that the others leave; names
    of the study's own axes (axes: name -> the fields that its points set); dotted fields.
    Raises ValueError for a name that is none of these.
    """
    pruning = [name for name in flat(PruneConfig(), "prune.")]
    told = {name: [f for f in pruning if _is_of(f, name)] for name in _OF_OTHERS}
    told["method"] = [f for f in pruning if not any(_is_of(f, name) for name in _OF_OTHERS)]
    known = set(identity_fields())
    found: dict[str, None] = {}
    for name in question:
        own = told.get(name) or axes.get(name) or ([name] if name in known else None)
        if own is None:
            names = ", ".join(dict.fromkeys([*QUESTION, *axes]))
            raise ValueError(
                f"the question of a study must name {names}, or a field of a trial such as "
                f"finetune.lr; got {name!r}"
            )
        found |= dict.fromkeys(own)
    return tuple(sorted(found))


def _is_of(field: str, name: str) -> bool:
    return field.split(".")[1] in _OF_OTHERS[name]


@dataclass(frozen=True)
class Strata:
    """Which trials are peers of one another.

    Peers are alike in all that makes equal epochs comparable: the rate, how rounds and epochs
    follow each other (sparsity grows with the rounds), how they retrain, the dense network and the
    images. And they agree on `question`, the fields that the study is about, and on the seed:
    trials that differ in their draws alone are replicates, the sample that the study's answers are
    over, and to stop the worse half of a sample would make the mean of the rest too good. So what
    competes is what the study does not ask about, recipes above all, within each training.

    best: whoever wants the best network of each rate and asks no question; then all that is
    comparable competes, methods and seeds, too. rate_is_searched: rates are no longer a few;
    densities within about a fifth count as equal.
    """

    question: tuple[str, ...] = ()
    best: bool = False
    rate_is_searched: bool = False

    @property
    def key(self) -> str:
        """8 hex digits: what was recorded of other peers is not for these."""
        question = () if self.best else self.question
        return digest_of([*question, self.best, self.rate_is_searched])[:8]

    def of(self, config: TrialConfig) -> str | None:
        """Equal for peers; None for a trial that is never stopped.

        Never stopped is what others are measured against: networks that are not pruned, and the
        controls that are pruned by chance or with the most important first.
        """
        prune = config.prune
        if prune is None or prune.criterion == "random" or prune.most_important_first:
            return None
        if config.n_epochs == 0:
            return None
        rate = config.rate
        if self.rate_is_searched:
            bin_ = round(_BINS_AN_OCTAVE * math.log2(1 - rate))
            rate = 1 - 2 ** (bin_ / _BINS_AN_OCTAVE)
        shared: list[Any] = [_digest(config.network), _digest(config.data)]
        who = ""
        if not self.best:
            who = f"{config.method}, " if "prune.granularity" in self.question else ""
            who += f"by {prune.criterion}, " if "prune.criterion" in self.question else ""
            who += f"seed {config.seed}, "
            shared += [_digest(part) for part in (config.score, config.dissection, config.compute)]
            values = flat(config)
            shared += [(n, values.get(n)) for n in self.question if n != "prune.rate"]
            shared += [config.seed, prune.draw]
        amount = f"{rate:.4g}" if prune.rate is not None else prune.amount
        return (
            f"{who}rate {amount}, {config.schedule}, {config.rounds} x {config.epochs_per_round} "
            f"epochs, {config.retraining} from {config.rewind_epoch}, {digest_of(shared)[:6]}"
        )


@cache
def _digest(part: Any) -> str:
    return "" if part is None else digest_of(identity(part))

"""What stands beside a criterion, so that one can see whether it means anything."""

from collections.abc import Hashable, Sequence
from dataclasses import replace

from pruning import Criterion
from trainables.config import TrialConfig
from trainables.config.effects import with_room
from trainables.fields import flat

DRAWS = 3  # of chance within layers, where nothing is trained and one more is cheap

AS_IT_IS = {
    "given": None,
    "prune": None,
    "finetune": None,
    "rewind": "none",
    "rewind_epoch": 0,
    "recalibrate_images": 0,
    "sensitivity": None,
}
"""What is set on a trial to get the network that it starts from, neither pruned nor trained."""


def setting(config: TrialConfig) -> Hashable:
    """Equal for trials that differ in nothing but how they prune and retrain: the same network,
    images, seed, score and dissection. Only within one are numbers compared."""
    return with_room(config, AS_IT_IS | {"score_every_round": False}).key


def controls(configs: Sequence[TrialConfig]) -> list[TrialConfig]:
    """The controls of these trials, in every setting of its own.

    At every method and rate: the same pruning by chance. Over all layers at once chance has
    another share of every layer than a criterion, so that it tells nothing of which groups are
    important: beside it, of every criterion, chance with as many groups per layer as the criterion
    keeps, drawn `DRAWS` times where nothing is trained. Of every criterion, at a method's smallest
    rate: the most important first.

    Of the trials that one control would serve the cheapest is taken; of these one that is
    recalibrated, since as pruned everything is at chance; of these the one that sees most images.
    """
    by_chance: dict[Hashable, TrialConfig] = {}
    within_layers: dict[Hashable, TrialConfig] = {}
    reversed_: dict[Hashable, TrialConfig] = {}
    for config in sorted(configs, key=_cost):
        prune = config.prune
        if prune is None or not prune.held or prune.most_important_first:
            continue
        if prune.criterion == "random":
            continue
        pool = (prune.layers, prune.biases, prune.exclude)
        amount = (prune.rate, prune.target, prune.rates, prune.rates_factor)
        where = (setting(config), prune.method, pool, prune.batchnorm_follows)
        scored = (prune.by.name, prune.norm, _settings(prune.by))
        by_chance.setdefault((where, amount), config)
        if prune.scope == "global":
            within_layers.setdefault((where, amount, scored), config)
        reversed_.setdefault((where, prune.criterion), config)
    return [
        *(_by_chance(config) for config in by_chance.values()),
        *(each for config in within_layers.values() for each in _within_layers(config)),
        *(c.replace({"prune.most_important_first": True}) for c in reversed_.values()),
    ]


def _settings(criterion: Criterion) -> Hashable:
    """What a criterion ranks by, however many images it sees."""
    apart = ("samples_per_class", "normalise")
    return tuple((n, v) for n, v in sorted(flat(criterion).items()) if n not in apart)


def _cost(config: TrialConfig) -> tuple[float, ...]:
    samples = 0 if config.prune is None else config.prune.samples_per_class
    return config.rate, config.n_epochs, -config.recalibrate_images, -samples


def _by_chance(config: TrialConfig) -> TrialConfig:
    return with_room(config, {"prune.criterion": "random", "prune.normalise": None})


def _within_layers(config: TrialConfig) -> list[TrialConfig]:
    if config.prune is None:
        return []
    chance = replace(config.prune, criterion="random", counts_of=config.prune.criterion)
    draws = 1 if config.n_epochs else DRAWS
    return [config.replace({"prune": replace(chance, draw=draw)}) for draw in range(draws)]

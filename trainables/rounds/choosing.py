"""What a round keeps: by a criterion, or by chance with the numbers of a criterion's trial."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from pruning import (
    Groups,
    choose_by_chance,
    choose_by_rates,
    choose_groups,
    kept_numbers,
)
from trainables.config import PruneConfig
from trainables.randomness import generator
from trainables.rounds.budget import choose_for_budget, in_multiples
from trainables.rounds.importance import importance
from trainables.rounds.numbers import keep_numbers_of, numbers_of
from trainables.rounds.pruned import PrunedNetwork

if TYPE_CHECKING:
    from trainables.trial import Trial


def choose(trial: "Trial", prune: PruneConfig, round_: int) -> Groups:
    """What the trial's next round keeps; nothing is applied."""
    config, cache, pruned = trial.config, trial.workspace.cache, trial.pruned
    key = config.of_masks.key
    if prune.counts_of is not None:
        numbers = numbers_of(cache, key, round_) or _follow(trial, round_)
        draw = generator(config.seed, "by chance within layers", round_, prune.draw)
        return choose_by_chance(
            pruned.weights,
            numbers,
            draw,
            granularity=prune.granularity,
            within=pruned.groups,
        )
    ranked = importance(pruned, config, trial.data, cache, round_)
    if prune.target is not None:
        groups = choose_for_budget(pruned, prune, ranked, round_, config.data.pixels)
    else:
        groups = _choose_at_rates(pruned, prune, ranked, round_)
        groups = in_multiples(pruned, prune, ranked, groups)
    if prune.scope == "global" and config.n_epochs and round_ > 0:  # costs training to know
        keep_numbers_of(cache, key, round_, kept_numbers(groups))
    return groups


def _choose_at_rates(
    pruned: PrunedNetwork, prune: PruneConfig, ranked: Mapping[str, Tensor], round_: int
) -> Groups:
    """At one rate, or each layer at its own; in rounds by the schedule of each."""
    if prune.rate is not None:
        return choose_groups(
            ranked,
            prune.rates_of_rounds(prune.rate)[round_],
            granularity=prune.granularity,
            scope=prune.scope,
            within=pruned.groups,
            most_important_first=prune.most_important_first,
        )
    in_the_end = pruned.rates_of_layers()
    rates = {
        name: rate and prune.rates_of_rounds(rate)[round_] for name, rate in in_the_end.items()
    }
    return choose_by_rates(
        ranked, rates, within=pruned.groups, most_important_first=prune.most_important_first
    )


def _follow(trial: "Trial", round_: int) -> dict[str, int]:
    """Go through the criterion's own trial up to the masks of that round; groups kept."""
    if trial.followed is None:
        trial.followed = type(trial)(trial.config.of_masks, trial.workspace)
        if trial.config.retrain is not None:  # a process can have one crew
            trial.member()
            trial.followed.crew = trial.crew
    followed = trial.followed
    while followed.n_begun <= round_:
        if followed.epochs_done == followed.n_begun * followed.config.epochs_per_round:
            followed.begin_round()
        else:
            followed.epoch()
    return {name: kept for name, (kept, _) in followed.pruned.numbers().items()}

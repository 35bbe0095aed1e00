"""The masks of a round: by a criterion, or by chance with the numbers of a criterion's trial."""

from typing import TYPE_CHECKING

from pruning import cumulative_rates
from trainables.config import PruneConfig
from trainables.importance import importance
from trainables.layers import keep_numbers_of, numbers_of
from trainables.randomness import generator

if TYPE_CHECKING:
    from trainables.trial import Trial


def choose_masks(trial: "Trial", prune: PruneConfig, round_: int) -> None:
    """Choose the masks of the trial's next round; nothing is applied."""
    config, cache = trial.config, trial.workspace.cache
    key = config.of_masks.key
    if prune.counts_of is not None:
        numbers = numbers_of(cache, key, round_) or _follow(trial, round_)
        draw = generator(config.seed, "by chance within layers", round_, prune.draw)
        return trial.pruned.choose_by_chance(numbers, draw)
    rates = cumulative_rates(prune.schedule, prune.rate, prune.rounds)
    found = importance(trial.network, config, trial.data, cache, round_, trial.pruned.structure)
    trial.pruned.choose(found, rates[round_])
    if prune.scope == "global" and config.n_epochs and round_ > 0:  # costs training to know
        keep_numbers_of(cache, key, round_, trial.pruned.numbers())


def _follow(trial: "Trial", round_: int) -> dict[str, int]:
    """Go through the criterion's own trial up to the masks of that round; groups kept."""
    if trial.followed is None:
        trial.followed = type(trial)(trial.config.of_masks, trial.workspace)
    followed = trial.followed
    while followed.n_begun <= round_:
        if followed.epochs_done == followed.n_begun * followed.config.epochs_a_round:
            followed.begin_round()
        else:
            followed.epoch()
    return {name: kept for name, (kept, _) in followed.pruned.numbers().items()}

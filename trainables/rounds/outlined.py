"""Whether a network can be pruned as a trial says, and what cannot: by its shapes alone."""

from functools import lru_cache

from pruning import Structure, left_alone, structure_of, what_is_lost
from trainables.config import NetworkConfig, PruneConfig
from trainables.networks import outline, outline_with
from trainables.rounds.budget import require_within_reach
from trainables.rounds.pruned import PrunedNetwork, require_prunable


@lru_cache(64)
def _structure(config: NetworkConfig) -> Structure:
    return structure_of(outline(config)[0])


@lru_cache(1024)
def require_prunable_outline(config: NetworkConfig, prune: PruneConfig) -> None:
    """Raise ValueError, in one sentence, where the network cannot be pruned so, whatever its
    weights are; see `require_prunable`."""
    require_prunable(PrunedNetwork(outline(config)[0], prune, _structure(config)))


@lru_cache(64)
def require_outline_within_reach(
    config: NetworkConfig, prune: PruneConfig, n_classes: int, pixels: int
) -> None:
    """Raise ValueError where no pruning brings the network down to `prune.target`; see
    `require_within_reach`."""
    if prune.target is not None:
        network = outline_with(config.untrained, n_classes)
        require_within_reach(PrunedNetwork(network, prune), pixels)


@lru_cache(64)
def n_layers(config: NetworkConfig, prune: PruneConfig) -> int:
    """How many layers of the network may be pruned so."""
    return len(PrunedNetwork(outline(config)[0], prune, _structure(config)).weights)


@lru_cache(64)
def lost_in(config: NetworkConfig, granularity: str) -> tuple[str, ...]:
    """What pruning cannot do in this network, a sentence each; none where it can do all."""
    network = outline(config)[0]
    lost = [what_is_lost(_structure(config)), *left_alone(network, granularity)]
    return tuple(f"network.name={config.name!r}: {sentence}" for sentence in lost if sentence)

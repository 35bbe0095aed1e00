"""What a network is at the end of a round: how much is left, what it costs, how accurate it is."""

from collections.abc import Mapping

from trainables.networks import count_cost
from trainables.rounds.pruned import PrunedNetwork


def end_row(
    pruned: PrunedNetwork, round_: int, metrics: Mapping[str, float], pixels: int
) -> dict[str, float]:
    """A row: round (that has ended, from 1), n_groups and n_kept (what a method prunes as one, of
    all layers), cost/params and cost/macs of the network without what is gone (multiply-adds for
    one image of so many pixels a side), and the metrics of accuracy and of what is zero."""
    numbers = pruned.numbers().values()
    cost = count_cost(pruned.compacted()[0], pixels)
    there = {name: v for name, v in metrics.items() if name.startswith(("val/", "prune/"))}
    return {
        "round": float(round_),
        "n_groups": float(sum(n for _, n in numbers)),
        "n_kept": float(sum(kept for kept, _ in numbers)),
        "cost/params": float(cost.params),
        "cost/macs": float(cost.macs),
        **there,
    }

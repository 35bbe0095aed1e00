"""What a network costs to run: dense, masked, and with what is pruned taken out."""

from typing import Any

from trainables.networks import (
    count_cost,
    measure_latency,
    rebuild,
)
from trainables.rounds.pruned import PrunedNetwork
from trainables.training.compute import place

_BATCH = 8  # of the latency: small enough that a CPU's caches and a GPU's launches both show


def cost_metrics(pruned: PrunedNetwork, arguments: dict[str, Any], pixels: int) -> dict[str, float]:
    """Parameters, multiply-adds per image and latency (ms per image) of three networks.

    cost/params, cost/macs, cost/latency: of the network without its removed filters, which is
    what would be run. cost/params_dense …: of the network before pruning. cost/params_masked and
    cost/macs_masked count what is not zero, which no plain hardware saves; cost/latency_masked is
    what the masked network takes all the same. Latencies are of batches of 8 on this trial's
    device, its threads and its neighbours, in float32: compare them within a trial.
    arguments: of the network, for `rebuild`. pixels: side of an image.
    """
    network = pruned.network.eval()
    smaller, survivors = pruned.compacted()
    device = next(network.parameters()).device
    dense = place(rebuild(arguments), device)
    masked = count_cost(network, pixels)
    whole = masked if pruned.left is None else count_cost(dense.eval(), pixels)
    small = masked if survivors is None else count_cost(smaller, pixels)
    counts = {
        "": (small.params, small.macs),
        "_dense": (whole.params, whole.macs),
        "_masked": (masked.nonzero_params, masked.nonzero_macs),
    }
    metrics: dict[str, float] = {}
    for suffix, each in (("", smaller), ("_dense", dense), ("_masked", network)):
        params, macs = counts[suffix]
        metrics |= {f"cost/params{suffix}": float(params), f"cost/macs{suffix}": float(macs)}
        latency = measure_latency(each.eval(), pixels, batch_size=_BATCH)
        metrics[f"cost/latency{suffix}"] = latency
    return metrics

"""What the exported network and its dense one take on this machine: bytes, and milliseconds."""

import copy
from dataclasses import dataclass
from typing import Any

from torch import nn

from trainables.config import ComputeConfig
from trainables.networks import (
    Cost,
    Latency,
    count_cost,
    measure_latencies,
    rebuild,
    safetensors_bytes,
)
from trainables.training.compute import describe, place, prepare_process, resolve_device

EXPORTED, DENSE = "exported", "dense"
BATCHES = (1, 64)
_SUFFIX = {EXPORTED: "", DENSE: "_dense"}


@dataclass(frozen=True)
class Measured:
    """By network, "exported" and "dense". device: what it was measured on, with its threads."""

    cost: dict[str, Cost]
    n_bytes: dict[str, int]
    latencies: dict[str, list[Latency]]
    device: dict[str, str]

    def metrics(self) -> dict[str, float]:
        """Under their names in `sweeps.plan.metrics`."""
        found: dict[str, float] = {}
        for which, suffix in _SUFFIX.items():
            found[f"export/bytes{suffix}"] = float(self.n_bytes[which])
            for latency in self.latencies[which]:
                name = f"export/latency_{latency.batch_size}{suffix}"
                found |= {name: latency.median, f"{name}_spread": latency.upper - latency.lower}
        return found


def measure(network: nn.Module, arguments: dict[str, Any], pixels: int) -> Measured:
    """Both on the device at hand, by turns, in float32, as trials compute.

    arguments: of the dense network, for `rebuild`; its weights do not matter.
    """
    compute = ComputeConfig()
    prepare_process(compute)
    device = resolve_device(compute)
    networks = {EXPORTED: network, DENSE: rebuild(arguments).eval()}
    placed = {name: place(copy.deepcopy(n), device).eval() for name, n in networks.items()}
    latencies: dict[str, list[Latency]] = {name: [] for name in networks}
    for batch_size in BATCHES:
        for name, latency in measure_latencies(placed, pixels, batch_size).items():
            latencies[name].append(latency)
    made_on = describe(device, "fp32")
    return Measured(
        {name: count_cost(n, pixels) for name, n in networks.items()},
        {name: safetensors_bytes(n, arguments) for name, n in networks.items()},
        latencies,
        {name: made_on[name] for name in ("device", "precision", "threads", "torch")},
    )

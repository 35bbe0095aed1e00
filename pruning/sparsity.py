"""What is zero in a network, counted on its weights and not on its masks."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Sparsity:
    """Counts of zeros, and which layers have nothing left."""

    n_zero: int  # of the prunable weights
    n_prunable: int
    n_zero_network: int  # of all parameters
    n_network: int
    collapsed: tuple[str, ...]  # prunable layers without a weight left

    @property
    def prunable(self) -> float:
        """Fraction of the prunable weights that are zero, in [0, 1]."""
        return self.n_zero / self.n_prunable

    @property
    def network(self) -> float:
        """Fraction of all parameters that are zero, in [0, 1]."""
        return self.n_zero_network / self.n_network


@torch.no_grad()
def measure_sparsity(
    network: nn.Module, weights: Mapping[str, Tensor], gone: tuple[int, int] = (0, 0)
) -> Sparsity:
    """Count the zeros of `network`; `weights` as `prunable_weights` gives them.

    gone: prunable weights, and parameters, that are no longer in it: they count as zeros.
    """
    zeros = {name: int((weight == 0).sum()) for name, weight in weights.items()}
    return Sparsity(
        n_zero=sum(zeros.values()) + gone[0],
        n_prunable=sum(weight.numel() for weight in weights.values()) + gone[0],
        n_zero_network=sum(int((p == 0).sum()) for p in network.parameters()) + gone[1],
        n_network=sum(p.numel() for p in network.parameters()) + gone[1],
        collapsed=tuple(
            name.removesuffix(".weight")
            for name, weight in weights.items()
            if name.endswith(".weight") and zeros[name] == weight.numel()
        ),
    )

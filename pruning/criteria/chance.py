"""Chance, a control for all others."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pruning.criteria.criterion import Criterion, Subject


@dataclass(frozen=True, kw_only=True)
class Random(Criterion):
    """Uniform noise in [0, 1): the criterion that knows nothing.

    One draw per group, since a mean over the weights of a group would be narrower the larger it
    is, and a ranking over all layers would prune by size. On the CPU, so that a seed prunes the
    same groups on every device.
    """

    name = "random"
    draws = True

    def importance(self, subject: Subject) -> dict[str, Tensor]:
        if subject.generator is None:
            raise ValueError("criterion 'random' draws: a generator must be given, got None")
        shapes = {
            name: subject.granularity.means(weight).shape
            for name, weight in subject.weights().items()
        }
        return {
            name: torch.rand(shape, generator=subject.generator, dtype=torch.float64)
            for name, shape in shapes.items()
        }

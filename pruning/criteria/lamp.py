"""Magnitudes that compare across layers (Lee et al. 2021)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pruning.criteria.criterion import Criterion, Subject


@dataclass(frozen=True, kw_only=True)
class Lamp(Criterion):
    """w squared / sum of the squares of all weights of the layer that are not smaller, in [0, 1].

    The LAMP score of Lee et al. 2021 (Layer-adaptive Sparsity for the Magnitude-based Pruning,
    arXiv 2010.07611). Within a layer it ranks by magnitude; the largest weight of every layer
    has 1, so that no layer loses all. Of equal weights the first counts as the larger. A
    weight of 0 has 0.
    """

    name = "lamp"
    knows = ("weight",)

    def importance(self, subject: Subject) -> dict[str, Tensor]:
        return {name: _lamp(weight) for name, weight in subject.weights().items()}


def _lamp(weight: Tensor) -> Tensor:
    squares, order = weight.double().square().flatten().sort(descending=True, stable=True)
    not_smaller = squares.cumsum(0)
    ratios = torch.where(squares > 0, squares / not_smaller, 0.0)
    return torch.empty_like(ratios).index_copy_(0, order, ratios).reshape(weight.shape)

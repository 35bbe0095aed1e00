"""The magnitude of weights."""

from dataclasses import dataclass

from torch import Tensor

from pruning.criteria.criterion import OfWeights


@dataclass(frozen=True, kw_only=True)
class L1(OfWeights):
    """|w|: the magnitude (Li et al. 2017 sum it over a filter). Exact in the weight's dtype."""

    name = "l1"

    def of_weight(self, weight: Tensor) -> Tensor:
        return weight.abs()


@dataclass(frozen=True, kw_only=True)
class L2(OfWeights):
    """w squared: a group's sum ranks as its L2 norm does."""

    name = "l2"

    def of_weight(self, weight: Tensor) -> Tensor:
        return weight.double().square()

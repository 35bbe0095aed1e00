"""How important is each group? The criteria, an object each, and their names."""

from pruning.criteria.bn_scale import BnScale
from pruning.criteria.chance import Random
from pruning.criteria.criterion import (
    NORMS,
    Batches,
    Criterion,
    OfImages,
    OfWeights,
    Scaled,
    Subject,
)
from pruning.criteria.first_order import FirstOrder, Gradient, Taylor
from pruning.criteria.fisher import Fisher
from pruning.criteria.fpgm import Fpgm
from pruning.criteria.lamp import Lamp
from pruning.criteria.magnitude import L1, L2
from pruning.criteria.outgoing_l1 import OutgoingL1
from pruning.criteria.relevance import Lrp

__all__ = [
    "CRITERIA",
    "NORMS",
    "Batches",
    "Criterion",
    "FirstOrder",
    "OfImages",
    "OfWeights",
    "Scaled",
    "Subject",
    "criterion_class",
]

CRITERIA: dict[str, type[Criterion]] = {
    each.name: each
    for each in (L1, L2, Random, Gradient, Taylor, Lrp, BnScale, OutgoingL1, Fpgm, Lamp, Fisher)
}


def criterion_class(name: str) -> type[Criterion]:
    """The class of the criterion of this name. Raises ValueError where there is none."""
    if name not in CRITERIA:
        raise ValueError(f"criterion must be one of {', '.join(CRITERIA)}, got {name!r}")
    return CRITERIA[name]

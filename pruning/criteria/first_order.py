"""By how much does the loss change, to first order? Gradient and Taylor."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from pruning.criteria.criterion import OfImages, Subject
from pruning.gradients import Kind, gradient_importance


@dataclass(frozen=True, kw_only=True)
class FirstOrder(OfImages):
    """What a derivative says of `change_of`: the cross-entropy, or the label's logit.

    The usual norm where layers are compared is L2 (Molchanov et al. 2017, sec. 2.2; Yeom et al.
    2021).
    """

    usual_norm = "l2"
    of: ClassVar[Kind]
    change_of: Literal["loss", "logit"] = "loss"

    def importance(self, subject: Subject) -> dict[str, Tensor]:
        return gradient_importance(
            subject.network,
            subject.batches,
            self.of,
            subject.granularity.name,
            subject.names,
            self.change_of,
            subject.structure,
        )


@dataclass(frozen=True, kw_only=True)
class Gradient(FirstOrder):
    """The change of the target per unit by which a map is raised, or a weight is (Sun et al. 2017,
    a pruning criterion in Yeom et al. 2021)."""

    name = of = "gradient"


@dataclass(frozen=True, kw_only=True)
class Taylor(FirstOrder):
    """The change of the target when a map goes (Molchanov et al. 2017), or a weight (2019)."""

    name = of = "taylor"

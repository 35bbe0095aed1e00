"""By how much does the loss rise, to second order (Theis et al. 2018)?"""

from dataclasses import dataclass

from torch import Tensor

from pruning.criteria.criterion import OfImages, Subject
from pruning.gradients import gradient_importance


@dataclass(frozen=True, kw_only=True)
class Fisher(OfImages):
    """Half of the mean over samples of (sum over positions of y x dL/dy) squared.

    Theis et al. 2018 (Faster gaze prediction with dense networks and Fisher pruning, arXiv
    1801.05787), with L the cross-entropy and y the filter's map, or the map that an
    input channel is. The square of what Taylor takes the absolute of, sample by sample (Molchanov
    et al. 2019, for gates). Not of single weights: autograd has no gradient of a weight for
    each sample.
    """

    name = "fisher"
    knows = ("filter", "input_channel")

    def importance(self, subject: Subject) -> dict[str, Tensor]:
        return gradient_importance(
            subject.network,
            subject.batches,
            "fisher",
            subject.granularity.name,
            subject.names,
            "loss",
            subject.structure,
        )

"""What did the decision rest on? Relevance as a criterion (Yeom et al. 2021)."""

from dataclasses import dataclass

from torch import Tensor

from pruning.criteria.criterion import OfImages, Subject
from pruning.lrp.relevance import lrp_importance, require_rules
from pruning.lrp.rules import LrpRules


@dataclass(frozen=True, kw_only=True)
class Lrp(OfImages):
    """Relevance of maps, or of weights (Yeom et al. 2021, arXiv 1912.08881).

    lrp: the rules by which relevance is spread.
    """

    name = "lrp"
    lrp: LrpRules = LrpRules()

    def importance(self, subject: Subject) -> dict[str, Tensor]:
        return lrp_importance(
            subject.network,
            subject.batches,
            subject.granularity.name,
            subject.names,
            self.lrp,
            subject.structure,
        )

    def require(self, subject: Subject) -> None:
        require_rules(subject.network, subject.structure)
        biases = [name for name in subject.names if name.endswith(".bias")]
        if biases:
            raise ValueError(
                f"criterion 'lrp' tells the importance of weights and not of biases: prune.biases "
                f"must be False, got {biases[0]} among {len(biases)}"
            )

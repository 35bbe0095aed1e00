"""What BatchNorm multiplies a filter by (Liu et al. 2017)."""

from dataclasses import dataclass

from torch import Tensor

from pruning.criteria.criterion import Scaled, Subject, listed
from pruning.prunable import NeedsExclusion


@dataclass(frozen=True, kw_only=True)
class BnScale(Scaled):
    """|weight| of the BatchNorm that normalises the filter.

    Liu et al. 2017 (Learning Efficient Convolutional Networks through Network Slimming, arXiv
    1708.06519). They train with an L1 penalty on these weights and rank them over all
    layers; the penalty is no part of this.
    """

    name = "bn_scale"
    knows = ("filter",)

    def importance(self, subject: Subject) -> dict[str, Tensor]:
        self.require(subject)
        norms = subject.structure.norm_of
        scale_of = {name: f"{norms[layer]}.weight" for name, layer in subject.layers().items()}
        scales = subject.weights([*scale_of.values()])
        return {name: scales[scale].double().abs() for name, scale in scale_of.items()}

    def require(self, subject: Subject) -> None:
        norms = subject.structure.norm_of
        without = [
            layer
            for layer in subject.layers().values()
            if layer not in norms or not _has_weight(subject, norms[layer])
        ]
        if without:
            raise NeedsExclusion(
                "criterion 'bn_scale' needs a BatchNorm with a weight that normalises each layer "
                f"alone; {listed(without)} have none",
                without,
            )


def _has_weight(subject: Subject, norm: str) -> bool:
    return getattr(subject.network.get_submodule(norm), "weight", None) is not None

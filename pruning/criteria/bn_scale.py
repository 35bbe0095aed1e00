"""What BatchNorm multiplies a filter by (Liu et al. 2017)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pruning.criteria.criterion import Scaled, Subject, listed


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
        found = {}
        for name, layer in subject.layers().items():
            scale = subject.network.get_parameter(f"{norms[layer]}.weight").detach().cpu()
            if not torch.isfinite(scale).all():
                raise ValueError(
                    f"weights must be finite to be ranked, but {norms[layer]}.weight holds NaN or "
                    "inf"
                )
            found[name] = scale.double().abs()
        return found

    def require(self, subject: Subject) -> None:
        norms = subject.structure.norm_of
        without = [
            layer
            for layer in subject.layers().values()
            if layer not in norms or not _has_weight(subject, norms[layer])
        ]
        if without:
            raise ValueError(
                "criterion 'bn_scale' needs a BatchNorm with a weight that normalises each layer "
                f"alone; {listed(without)} have none: prune.exclude must name them"
            )


def _has_weight(subject: Subject, norm: str) -> bool:
    return getattr(subject.network.get_submodule(norm), "weight", None) is not None

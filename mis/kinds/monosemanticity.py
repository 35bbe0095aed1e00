"""Are the images that a unit answers to alike? Monosemanticity (Pach et al. 2025)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from mis.kinds.score import Need, OfMeans, Probe

_CHUNK = 4096  # images whose vectors are in float64 at a time


@dataclass(frozen=True, kw_only=True)
class Monosemanticity(OfMeans):
    """The mean cosine of the vectors of all pairs of images, weighted by the product of the unit's
    activations, these scaled to 0 … 1 for each unit: in [-1, 1].

    Pach et al., NeurIPS 2025 (arXiv 2504.02821). Their first two versions divide by the number of
    pairs, their code by the sum of the weights, and they have mended the equation since
    (github.com/ExplainableML/sae-for-vlm/issues/4): we divide by the sum of the weights. All pairs
    at once by the identity of MonoLoss (arXiv 2602.12403): of unit vectors e and activations a it
    is (|sum a e|^2 - sum a^2) / ((sum a)^2 - sum a^2).

    By chance: the mean cosine of all pairs. Without a score: a unit that is the same on all images,
    and one that a single image moves.
    """

    name: ClassVar[str] = "monosemanticity"
    needs: ClassVar[frozenset[Need]] = frozenset({"vectors"})

    def of(self, activations: Tensor, probe: Probe) -> dict[str, Tensor]:
        low, high = activations.aminmax(dim=0)
        low, span = low.double(), (high.double() - low.double())
        n_images, n_units = activations.shape
        along: Tensor | float = 0.0
        weights, squares = torch.zeros(2, n_units, dtype=torch.float64)
        for begin in range(0, n_images, _CHUNK):
            some = slice(begin, begin + _CHUNK)
            scaled = (activations[some].double() - low) / span
            along = along + scaled.T @ F.normalize(probe.some_vectors(some).double(), dim=1)
            weights += scaled.sum(0)
            squares += scaled.square().sum(0)
        pairs = weights.square() - squares
        # The images that are 0 after scaling have no pair, so that a lone one leaves rounding.
        alone = (activations > activations.amin(0)).sum(0) < 2
        found = (torch.as_tensor(along).square().sum(1) - squares) / pairs
        return {self.name: found.masked_fill(alone | (span == 0), torch.nan)}

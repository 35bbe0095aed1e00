"""From a criterion to the score of every group: the one door to all criteria."""

from collections.abc import Collection, Iterable
from typing import Literal

import torch
from torch import Generator, Tensor, nn

from pruning.criteria import CRITERIA, score_weights
from pruning.gradients import gradient_scores
from pruning.granularity import group_scores
from pruning.masks import prunable_weights
from pruning.relevance import LrpRules, lrp_scores

DATA_CRITERIA = ("gradient", "taylor", "lrp")
"""Criteria that look at images; the others are in `CRITERIA`."""

NORMS = {"none": None, "l1": 1, "l2": 2}
"""Name -> order of the norm that the scores of a layer are divided by."""

Batches = Iterable[tuple[Tensor, Tensor]]
"""Normalised images float [batch, 3, h, w] and labels int64 [batch], on the network's device."""


def score_groups(
    network: nn.Module,
    criterion: str,
    granularity: str,
    *,
    generator: Generator,
    exclude: Collection[str] = (),
    batches: Batches | None = None,
    rules: LrpRules | None = None,
    target: Literal["loss", "logit"] = "loss",
) -> dict[str, Tensor]:
    """Score every group of the prunable weights; the higher is kept. Changes nothing.

    criterion: a name in `CRITERIA` or `DATA_CRITERIA`; the latter need `batches`, and "lrp" takes
        `rules` (None: its defaults), "gradient" and "taylor" take `target`.
    generator: a CPU generator; only "random" draws from it.
    exclude: prefixes of module names that are left alone; the scores of the others do not change.

    Returns parameter name -> scores on the CPU, a score a group: [filter], [input channel], or
    the weight's shape; float64, but for single weights by their magnitude, which is exact in the
    weight's own type. A criterion of weights scores a group by the mean over its weights.
    Raises ValueError for an unknown criterion and for missing batches, and as the criteria do.
    """
    weights = prunable_weights(network, exclude)
    if criterion not in DATA_CRITERIA:
        scores = score_weights(criterion, weights, generator)
        groups = {name: group_scores(score, granularity) for name, score in scores.items()}
        return _by_chance(groups, generator) if criterion == "random" else groups
    if batches is None:
        raise ValueError(
            f"the criterion {criterion!r} looks at images: batches must be given, got None; "
            f"{', '.join(CRITERIA)} need none"
        )
    if criterion == "lrp":
        return lrp_scores(network, batches, granularity, list(weights), rules or LrpRules())
    if criterion == "taylor":
        return gradient_scores(network, batches, "taylor", granularity, list(weights), target)
    return gradient_scores(network, batches, "gradient", granularity, list(weights), target)


def _by_chance(groups: dict[str, Tensor], generator: Generator) -> dict[str, Tensor]:
    """Noise a group: a mean of noise is narrower the larger the group, and a global ranking by
    it would prune by size."""
    return {
        name: torch.rand(group.shape, generator=generator, dtype=torch.float64)
        for name, group in groups.items()
    }


def normalise_scores(scores: dict[str, Tensor], norm: str) -> dict[str, Tensor]:
    """The scores of each layer divided by their norm, so that a global ranking compares layers.

    norm: "l1" (Yeom et al. 2021), "l2" (Molchanov et al. 2017) or "none". A layer whose scores
    are all zero stays as it is. Raises ValueError for another name.
    """
    if norm not in NORMS:
        raise ValueError(f"normalise must be one of {', '.join(NORMS)}, got {norm!r}")
    order = NORMS[norm]
    if order is None:
        return scores
    norms = {name: score.double().norm(p=order) for name, score in scores.items()}
    return {
        name: score / norms[name] if norms[name] > 0 else score for name, score in scores.items()
    }

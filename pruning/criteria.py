"""How important is each weight? A criterion scores every weight; the higher is kept."""

from collections.abc import Callable, Mapping

import torch
from torch import Generator, Tensor

Weights = Mapping[str, Tensor]
"""Parameter name -> the weight [filter, input channel, height, width] of a convolution."""

Criterion = Callable[[Tensor, Generator], Tensor]


def l1(weight: Tensor, _: Generator) -> Tensor:
    """|w|: the magnitude (Li et al. 2017 sum it over a filter)."""
    return weight.abs()


def l2(weight: Tensor, _: Generator) -> Tensor:
    """w squared: a group's sum ranks as its L2 norm does."""
    return weight.square()


def random(weight: Tensor, generator: Generator) -> Tensor:
    """Uniform noise in [0, 1): the criterion that knows nothing, a control for the others.

    Drawn on the CPU, so that a seed prunes the same weights on every device.
    """
    return torch.rand(weight.shape, generator=generator, dtype=torch.float64)


CRITERIA: dict[str, Criterion] = {"l1": l1, "l2": l2, "random": random}


def score_weights(criterion: str, weights: Weights, generator: Generator) -> dict[str, Tensor]:
    """Score every weight.

    criterion: a name in `CRITERIA`.
    generator: a CPU generator; only `random` draws from it, in the order of `weights`.

    Returns parameter name -> float64 scores on the CPU, shaped like the weight. float64, because
    a sum over a filter in float32 depends on the order of the summands and so can reorder filters
    of nearly equal norm from one device to another.
    Raises ValueError for an unknown criterion and for weights that are not finite.
    """
    if criterion not in CRITERIA:
        raise ValueError(f"criterion must be one of {', '.join(CRITERIA)}, got {criterion!r}")
    for name, weight in weights.items():
        if not torch.isfinite(weight).all():
            raise ValueError(f"weights must be finite to be ranked, but {name} holds NaN or inf")
    score = CRITERIA[criterion]
    return {
        name: score(weight.detach().to("cpu", torch.float64), generator)
        for name, weight in weights.items()
    }

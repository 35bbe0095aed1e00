"""How important is each weight? A criterion scores every weight; the higher is kept."""

from collections.abc import Callable, Mapping

import torch
from torch import Generator, Tensor

Weights = Mapping[str, Tensor]
"""Parameter name -> the weight [filter, input channel, height, width] of a convolution."""

Criterion = Callable[[Tensor, Generator], Tensor]
"""(weight, CPU generator) -> scores of the weight's shape. What rounds must compute in float64."""


def l1(weight: Tensor, _: Generator) -> Tensor:
    """|w|: the magnitude (Li et al. 2017 sum it over a filter). Exact in the weight's dtype."""
    return weight.abs()


def l2(weight: Tensor, _: Generator) -> Tensor:
    """w squared: a group's sum ranks as its L2 norm does."""
    return weight.double().square()


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

    Returns parameter name -> scores on the CPU, shaped like the weight, in float64 but for `l1`,
    which is exact in the weight's own dtype.
    Raises ValueError for an unknown criterion and for weights that are not finite.
    """
    if criterion not in CRITERIA:
        raise ValueError(f"criterion must be one of {', '.join(CRITERIA)}, got {criterion!r}")
    for name, weight in weights.items():
        # The two ends tell: both are NaN when a weight is.
        if not all(torch.isfinite(end) for end in torch.aminmax(weight.detach())):
            raise ValueError(f"weights must be finite to be ranked, but {name} holds NaN or inf")
    score = CRITERIA[criterion]
    return {name: score(weight.detach().cpu(), generator) for name, weight in weights.items()}

"""What is kept or pruned together, and what competes?"""

import re
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Kind = Literal["weight", "filter", "input_channel", "n_of_m"]

_N_OF_M = re.compile(r"([1-9]\d{0,3}):([1-9]\d{0,3})")


@dataclass(frozen=True)
class Granularity:
    """Three functions of a weight: its groups, their expansion, and the pools they compete in.

    A weight is [filter, input channel, height, width] of a convolution or [unit, input] of a
    Linear layer.

    axis: of the weight; a group is what shares one index of it. None: a group is one weight.
    n, m: of N:M (Mishra et al. 2021, arXiv 2104.08378): of every m input channels that follow one
        another, of each filter and position, n weights are kept. None: a layer is one pool.
    """

    name: str
    kind: Kind
    axis: int | None = None
    n: int | None = None
    m: int | None = None

    @property
    def is_single(self) -> bool:
        """Whether a group is one weight."""
        return self.axis is None

    @property
    def rate(self) -> float | None:
        """The only rate that it has; None: any."""
        return None if self.n is None or self.m is None else 1 - self.n / self.m

    def _spanned(self, n_dims: int) -> tuple[int, ...]:
        return () if self.axis is None else tuple(d for d in range(n_dims) if d != self.axis)

    def means(self, values: Tensor) -> Tensor:
        """Mean of every group over its weights: [group], or in the weight's shape.

        Within a layer all groups are of one size, so the mean ranks as the sums of the papers do
        (Li et al. 2017; von Rad & Seuffert's `prune_channels_by_l1_norm`); between layers it does
        not punish small filters for their size.
        """
        spanned = self._spanned(values.dim())
        # In float64: a sum in float32 depends on the order of the summands, and so could reorder
        # groups of nearly equal importance from one device to another.
        return values.double().mean(dim=spanned) if spanned else values

    def kept(self, mask: Tensor) -> Tensor:
        """Of which groups a mask keeps any weight: unfolds what `expanded` made, exactly."""
        spanned = self._spanned(mask.dim())
        return mask.amax(dim=spanned) if spanned else mask

    def expanded(self, kept: Tensor, shape: tuple[int, ...]) -> Tensor:
        """The bool mask of a weight of `shape` whose groups are kept as `kept` says."""
        for dim in self._spanned(len(shape)):
            kept = kept.unsqueeze(dim)
        return kept.expand(shape).contiguous()

    def pools(self, groups: Tensor) -> Tensor:
        """A value per group, as [pool, group]: within a pool groups compete.

        Raises ValueError where the input channels do not come in whole pools.
        """
        if self.m is None:
            return groups.reshape(1, -1)
        if groups.shape[1] % self.m:
            raise ValueError(
                f"granularity {self.name} needs input channels in whole blocks of {self.m}, got "
                f"{groups.shape[1]}"
            )
        return groups.movedim(1, -1).reshape(-1, self.m)

    def number(self, shape: torch.Size) -> int:
        """How many groups a weight of this shape has."""
        return shape.numel() if self.axis is None else shape[self.axis]


GRANULARITIES: dict[str, Granularity] = {
    each.name: each
    for each in (
        Granularity("weight", "weight"),
        Granularity("filter", "filter", axis=0),
        Granularity("input_channel", "input_channel", axis=1),
        Granularity("2:4", "n_of_m", n=2, m=4),
    )
}


def granularity_of(name: str) -> Granularity:
    """The granularity of this name; any N:M has one. Raises ValueError where there is none."""
    if name in GRANULARITIES:
        return GRANULARITIES[name]
    if found := _N_OF_M.fullmatch(name):
        n, m = map(int, found.groups())
        if n < m:
            return Granularity(name, "n_of_m", n=n, m=m)
    raise ValueError(
        f"granularity must be one of {', '.join(GRANULARITIES)}, or another N:M with N below M, "
        f"got {name!r}"
    )

"""The threshold that a given fraction of a unit's activations exceeds: exact, in one pass."""

import math
from fractions import Fraction

import torch
from torch import Tensor

from mis.picking import above, grouping, largest, true_positions


def values_above(n_values: int, quantile: float) -> int:
    """floor(quantile x n_values), the quantile read as the decimal number that is printed."""
    return math.floor(Fraction(str(quantile)) * n_values)


def values_needed(quantile: float) -> int:
    """The smallest number of values of which the quantile makes one."""
    return math.ceil(1 / Fraction(str(quantile)))


# Fewer values of a unit are not worth a call: the first to be kept, and those that wait.
_FIRST, _PENDING = 1024, 64


class UpperQuantile:
    """Thresholds of many units over a stream of values.

    Of n_total values a unit exactly k = floor(quantile x n_total) are above its threshold: it
    lies half-way between the k-th and the next largest value, or on them where they are equal
    (then fewer are above). Only values that may still be among the k + 1 largest are kept, on the
    device they come on: 4 (k + 1) bytes a unit, up to three times that while merging. The
    order and the batches of the values do not matter.

    Raises ValueError when k is 0.
    """

    def __init__(self, n_total: int, quantile: float) -> None:
        self.k = values_above(n_total, quantile)
        if self.k == 0:
            raise ValueError(
                f"a quantile of {quantile:g} needs at least {values_needed(quantile)} values, "
                f"got {n_total}"
            )
        self.n_total, self.n_seen = n_total, 0
        self.kept: Tensor | None = None  # [unit, <= k + 1], in no order
        self.floor = torch.empty(0)  # [unit], the least kept: nothing up to it matters any more
        self.pending: list[tuple[Tensor, Tensor]] = []  # units and values, above the floor
        self.n_pending = torch.empty(0)  # int64 [unit]

    def add(self, values: Tensor) -> Tensor | None:
        """values: float32 [n, unit], finite. Raises ValueError when more than n_total came.

        Returns int64, where in the flattened values those are that may be above the threshold;
        None while all may be.
        """
        if self.n_seen + len(values) > self.n_total:
            raise ValueError(f"{self.n_total} values a unit were announced, more came")
        if not self._all_matter() and len(values) <= self.n_seen:
            self.n_seen += len(values)
            return self._sift(values)
        rest = values
        while len(rest):
            if self._all_matter():
                n = max(2 * (self.k + 1), _FIRST)
                self._keep(rest[:n].T)
            else:
                # As many again as came: of them about as many may matter as are kept.
                n = self.n_seen
                self._sift(rest[:n])
            self.n_seen += len(rest[:n])
            rest = rest[n:]
        return None if self._all_matter() else true_positions(above(values, self.floor))

    def lower_bound(self) -> Tensor:
        """float32 [unit], what the threshold will not be below."""
        return torch.full_like(self.floor, -math.inf) if self._all_matter() else self.floor

    def _all_matter(self) -> bool:
        return self.kept is None or self.kept.shape[1] <= self.k

    def _sift(self, values: Tensor) -> Tensor:
        positions = true_positions(above(values, self.floor))
        units = positions % values.shape[1]
        self.pending.append((units, values.flatten().index_select(0, positions)))
        self.n_pending += torch.bincount(units, minlength=len(self.n_pending))
        # Bounds the padded array of a merge, which is as wide as the busiest unit.
        if self.n_pending.max() > max(self.k, _PENDING):
            self._merge()
        return positions

    def result(self) -> Tensor:
        """float32 [unit]. Raises ValueError when fewer than n_total values came."""
        lower, upper = self._last_two().unbind(1)
        middle = lower / 2 + upper / 2
        # Rounding must not put it on the upper value, which has to be above it.
        return torch.where((lower <= middle) & (middle < upper), middle, lower)

    def maximum(self) -> Tensor:
        """float32 [unit], the largest value that came. Raises ValueError as `result` does."""
        self._last_two()
        return self._kept().amax(1)

    def _last_two(self) -> Tensor:
        """[unit, 2]: the (k + 1)-th and the k-th largest value."""
        if self.n_seen < self.n_total:
            raise ValueError(f"{self.n_total} values a unit were announced, {self.n_seen} came")
        if self.pending:
            self._merge()
        return self._kept().topk(2, dim=1, largest=False).values.flip(1).sort(dim=1).values

    def _kept(self) -> Tensor:
        return self.floor[:, None] if self.kept is None else self.kept

    def _keep(self, values: Tensor) -> None:
        """values: [unit, n]."""
        known = values if self.kept is None else torch.cat([self.kept, values], 1)
        n_kept = min(self.k + 1, known.shape[1])
        self.kept = largest(known, n_kept)
        self.floor = self.kept.amin(1)
        self.pending, self.n_pending = [], self.floor.new_zeros(len(known), dtype=torch.int64)

    def _merge(self) -> None:
        units, values = (torch.cat(parts) for parts in zip(*self.pending, strict=True))
        counts = self.n_pending
        order = grouping(units, len(counts))
        units, values = units[order], values[order]
        place = torch.arange(len(units), device=units.device) - (counts.cumsum(0) - counts)[units]
        padded = values.new_full((len(counts), int(counts.max())), -math.inf)
        padded[units, place] = values
        self._keep(padded)

"""Cells of maps that may be above their unit's threshold, with what is around them.

A network need not run again for masks whose cells were kept while the thresholds were sought.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

KEPT_BYTES = 2**31
_BYTES = 44  # of a cell


@dataclass(frozen=True)
class Cells:
    """Cells of one layer's maps, [batch, h, w, unit]."""

    shape: tuple[int, int, int, int]
    position: Tensor  # int64 [cell], in the flattened maps
    around: Tensor  # float32 [9, cell], 3 x 3 row by row; beyond an edge, the cell at the edge

    @property
    def unit(self) -> Tensor:
        """int64 [cell]"""
        return self.position % self.shape[3]

    def above(self, thresholds: Tensor) -> "Cells":
        """Those whose own value is above their unit's; thresholds: float32 [unit]."""
        chosen = (self.around[4] > thresholds.index_select(0, self.unit)).nonzero().squeeze(1)
        if len(chosen) == len(self.position):
            return self
        position, around = self.position.index_select(0, chosen), self.around[:, chosen]
        return Cells(self.shape, position, around)


def cells_at(maps: Tensor, position: Tensor) -> Cells:
    """maps: float32 [batch, h, w, unit]; position: int64 [cell], in the flattened maps."""
    n_images, h, w, n_units = maps.shape
    flat = maps.reshape(-1)
    place = position // n_units
    down = place // w
    column = place - down * w
    row = down % h
    left = (column > 0).long().mul_(-n_units)
    right = (column < w - 1).long().mul_(n_units)
    above = (row > 0).long().mul_(-n_units * w).add_(position)
    below = (row < h - 1).long().mul_(n_units * w).add_(position)
    around = flat.new_empty(9, len(position))
    for i, line in enumerate((above, position, below)):
        torch.index_select(flat, 0, line + left, out=around[3 * i])
        torch.index_select(flat, 0, line, out=around[3 * i + 1])
        torch.index_select(flat, 0, line + right, out=around[3 * i + 2])
    return Cells((n_images, h, w, n_units), position, around)


class KeptCells:
    """The cells of a pass's batches, for as many of the batches as memory allows."""

    def __init__(self, limit: int = KEPT_BYTES) -> None:
        """limit: bytes; with 0 no batch is kept."""
        self.limit, self.bytes, self.shrunk_at = limit, 0, 0
        self.batches: list[dict[str, Cells] | None] = []

    def begin(self) -> None:
        """Another batch."""
        self.batches.append({} if self.limit else None)

    def add(
        self,
        layer: str,
        maps: Tensor,
        position: Tensor | None,
        floors: Callable[[], dict[str, Tensor]],
    ) -> None:
        """Keep a layer's cells of the batch that has begun.

        maps: float32 [batch, h, w, unit]. position: as in `cells_at`; None where nothing is known
        yet of what matters: such a batch is not kept. floors: float32 [unit] by layer, what no
        threshold will be below; asked for when cells have to make room.
        """
        batch = self.batches[-1]
        if batch is None:
            return
        n_bytes = 0 if position is None else _BYTES * len(position)
        if self.bytes + n_bytes > self.limit and self._may_shrink():
            self._shrink(floors())
        if position is None or self.bytes + n_bytes > self.limit:
            self.batches[-1] = None
            self.bytes = self._n_bytes()
        else:
            batch[layer] = cells_at(maps, position)
            self.bytes += n_bytes

    def take(self, number: int) -> dict[str, Cells] | None:
        """A batch's cells by layer, once; None where they were not kept."""
        batch, self.batches[number] = self.batches[number], None
        return batch

    def _may_shrink(self) -> bool:
        # Floors rise as batches come, slower and slower.
        return 8 * (len(self.batches) - self.shrunk_at) > self.shrunk_at

    def _shrink(self, floors: dict[str, Tensor]) -> None:
        for batch in self.batches:
            if batch is not None:
                batch.update({layer: batch[layer].above(floors[layer]) for layer in batch})
        self.bytes, self.shrunk_at = self._n_bytes(), len(self.batches)

    def _n_bytes(self) -> int:
        kept = [cells for batch in self.batches if batch for cells in batch.values()]
        return _BYTES * sum(len(cells.position) for cells in kept)

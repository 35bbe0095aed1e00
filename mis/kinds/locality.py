"""Does a unit answer to one place of a picture? How far its maps spread."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor

from mis.kinds.score import SHUFFLED, OfMaps


@dataclass(frozen=True, kw_only=True)
class Locality(OfMaps):
    """1 - spread / spread of an even map, in [-2, 1]: 1 where one cell answers, 0 where all answer
    alike, below 0 where opposite edges do.

    The spread is the variance of the place, weighted by the map: how far from its centre a map
    lies. Hung et al., CVPR 2019 (arXiv 1905.00953, their concentration loss) have parts of objects
    found by making it small. We take it since it is about places: a measure of sparsity alone
    (Vinje & Gallant 2000) is the same for one patch and for as many cells that lie anywhere. By
    chance, with a map's cells in any order, it is exactly that sparsity, (n sum w^2 - 1) / (n - 1)
    of shares w of n cells. Without a score: units of layers without places, and those that are 0.
    """

    name: ClassVar[str] = "locality"

    def of(self, maps: Tensor) -> dict[str, Tensor]:
        return self.of_sums(self.sums(maps.clone()), maps.shape[2:])

    def sums(self, maps: Tensor) -> dict[str, Tensor]:
        n_images, n_units, height, width = maps.shape
        cells = maps.permute(0, 2, 3, 1).reshape(n_images, height * width, n_units)
        moments = _moments(height, width, maps.device)[0] @ cells
        return {"moments": moments, "squares": cells.square_().sum(1)}

    def of_sums(self, sums: Mapping[str, Tensor], size: Sequence[int]) -> dict[str, Tensor]:
        height, width = size
        n_cells, even = height * width, _moments(height, width, sums["moments"].device)[1]
        mass, y, x, square = sums["moments"].unbind(1)
        if n_cells == 1:
            nothing = torch.full_like(mass, torch.nan)
            return {self.name: nothing, self.name + SHUFFLED: nothing}
        spread = square / mass - (y / mass).square() - (x / mass).square()
        sparsity = n_cells * sums["squares"] / mass.square()
        shuffled = (sparsity - 1) / (n_cells - 1)
        return {self.name: 1 - spread / even, self.name + SHUFFLED: shuffled}


@lru_cache(64)
def _moments(height: int, width: int, device: torch.device) -> tuple[Tensor, float]:
    """float32 [4, cell]: one, y, x and their squares' sum, from the middle, the picture's sides
    being 1; and the spread of an even map."""
    y, x = (((torch.arange(n, dtype=torch.float64) + 0.5) / n - 0.5) for n in (height, width))
    places = torch.stack(torch.meshgrid(y, x, indexing="ij")).flatten(1)
    square = places.square().sum(0)
    rows = torch.stack([torch.ones_like(square), *places, square])
    return rows.float().to(device), float(square.mean())

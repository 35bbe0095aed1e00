"""What units are above 0 on a pass: their means over each image, and scores of their maps."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from mis.kinds.score import OfMaps

_VALUES = 2**18  # of maps looked at a time: 1 MB, which stays in a processor's cache
_BLOCK_VALUES = 2**24  # of means read at a time


class AboveZero:
    """Sees every layer while the network runs; memory does not grow with the number of images.

    sizes: layer -> its number of units. path: of the file that gets the means, layer by layer
    float32 [image, unit]; None: nobody needs them. maps: the scores of maps. groups: int64 [image],
    each image's; scores are kept by group, so that each can be left out.
    """

    def __init__(
        self,
        sizes: Mapping[str, int],
        groups: Tensor,
        maps: Sequence[OfMaps] = (),
        path: Path | None = None,
    ) -> None:
        ends = np.cumsum([0, *sizes.values()]).tolist()
        self._units = {
            layer: slice(a, b) for layer, a, b in zip(sizes, ends, ends[1:], strict=False)
        }
        self._groups, self._maps = groups, list(maps)
        self._sums: dict[str, Tensor] = {}
        self._shape = (int(groups.max()) + 1, ends[-1])
        self._ids = torch.zeros(0, dtype=torch.int64)
        self._of_layer: dict[str, np.ndarray] = {}
        self._file = None
        self.continues = path is None or path.exists()  # whether means of an earlier pass are there
        if path is not None:
            shape = (len(groups) * ends[-1],)
            mode: Literal["r+", "w+"] = "r+" if path.exists() else "w+"
            self._file = np.memmap(path, dtype=np.float32, mode=mode, shape=shape)
            for layer, units in self._units.items():
                part = self._file[len(groups) * units.start : len(groups) * units.stop]
                self._of_layer[layer] = part.reshape(len(groups), -1)

    def begin(self, ids: Tensor) -> None:
        """ids: int64 [batch], of the images that come next."""
        self._ids = ids.cpu()

    def see(self, layer: str, values: Tensor) -> None:
        """values: float32 [batch, unit, ...], as `mis.watching` shows them; not kept."""
        # Not in the number format of the network: squares and small differences of them are taken.
        with torch.autocast(values.device.type, enabled=False):
            means = self._see(self._units[layer], values)
        if self._file is not None:
            self._of_layer[layer][self._ids.numpy()] = means.cpu().numpy()

    def _see(self, units: slice, values: Tensor) -> Tensor:
        """The means of what is above 0, [batch, unit]."""
        if values.ndim == 2:
            return values.clamp(min=0)
        n_each = max(1, _VALUES // math.prod(values.shape[1:]))
        means, sums = [], []
        for part in values.split(n_each):
            above = part.clamp(min=0)
            means.append(above.mean((2, 3)))
            sums.append([score.sums(maps) for score, maps in self._each_its_own(above)])
        mean = torch.cat(means)
        for score, of_parts in zip(self._maps, zip(*sums, strict=True), strict=True):
            all_sums = {name: torch.cat([part[name] for part in of_parts]) for name in of_parts[0]}
            for column, found in score.of_sums(all_sums, values.shape[2:]).items():
                known = found.isfinite()
                self._add(f"{column} weights", units, mean * known)
                self._add(column, units, found.where(known, 0) * mean)
        return mean

    def _each_its_own(self, maps: Tensor) -> Iterator[tuple[OfMaps, Tensor]]:
        """Each score of maps with maps that it may overwrite: copies for all but the last."""
        for place, score in enumerate(self._maps, start=1):
            yield score, maps if place == len(self._maps) else maps.clone()

    def _add(self, name: str, units: slice, values: Tensor) -> None:
        if name not in self._sums:
            self._sums[name] = torch.zeros(self._shape, dtype=torch.float64)
        self._sums[name][:, units].index_add_(0, self._groups[self._ids], values.double().cpu())

    def means(self, units: Tensor) -> Tensor:
        """float32 [image, unit], of some units (int64), once all images came."""
        if self._file is None:
            raise ValueError("the means of this pass were not kept")
        found = torch.empty(len(self._groups), len(units))
        for layer, there in self._units.items():
            inside = (units >= there.start) & (units < there.stop)
            if inside.any():
                rows = torch.from_numpy(self._of_layer[layer])
                found[:, inside] = rows[:, units[inside] - there.start]
        return found

    def blocks(self) -> Iterator[Tensor]:
        """All units, int64, in parts whose means fit in the memory."""
        n_each = max(1, _BLOCK_VALUES // len(self._groups))
        yield from torch.arange(self._shape[1]).split(n_each)

    def columns(self) -> dict[str, Tensor]:
        """Of the scores of maps: column -> float64 [unit], NaN where no image has it."""
        return {
            name: self._sums[name].sum(0) / self._sums[f"{name} weights"].sum(0)
            for name in self._names()
        }

    def replicates(self) -> dict[str, Tensor]:
        """Likewise without each group of images: float64 [group, unit]."""
        found = {}
        for name in self._names():
            sums, weights = self._sums[name], self._sums[f"{name} weights"]
            found[name] = (sums.sum(0) - sums) / (weights.sum(0) - weights)
        return found

    def _names(self) -> list[str]:
        return [name for name in self._sums if not name.endswith(" weights")]

    def state_dict(self) -> dict[str, Any]:
        """What came so far, but for the file, which is on the disk."""
        if self._file is not None:
            self._file.flush()
        return {name: sums.clone() for name, sums in self._sums.items()}

    def require(self, state: dict[str, Any]) -> None:
        """Raise ValueError for the state of another pass, and one whose file is gone."""
        if any(sums.shape != self._shape for sums in state.values()):
            raise ValueError(f"the state must be of {self._shape} groups and units, it is not")
        if not self.continues:
            raise ValueError("the file of means must be there, it is not")

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken. Raises ValueError as `require`."""
        self.require(state)
        self._sums = {name: sums.clone() for name, sums in state.items()}

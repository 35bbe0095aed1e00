"""The images that each unit is shown by: those that activate it most and least, kept with a trial.

They are known when a pass over the probe images ends, and cost nothing but their numbers: of 7,280
units .3 MB.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

N_SHOWN = 9  # at each end
_PROBE = b"probe"


@dataclass(frozen=True)
class Shown:
    """layers, channel: of each unit. top, bottom: int32 [unit, at most N_SHOWN], ids of the images
    that activate it most and least, the most extreme first; of a unit that is constant they are
    chance. probe: the digest of the image set that the ids are of."""

    layers: list[str]
    channel: np.ndarray  # int32 [unit]
    top: np.ndarray
    bottom: np.ndarray
    probe: str

    def both(self, rows: np.ndarray, n: int) -> np.ndarray:
        """int32 [unit, 2 n]: the ids at both ends of some units, the first n of each."""
        return np.concatenate([self.top[rows, :n], self.bottom[rows, :n]], axis=1)


def first_images(ranked: Tensor) -> Tensor:
    """int32 [unit, at most N_SHOWN] of int64 [unit, depth]."""
    return ranked[:, :N_SHOWN].int().clone()


def write_shown(path: Path, shown: Shown) -> None:
    """As a row per unit: layer, channel, top, bottom (lists of ids)."""
    table = pa.table(
        {
            "layer": pa.array(shown.layers).dictionary_encode(),
            "channel": pa.array(shown.channel, pa.int32()),
            **{name: _lists(getattr(shown, name)) for name in ("top", "bottom")},
        }
    )
    table = table.replace_schema_metadata({_PROBE: shown.probe.encode()})
    pq.write_table(table, path, compression="zstd")


def read_shown(path: Path) -> Shown:
    """Raises ValueError for a file that is none of `write_shown`, OSError where there is none."""
    try:
        table = pq.read_table(path, memory_map=False)
        ids = [_ids(table[name]) for name in ("top", "bottom")]
        layers, channel = table["layer"].to_pylist(), table["channel"].to_numpy()
        probe = (table.schema.metadata or {})[_PROBE].decode()
    except (pa.ArrowException, KeyError, TypeError) as error:
        raise ValueError(f"{path.name} must hold a row of image ids per unit: {error}") from error
    return Shown(layers, channel.astype(np.int32), ids[0], ids[1], probe)


def _lists(ids: np.ndarray) -> pa.Array:
    flat = pa.array(np.ascontiguousarray(ids, np.int32).ravel(), pa.int32())
    return pa.FixedSizeListArray.from_arrays(flat, ids.shape[1])


def _ids(column: pa.ChunkedArray) -> np.ndarray:
    """int32 [unit, image]; ValueError where an id is below 0 or rows are not equally long."""
    rows = [np.asarray(row, np.int32) for row in column.to_pylist()]
    ids = np.stack(rows) if rows else np.zeros((0, 0), np.int32)
    if ids.ndim != 2 or (ids < 0).any():
        raise ValueError("image ids must be 0 or more, as many for every unit")
    return ids

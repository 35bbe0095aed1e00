"""The frames of a sweep, those of each pair of network and data by themselves."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from sweeps.report.read.frames import SweepFrames
from sweeps.report.read.pairs import pairs
from sweeps.report.read.unit_tables import Tables


def split(frames: SweepFrames) -> dict[str, SweepFrames]:
    """What a pair is called -> the frames of its trials alone; {"": frames} of a single one."""
    found = pairs(frames.trials)
    if len(found) == 1:
        return {"": frames}
    return {name: _only(frames, rows) for name, rows in found.items()}


def _only(frames: SweepFrames, rows: pd.Series) -> SweepFrames:
    keys = set(frames.trials.loc[rows, "key"].astype(str))
    return replace(
        frames,
        trials=frames.trials[rows].reset_index(drop=True),
        units=_of(frames.units, keys),
        epochs=_of(frames.epochs, keys),
        dissected=_of(frames.dissected, keys),
        layers=_of(frames.layers, keys),
        sensitivity=_of(frames.sensitivity, keys),
        rounds=_of(frames.rounds, keys),
        predictions=_of(frames.predictions, keys),
        kept={name: SomeTables(kept, keys) for name, kept in frames.kept.items()},
        sources=tuple(source for source in frames.sources if source.key in keys),
    )


def _of(table: pd.DataFrame, keys: Collection[str]) -> pd.DataFrame:
    return table[table["key"].astype(str).isin(keys)] if len(table) else table


class SomeTables(Tables):
    """Those of some trials."""

    def __init__(self, whole: Tables, keys: Collection[str]) -> None:
        self._whole, self._keys = whole, frozenset(keys)
        self.columns = whole.columns

    def read(self, keys: Collection[str], columns: Sequence[str] = ()) -> pd.DataFrame:
        return self._whole.read(self._keys.intersection(keys), columns)

    def write(self, path: Path) -> None:
        """Raises NotImplementedError: a report has one file, of all of its trials."""
        raise NotImplementedError

    def __contains__(self, key: object) -> bool:
        return key in self._keys and key in self._whole

    def __iter__(self) -> Iterator[str]:
        return (key for key in self._whole if key in self._keys)

    def __len__(self) -> int:
        return sum(1 for _ in self)

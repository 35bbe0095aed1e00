"""The tables that trials left with their runs, read as one."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlparse
from urllib.request import url2pathname

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sweeps.report.read.unit_tables import FileTables
from sweeps.tracking.tracker import Tracker, Unavailable
from trainables.artifacts import DISSECTION, EPOCHS, PREDICTIONS, ROUNDS, SENSITIVITY, UNITS

T = TypeVar("T")

# No figure needs them, and they are most of the bytes.
_LEFT_OUT = {"replicates", *(f"probability_{place}" for place in range(1, 6))}
_LEFT_OUT |= {f"answer_{place}" for place in range(2, 6)}
_AT_A_TIME = 8  # downloads
_CATEGORIES = ("layer", "state", "category", "concept", "class", "images")
# Of many millions of units: half the bytes, and more digits than any of these numbers has.
_SMALLER = {"task_accuracy", "mis_pixels", "minimum", "maximum"}
_REQUIRED = {
    UNITS: {"layer", "channel", "state", "mis"},
    EPOCHS: {"epoch"},
    DISSECTION: {"layer", "channel"},
    ROUNDS: {"round", "n_kept", "n_groups"},
    PREDICTIONS: {"images", "class", "truth", "answer_1"},
    SENSITIVITY: {"layer", "rate", "top1", "dense", "granularity", "criterion"},
}
_TEXTS = {*_CATEGORIES, "detector", "granularity", "criterion"}
_MOST = 1e15  # no number of a trial is above it, but for what overflowed


@dataclass(frozen=True)
class Source:
    """Where the tables of a trial are, and whose they are."""

    run_id: str
    artifact_uri: str
    key: str
    label: str


def read_tables(
    tracker: Tracker, sources: Sequence[Source], name: str
) -> tuple[pd.DataFrame, list[str]]:
    """The tables of one name, one below the other, and the labels of the trials that lack it."""
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        tables = list(pool.map(lambda source: _read(tracker, source, name), sources))
    lacking = [source.label for source, t in zip(sources, tables, strict=True) if t is None]
    found = [(source, t) for source, t in zip(sources, tables, strict=True) if t is not None]
    del tables
    if not found:
        return pd.DataFrame({"key": [], "label": []}), lacking
    lengths = [table.num_rows for _, table in found]
    owners = [source for source, _ in found]
    whole = pa.concat_tables((table for _, table in found), promote_options="permissive")
    del found
    frame = whole.unify_dictionaries().to_pandas(split_blocks=True, self_destruct=True)
    del whole
    codes = np.repeat(np.arange(len(owners), dtype=np.int32), lengths)
    whose = {}
    for column in ("key", "label"):
        values = [getattr(owner, column) for owner in owners]
        names = sorted(set(values))
        at = {value: n for n, value in enumerate(names)}
        of = np.array([at[value] for value in values], dtype=np.int32)
        whose[column] = pd.Categorical.from_codes(of[codes], categories=pd.Index(names))
    # In one go: pandas warns where a table of a hundred columns gets them one by one.
    return pd.concat([frame, pd.DataFrame(whose, index=frame.index)], axis=1), lacking


def kept_tables(
    tracker: Tracker, sources: Sequence[Source], name: str, folder: Path
) -> tuple[FileTables, list[str]]:
    """The same, kept in a folder until they are read: thousands of them would fill the memory."""
    kept, lacking = FileTables(folder), []
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        for start in range(0, len(sources), _AT_A_TIME):
            some = sources[start : start + _AT_A_TIME]
            for source, table in zip(
                some, pool.map(lambda each: _read(tracker, each, name), some), strict=True
            ):
                if table is None:
                    lacking.append(source.label)
                else:
                    kept.add(source.key, source.label, table)
    return kept, lacking


def _read(tracker: Tracker, source: Source, name: str) -> pa.Table | None:
    """One table of a run; None where it has none that can be read and makes sense."""
    try:
        with artifact(tracker, source, name) as path:
            return _sound(_parquet(path), name)
    except (*Unavailable, OSError, ValueError, pa.ArrowException):
        return None


def read_of_each(
    tracker: Tracker, sources: Sequence[Source], name: str, read: Callable[[Path], T]
) -> dict[str, T]:
    """Trial key -> what `read` makes of its file of that name, of those that have one that can be
    read. A few files at a time."""

    def one(source: Source) -> T | None:
        try:
            with artifact(tracker, source, name) as path:
                return read(path)
        except (*Unavailable, OSError, ValueError):
            return None

    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        found = list(pool.map(one, sources))
    return {s.key: each for s, each in zip(sources, found, strict=True) if each is not None}


@contextmanager
def artifact(tracker: Tracker, source: Source, name: str) -> Iterator[Path]:
    """A file that a trial left, on this machine for as long as it is needed."""
    here = urlparse(source.artifact_uri)
    if here.scheme == "file":  # ten times as fast as a copy by way of MLflow
        yield _regular(Path(url2pathname(here.path)) / name)
        return
    with tempfile.TemporaryDirectory() as folder:
        yield _regular(Path(tracker.client.download_artifacts(source.run_id, name, folder)))


def _regular(path: Path) -> Path:
    if not path.is_file():  # of a pipe the reading would never end
        raise FileNotFoundError(path)
    return path


def _parquet(path: Path) -> pa.Table:
    columns = [c for c in pq.read_schema(path).names if c not in _LEFT_OUT]
    texts = [column for column in _CATEGORIES if column in columns]
    return pq.read_table(path, columns=columns, read_dictionary=texts, memory_map=False)


def _sound(table: pa.Table, name: str) -> pa.Table:
    """The table, its columns as small as they may be. Raises ValueError for one that is none."""
    if not _REQUIRED.get(name, set()) <= set(table.column_names):
        raise ValueError(f"{name} must have the columns {sorted(_REQUIRED[name])}")
    columns = {}
    for column in table.column_names:
        values, kind = table[column], table.schema.field(column).type
        if column in _CATEGORIES:
            values = values.cast(pa.dictionary(pa.int32(), pa.string()))
        elif column not in _TEXTS and not pa.types.is_null(kind):
            if pa.types.is_floating(kind) or pa.types.is_integer(kind):
                most = pc.max(pc.abs(values)).as_py()
                if most is not None and most > _MOST:
                    raise ValueError(f"{column} of {name} must be below {_MOST:g}, it is {most:g}")
            elif not pa.types.is_boolean(kind):
                raise ValueError(f"{column} of {name} must be numbers, it is {kind}")
            if column in _SMALLER:
                values = values.cast(pa.float32(), safe=False)
            elif column == "channel":
                values = values.cast(pa.int32())
        columns[column] = values
    return pa.table(columns)

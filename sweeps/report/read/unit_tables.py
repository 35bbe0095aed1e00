"""The tables of a sweep's trials, read when they are asked for: of thousands, a few at a time."""

import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

_AT_A_TIME = 16  # trials of a batch
_OWNER = pa.dictionary(pa.int32(), pa.string())


class Tables(Mapping[str, pd.DataFrame]):
    """Trial key -> its table, in the trials' order; columns: those that any of them has."""

    columns: frozenset[str]

    def read(self, keys: Collection[str], columns: Sequence[str] = ()) -> pd.DataFrame:
        """The tables of some trials, one below the other, with the columns key and label.

        columns: those that are wanted and there; all of them where none is named. Keys without a
        table are passed over.
        """
        raise NotImplementedError

    def write(self, path: Path) -> None:
        """All tables as one file of Parquet."""
        raise NotImplementedError

    def batches(self, columns: Sequence[str] = ()) -> Iterator[pd.DataFrame]:
        """All tables, those of a few trials at a time."""
        keys = list(self)
        for start in range(0, len(keys), _AT_A_TIME):
            yield self.read(keys[start : start + _AT_A_TIME], columns)

    def __contains__(self, key: object) -> bool:
        raise NotImplementedError

    def __getitem__(self, key: str) -> pd.DataFrame:
        if key not in self:
            raise KeyError(key)
        return self.read([key])


class FrameTables(Tables):
    """Of a frame in memory."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self._frame = frame
        self.columns = frozenset(map(str, frame.columns))
        codes, keys = pd.factorize(frame["key"].astype(str))
        order = np.argsort(codes, kind="stable")
        parts = np.split(order, np.cumsum(np.bincount(codes))[:-1]) if len(frame) else []
        self._rows: dict[str, np.ndarray] = dict(zip(map(str, keys), parts, strict=True))

    def __contains__(self, key: object) -> bool:
        return key in self._rows

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, keys: Collection[str], columns: Sequence[str] = ()) -> pd.DataFrame:
        wanted = set(keys)
        rows = [rows for key, rows in self._rows.items() if key in wanted]
        here = self._frame.iloc[np.concatenate(rows) if rows else []]
        names = [n for n in dict.fromkeys((*columns, "key", "label")) if n in self.columns]
        return here[names] if columns else here

    def write(self, path: Path) -> None:
        """All tables as one file of Parquet."""
        self._frame.to_parquet(path, index=False)


class FileTables(Tables):
    """Of a file per trial, in a folder that outlives this."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._parts: dict[str, tuple[Path, str]] = {}
        self.columns = frozenset()

    def add(self, key: str, label: str, table: pa.Table) -> None:
        """Keep a trial's table, in place of what there was. Raises OSError on a full disk."""
        # Keys come from MLflow, and are no names of files.
        new = self._folder / f"{uuid.uuid4().hex}.parquet"
        path = self._parts[key][0] if key in self._parts else new
        pq.write_table(table, path)
        self._parts[key] = path, label
        self.columns |= {*table.column_names, "key", "label"}

    def put(self, key: str, table: pd.DataFrame) -> None:
        """In place of the table of a trial that is there."""
        own = table.drop(columns=["key", "label"])
        new = pa.Table.from_pandas(own, preserve_index=False).replace_schema_metadata()
        for at, field in enumerate(new.schema):
            if pa.types.is_dictionary(field.type):
                new = new.set_column(at, field.name, new[at].cast(_OWNER))
        self.add(key, self._parts[key][1], new)

    def __contains__(self, key: object) -> bool:
        return key in self._parts

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)

    def read(self, keys: Collection[str], columns: Sequence[str] = ()) -> pd.DataFrame:
        wanted = set(keys)
        tables = [self._table(key, columns) for key in self._parts if key in wanted]
        if not tables:
            return pd.DataFrame({"key": [], "label": []})
        whole = pa.concat_tables(tables, promote_options="permissive")
        return whole.unify_dictionaries().to_pandas(split_blocks=True, self_destruct=True)

    def _table(self, key: str, columns: Sequence[str] = ()) -> pa.Table:
        path, label = self._parts[key]
        file = pq.ParquetFile(path)
        there = [n for n in file.schema_arrow.names if n in columns] if columns else None
        table = file.read(there, use_threads=False)
        for name, value in (("key", key), ("label", label)):
            codes = pa.array(np.zeros(table.num_rows, dtype=np.int32))
            owner = pa.DictionaryArray.from_arrays(codes, pa.array([value], pa.string()))
            table = table.append_column(name, owner)
        return table

    def write(self, path: Path) -> None:
        """All tables as one file of Parquet; where one lacks a column, it is null."""
        owners = pa.schema([(name, _OWNER) for name in ("key", "label")])
        parts = [pq.read_schema(part).remove_metadata() for part, _ in self._parts.values()]
        schema = pa.unify_schemas([*parts, owners], promote_options="permissive")
        with pq.ParquetWriter(path, schema) as writer:
            for key in self._parts:
                table = self._table(key)
                columns = [
                    table[field.name].cast(field.type)
                    if field.name in table.column_names
                    else pa.nulls(table.num_rows, field.type)
                    for field in schema
                ]
                writer.write_table(pa.table(columns, schema=schema))

"""What networks answer to the validation images, read of the trials that are asked about."""

from collections.abc import Collection, Iterator, Sequence

import pandas as pd

from sweeps.report.read.artifacts import Source, read_tables
from sweeps.report.read.unit_tables import Tables
from sweeps.tracking.tracker import Tracker
from trainables.artifacts import PREDICTIONS

COLUMNS = ("images", "class", "truth", "answer_1", "dense")
_ROWS = 2_000_000  # images of all trials that are kept at a time


class RunTables(Tables):
    """Trial key -> its table of answers, read from its run when it is asked for: of thousands of
    trials a report looks at the answers of a few. These are kept, within a limit, since several
    sections ask for the same ones."""

    def __init__(self, tracker: Tracker, sources: Sequence[Source]) -> None:
        self._kept: dict[str, pd.DataFrame] = {}
        self._tracker = tracker
        self._sources = {source.key: source for source in sources}
        self.columns = frozenset((*COLUMNS, "key", "label"))

    def __contains__(self, key: object) -> bool:
        return key in self._sources

    def __iter__(self) -> Iterator[str]:
        return iter(self._sources)

    def __len__(self) -> int:
        return len(self._sources)

    def read(self, keys: Collection[str], columns: Sequence[str] = ()) -> pd.DataFrame:
        asked = set(keys)
        wanted = [key for key in self._sources if key in asked]
        if not columns or not set(columns) <= set(COLUMNS):
            found = self._of_runs(wanted)
        else:
            self._keep(self._of_runs([key for key in wanted if key not in self._kept]))
            parts = [self._kept[key] for key in wanted if key in self._kept]
            found = (
                pd.concat(parts, ignore_index=True)
                if parts
                else pd.DataFrame({"key": [], "label": []})
            )
            self._forget()
        names = [n for n in dict.fromkeys((*columns, "key", "label")) if n in found]
        return found[names] if columns else found

    def _of_runs(self, keys: Sequence[str]) -> pd.DataFrame:
        return read_tables(self._tracker, [self._sources[key] for key in keys], PREDICTIONS)[0]

    def _keep(self, found: pd.DataFrame) -> None:
        names = [n for n in (*COLUMNS, "key", "label") if n in found]
        own = found[names].astype({"key": str, "label": str})
        self._kept |= {str(key): rows for key, rows in own.groupby("key", sort=False)}

    def _forget(self) -> None:
        """The oldest, until the others are few enough."""
        n_rows = sum(map(len, self._kept.values()))
        for key in list(self._kept):
            if n_rows <= _ROWS:
                break
            n_rows -= len(self._kept.pop(key))


def of_each(tables: Tables, keys: Collection[str]) -> dict[str, pd.DataFrame]:
    """Key -> its images in their order, of those trials that left their answers. `dense` is there
    of all: the dense network's own answers are the dense ones."""
    found = tables.read(keys, COLUMNS)
    if found.empty or not {"truth", "answer_1"} <= set(found):
        return {}
    if "dense" not in found:
        found = found.assign(dense=found["answer_1"])
    found["dense"] = found["dense"].fillna(found["answer_1"])
    return {
        str(key): rows.reset_index(drop=True)
        for key, rows in found.groupby(found["key"].astype(str), sort=False)
    }

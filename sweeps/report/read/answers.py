"""What networks answer to the validation images, read of the trials that are asked about."""

from collections.abc import Collection, Iterator, Sequence

import pandas as pd

from sweeps.report.read.artifacts import Source, read_tables
from sweeps.report.read.unit_tables import Tables
from sweeps.tracking.tracker import Tracker
from trainables.artifacts import PREDICTIONS

COLUMNS = ("images", "class", "truth", "answer_1", "dense")


class RunTables(Tables):
    """Trial key -> its table of answers, read from its run when it is asked for: of thousands of
    trials a report looks at the answers of a few."""

    def __init__(self, tracker: Tracker, sources: Sequence[Source]) -> None:
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
        wanted = set(keys)
        sources = [source for key, source in self._sources.items() if key in wanted]
        found = read_tables(self._tracker, sources, PREDICTIONS)[0]
        names = [n for n in dict.fromkeys((*columns, "key", "label")) if n in found]
        return found[names] if columns else found


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

"""The history of units over rounds of pruning, of trials that were scored after every round."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sweeps.report.atlas.chosen import Units
from sweeps.report.atlas.columns import Score
from sweeps.report.read.artifacts import Source, artifact
from sweeps.tracking.tracker import Tracker, Unavailable
from trainables.artifacts import UNITS_BY_ROUND

_FILE = re.compile(rf"{UNITS_BY_ROUND}/round_(\d{{3,}})\.parquet")


def history_of(
    tracker: Tracker,
    source: Source,
    units: Units,
    layers: Sequence[str],
    scores: Sequence[Score],
) -> dict[str, Any] | None:
    """A script's value: rounds (uint16), those before the last whose scores are known, and of each
    score a float32 for every round and unit, round by round; None where the trial left none.

    layers: of each row that a table of units must have. A table that cannot be read, or is of other
    units, is left out.
    """
    try:
        there = tracker.client.list_artifacts(source.run_id, UNITS_BY_ROUND)
    except (*Unavailable, OSError):
        return None
    files = filter(None, (_FILE.fullmatch(file.path) for file in there))
    named = {int(name[1]): name[0] for name in files}
    tables: dict[int, pd.DataFrame] = {}
    for number, name in sorted(named.items()):
        try:
            with artifact(tracker, source, name) as path:
                table = _read(path)
        except (*Unavailable, OSError, ValueError):
            continue
        if list(table["layer"].astype(str)) == list(layers):
            tables[number] = table.iloc[units.rows]
    if not tables:
        return None
    found: dict[str, Any] = {"rounds": np.array(list(tables), "<u2")}
    for score in scores:
        if all(score.name in table for table in tables.values()):
            values = [table[score.name].to_numpy(np.float32) for table in tables.values()]
            found[score.name] = np.concatenate(values).astype("<f4")
    return found


def _read(path: Path) -> pd.DataFrame:
    """Raises ValueError for what is no table of units."""
    table = pd.read_parquet(path)
    if "layer" not in table:
        raise ValueError(f"{path.name} must have a row per unit")
    return table

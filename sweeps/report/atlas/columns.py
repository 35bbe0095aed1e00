"""What the atlas tells of each unit of a network: its scores, their errors, what it detects."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sweeps.plan.metrics_of_units import VALUES
from sweeps.report.atlas.chosen import Units
from sweeps.report.read.frames import SweepFrames

STATES = ("alive", "unread", "constant", "dead")
_MEANINGS = {
    "mis": "how well one can tell from its extreme images what it responds to, .5 by chance",
    "iou": "overlap of its highest activations with the concept that fits best, 0 to 1",
    **VALUES,
}
_TWIN = "twin_before"
_OF_TWIN = "correlation over images with the same unit of the dense network, before the ReLU"
_MATCH = ("match_before", "match_channel_before")
_OF_UNITS = ("state", "mis", "mis_error", "best_class", *_MATCH)
_OF_DISSECTED = ("iou", "concept", "category", "detector")


@dataclass(frozen=True)
class Score:
    """A score of units. name: of its column; error: of that of its standard errors, "" for none.
    ranks: whether scores may disagree with it; what it tells is not how clear a unit is otherwise.
    """

    name: str
    label: str
    meaning: str
    error: str = ""
    ranks: bool = True


def scores_of(frames: SweepFrames) -> list[Score]:
    """The scores that units of a sweep have: MIS, dissection's overlap, then the others."""
    there = frames.of_units.columns
    found = [("mis", "MIS"), *((value, value) for value in _others(there))]
    if "iou" in frames.of_dissected.columns:
        found.insert(1, ("iou", "IoU"))
    scores = [
        Score(name, label, _MEANINGS.get(name, ""), "mis_error" if name == "mis" else "")
        for name, label in found
        if name in there or name == "iou"
    ]
    if _TWIN in there:
        scores.append(Score(_TWIN, "same unit", _OF_TWIN, ranks=False))
    return scores


def _others(there: frozenset[str]) -> list[str]:
    """Those whose score in the dense network stands beside them: ours, then the user's own."""
    twins = {name.removeprefix("dense_") for name in there if name.startswith("dense_")} - {"mis"}
    return [*(v for v in VALUES if v in twins), *sorted(twins - set(VALUES))]


def columns_of(
    frames: SweepFrames,
    key: str,
    units: Units,
    shown_layers: Sequence[str],
    scores: Sequence[Score],
    concepts: Mapping[str, int],
) -> dict[str, np.ndarray]:
    """Column -> an array over the units of the atlas; NaN, or 255 of bytes, for what is not known.

    state: uint8, of STATES. detector: uint8. concept, class: int16, -1 for none; like: int16, the
    channel of the dense network's layer that it goes with best, and likeness: float32, how closely.
    Scores and errors: float32. concepts: "category/name" -> number.
    """
    names = [score.name for score in scores]
    table = frames.of_units.read([key], [*_OF_UNITS, *names, "layer", "channel"])
    if len(table) != len(shown_layers) or list(table["layer"].astype(str)) != list(shown_layers):
        raise ValueError("its table of units must be of the units that its images are of")
    table = table.iloc[units.rows].reset_index(drop=True)
    dissected = frames.of_dissected.read([key], [*_OF_DISSECTED, "layer", "channel"])
    if len(dissected):
        table = _beside(table, dissected)
        table["iou"] = table["iou"].mask(table["state"].isin(["dead", "constant"]))
    state = table["state"].astype(str).map({s: i for i, s in enumerate(STATES)})
    found: dict[str, np.ndarray] = {"state": state.fillna(255).to_numpy(np.uint8)}
    for score in scores:
        for name in filter(None, (score.name, score.error)):
            if name in table:
                found[name] = table[name].to_numpy(np.float32, na_value=np.nan).astype("<f4")
    if "concept" in table:
        said = table["category"].astype(str) + "/" + table["concept"].astype(str)
        found["concept"] = said.map(concepts).fillna(-1).to_numpy("<i2")
        found["detector"] = table["detector"].fillna(False).astype(bool).to_numpy(np.uint8)
    if set(_MATCH) <= set(table):
        found["likeness"] = table[_MATCH[0]].to_numpy(np.float32, na_value=np.nan).astype("<f4")
        found["like"] = table[_MATCH[1]].fillna(-1).to_numpy("<i2")
    if "best_class" in table:
        found["class"] = table["best_class"].fillna(-1).to_numpy("<i2")
    return found


def concepts_of(frames: SweepFrames, keys: Sequence[str]) -> list[tuple[str, str]]:
    """(category, name) of every concept that some unit of these trials is labelled with."""
    found: set[tuple[str, str]] = set()
    if not {"concept", "category"} <= frames.of_dissected.columns:
        return []
    for key in keys:
        table = frames.of_dissected.read([key], ["concept", "category"])
        named = table[["category", "concept"]].dropna().astype(str).drop_duplicates()
        found |= set(named.itertuples(index=False, name=None))
    return sorted(found)


def _beside(table: pd.DataFrame, dissected: pd.DataFrame) -> pd.DataFrame:
    """The units with what dissection says of them; layers without maps have none."""
    unit = ["layer", "channel"]
    other = dissected[[*unit, *(n for n in _OF_DISSECTED if n in dissected)]]
    both = [frame.assign(layer=frame["layer"].astype(str)) for frame in (table, other)]
    return both[0].merge(both[1], on=unit, how="left")

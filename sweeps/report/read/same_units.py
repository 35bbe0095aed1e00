"""Each unit beside itself in the dense network: what tells change from selection."""

from collections.abc import Iterable

import pandas as pd

from sweeps.report.read.pairs import pair_names
from sweeps.report.read.unit_tables import FileTables
from sweeps.report.read.values import is_dense

_UNIT = ["layer", "channel"]


def with_dense(units: pd.DataFrame, trials: pd.DataFrame) -> pd.DataFrame:
    """`units` with `dense_mis`, the score of the same unit in the dense network of the same pair of
    network and data, and seed.

    Kept where the trial wrote it; NaN where the sweep has no such dense network.
    """
    if units.empty:
        return units
    written = units.get("dense_mis", pd.Series(float("nan"), units.index))
    unpaired = _unpaired(trials)
    counts = written.groupby(units["key"], observed=True).count()
    without = [key for key in counts.index[counts == 0] if key not in unpaired]
    if not len(without):
        return units
    lacking = units["key"].isin(without)
    start_of = _starts(trials)
    dense = units[units["key"].isin(trials.loc[is_dense(trials), "key"])]
    dense = dense.assign(start=dense["key"].map(start_of))[["start", *_UNIT, "mis"]]
    dense = dense.drop_duplicates(["start", *_UNIT]).rename(columns={"mis": "found"})
    here = units.assign(start=units["key"].map(start_of))[["start", *_UNIT]]
    found = here.merge(dense, on=["start", *_UNIT], how="left")["found"].to_numpy()
    return units.assign(dense_mis=written.where(~lacking, found))


def _starts(trials: pd.DataFrame) -> dict[str, str]:
    """Trial key -> the pair and the seed that it shares with the dense network it starts from."""
    starts = pair_names(trials) + " " + trials["seed"].astype(str)
    return dict(zip(trials["key"].astype(str), starts, strict=True))


def _unpaired(trials: pd.DataFrame) -> set[str]:
    """Keys of networks that came with fewer channels: which unit is which is not known."""
    if "mis/change_unpaired" not in trials:
        return set()
    return set(trials.loc[trials["mis/change_unpaired"].notna(), "key"])


def complete(tables: FileTables, trials: pd.DataFrame) -> None:
    """`with_dense` of tables that are kept on the disk, one by one."""
    start_of = _starts(trials)
    there = trials.loc[is_dense(trials) & trials["key"].isin(list(tables)), "key"].astype(str)
    dense_of = {start_of[key]: key for key in reversed(list(there))}
    unpaired = _unpaired(trials)
    for key in list(tables):
        if key in unpaired:
            continue
        own = tables.read([key], ["dense_mis"])
        if "dense_mis" in own and own["dense_mis"].notna().any():
            continue
        keys = {key, dense_of.get(start_of.get(key, ""), key)}
        both = with_dense(tables.read(keys), trials[trials["key"].isin(keys)])
        tables.put(key, both[both["key"] == key])


def against_dense(trials: pd.DataFrame, units: Iterable[pd.DataFrame]) -> dict[str, pd.Series]:
    """`mis/dense_same_units` and `mis/change` of each trial; a change that was logged stays.

    units: tables of units with their `dense_mis`, of some trials each.
    """
    keys, nothing = trials["key"], pd.Series(float("nan"), trials.index)
    logged = trials.get("mis/change", nothing)
    means = [_same_units(table) for table in units if not table.empty]
    if not means:
        return {"mis/dense_same_units": nothing, "mis/change": logged}
    found = pd.concat(means)
    return {
        "mis/dense_same_units": keys.map(found["dense"]),
        "mis/change": logged.fillna(keys.map(found["change"])),
    }


def _same_units(units: pd.DataFrame) -> pd.DataFrame:
    """A row a trial's key, of its alive units that count: their dense network's mean, the change"""
    counted = units.get("counted", pd.Series(True, units.index)).astype(bool)
    alive = units.loc[(units["state"] == "alive") & counted, ["key", "mis", "dense_mis"]]
    alive = alive.assign(change=alive["mis"] - alive["dense_mis"], key=alive["key"].astype(str))
    return alive.rename(columns={"dense_mis": "dense"}).groupby("key")[["dense", "change"]].mean()


def shares(units: pd.DataFrame) -> pd.DataFrame:
    """A row per trial's key, columns alive, unread, constant, dead: fractions of counted units."""
    states = ["alive", "unread", "constant", "dead"]
    if units.empty:
        return pd.DataFrame(columns=states, dtype=float)
    counted = units[units.get("counted", pd.Series(True, units.index)).astype(bool)]
    table = pd.crosstab(counted["key"], counted["state"].astype(str), normalize="index")
    return table.reindex(columns=states, fill_value=0.0)

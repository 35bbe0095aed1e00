"""Each unit beside itself in the dense network: what tells change from selection."""

import pandas as pd

_UNIT = ["layer", "channel"]


def with_dense(units: pd.DataFrame, trials: pd.DataFrame) -> pd.DataFrame:
    """`units` with `dense_mis`, the score of the same unit in the dense network of the same seed.

    Kept where the trial wrote it; NaN where the sweep has no such dense network.
    """
    if units.empty:
        return units
    written = units.get("dense_mis", pd.Series(float("nan"), units.index))
    counts = written.groupby(units["key"], observed=True).count()
    without = counts.index[counts == 0]
    if not len(without):
        return units
    lacking = units["key"].isin(without)
    is_dense = (trials["method"] == "dense") & (trials["retraining"] == "none")
    seed_of = dict(zip(trials["key"], trials["seed"], strict=True))
    dense = units[units["key"].isin(trials.loc[is_dense, "key"])]
    dense = dense.assign(seed=dense["key"].map(seed_of))[["seed", *_UNIT, "mis"]]
    dense = dense.drop_duplicates(["seed", *_UNIT]).rename(columns={"mis": "found"})
    here = units.assign(seed=units["key"].map(seed_of))[["seed", *_UNIT]]
    found = here.merge(dense, on=["seed", *_UNIT], how="left")["found"].to_numpy()
    return units.assign(dense_mis=written.where(~lacking, found))


def against_dense(trials: pd.DataFrame, units: pd.DataFrame) -> dict[str, pd.Series]:
    """`mis/dense_same_units` and `mis/change` of each trial; a change that was logged stays."""
    keys, nothing = trials["key"], pd.Series(float("nan"), trials.index)
    logged = trials.get("mis/change", nothing)
    if units.empty:
        return {"mis/dense_same_units": nothing, "mis/change": logged}
    counted = units.get("counted", pd.Series(True, units.index)).astype(bool)
    alive = units.loc[(units["state"] == "alive") & counted, ["key", "mis", "dense_mis"]]
    dense = alive.groupby("key", observed=True)["dense_mis"].mean()
    change = (alive["mis"] - alive["dense_mis"]).groupby(alive["key"], observed=True).mean()
    return {
        "mis/dense_same_units": keys.map(dense),
        "mis/change": logged.fillna(keys.map(change)),
    }


def shares(units: pd.DataFrame) -> pd.DataFrame:
    """A row a trial's key, columns alive, unread, constant, dead: fractions of counted units."""
    states = ["alive", "unread", "constant", "dead"]
    if units.empty:
        return pd.DataFrame(columns=states, dtype=float)
    counted = units[units.get("counted", pd.Series(True, units.index)).astype(bool)]
    table = pd.crosstab(counted["key"], counted["state"].astype(str), normalize="index")
    return table.reindex(columns=states, fill_value=0.0)

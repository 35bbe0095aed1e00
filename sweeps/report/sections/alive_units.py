"""The units of a sweep that have a score and count, read for one question at a time."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from sweeps.report.read.frames import SweepFrames
from sweeps.report.read.values import is_dense
from sweeps.report.sections.series import Series

_OF_ALIVE = ("state", "counted", "mis")
_FINE = 2_000  # steps of MIS by which the ends of its distribution are known


def has_units(frames: SweepFrames) -> bool:
    """Whether any trial left a table of its units' scores."""
    return {"state", "mis"} <= frames.of_units.columns


def alive_units(units: pd.DataFrame) -> pd.DataFrame:
    """The units that have a score and count."""
    if units.empty:
        return units.reindex(columns=list(dict.fromkeys([*units, "mis"])))
    counted = units["counted"].astype(bool) if "counted" in units else True
    return units[(units["state"] == "alive") & counted & units["mis"].notna()]


def alive(frames: SweepFrames, keys: Collection[str], *columns: str) -> pd.DataFrame:
    """The alive units of some trials."""
    return alive_units(frames.of_units.read(keys, [*_OF_ALIVE, *columns]))


def all_alive(frames: SweepFrames, *columns: str) -> Iterator[pd.DataFrame]:
    """The alive units of all trials, those of a few at a time."""
    for units in frames.of_units.batches([*_OF_ALIVE, *columns]):
        yield alive_units(units)


def dense_keys(frames: SweepFrames) -> set[str]:
    """Keys of the dense networks."""
    return set(frames.trials.loc[is_dense(frames.trials), "key"])


def untrained_keys(frames: SweepFrames) -> set[str]:
    """Keys of the networks that were not trained."""
    return set(frames.trials.loc[frames.trials["method"] == "untrained", "key"])


def layers_of(frames: SweepFrames) -> list[str]:
    """Names of the layers that have an alive unit, in the order of the network."""
    if not has_units(frames):
        return []
    found = (units["layer"].unique() for units in all_alive(frames, "layer"))
    return list(dict.fromkeys(str(layer) for layers in found for layer in layers))


def layer_means(
    frames: SweepFrames, keys: Collection[str], layers: Sequence[str], value: str = "mis"
) -> list[tuple[str, float, int]]:
    """Name of each layer, mean of a value over its units (NaN where there are none), their number;
    nothing where no unit has the value."""
    units = alive(frames, keys, "layer", value)
    if value not in units or not units[value].notna().any():
        return []
    found = units.groupby("layer", observed=True)[value].agg(["mean", "count"])
    found = found.rename(index=str).reindex(list(layers))
    return list(zip(layers, found["mean"], found["count"].fillna(0).astype(int), strict=True))


def ends_of_mis(frames: SweepFrames) -> tuple[float, float] | None:
    """Between which values nearly all units of all trials lie; None where there are none."""
    counts, edges = np.zeros(_FINE, dtype=np.int64), np.linspace(0, 1, _FINE + 1)
    for units in all_alive(frames) if has_units(frames) else ():
        counts += np.histogram(units["mis"], edges)[0]
    if not counts.any():
        return None
    below = np.cumsum(counts) / counts.sum()
    first, last = np.searchsorted(below, [0.001, 0.999])
    return float(edges[first]), float(edges[last + 1])


def sample_of(values: pd.Series, units: pd.DataFrame) -> pd.Series:
    """What the error of their mean is over: a value per training; of one training a value per unit,
    its mean over the trials, since trials of one dense network are not independent.

    units: the layer, channel and training of each value."""
    of_trainings = values.groupby(units["training"].astype(str)).mean()
    if len(of_trainings) > 1:
        return of_trainings
    return values.groupby([units["layer"].astype(str), units["channel"]]).mean()


def of_branches(frames: SweepFrames, series: Series, trained: Mapping[str, str]) -> pd.DataFrame:
    """A row per sparsity and kind of branch: the mean of its units' change, its standard error
    (sem), see `sample_of`, and how many units. trained: trial key -> its training."""
    rounded = series.rows["prune/sparsity"].round(3)
    parts = [pd.DataFrame(columns=["branch", "mean", "sem", "count", "sparsity"])]
    for sparsity, keys in series.rows["key"].groupby(rounded):
        units = alive(frames, set(keys), "layer", "channel", "dense_mis")
        if units.empty or "dense_mis" not in units:
            continue
        of_layer = {name: _branch(str(name)) for name in units["layer"].unique()}
        change = (units["mis"] - units["dense_mis"]).dropna()
        branch = units["layer"].map(of_layer).astype("category")[change.index]
        own = units.loc[change.index, ["layer", "channel"]].astype({"layer": str})
        own = own.assign(training=units["key"].astype(str).map(trained), change=change)
        for name, here in own.groupby(branch, observed=True):
            row = {"branch": name, "mean": here["change"].mean(), "sparsity": sparsity}
            row["sem"] = sample_of(here["change"], here).sem()
            row["count"] = len(here[["training", "layer", "channel"]].drop_duplicates())
            parts.append(pd.DataFrame([row]))
    return pd.concat([part for part in parts if len(part)] or parts)


def _branch(layer: str) -> str | None:
    found = re.search(r"\.(branch\d)", layer)
    return found[1] if found else None


def at_highest_rate(
    frames: SweepFrames, series: Series, trained: Mapping[str, str]
) -> pd.DataFrame:
    """The units of the highest rate that are known in the dense network, too; of several trials of
    one dense network each unit once, with its mean MIS. trained: trial key -> its training."""
    at_most = series.rows["rate"] == series.rows["rate"].max()
    units = alive(frames, set(series.rows.loc[at_most, "key"]), "dense_mis", "layer", "channel")
    if "dense_mis" not in units:
        return units.iloc[:0]
    units = units.dropna(subset=["dense_mis"])
    training = units["key"].astype(str).map(trained)
    unit = [training, units["layer"].astype(str), units["channel"]]
    units = units.assign(mis=units.groupby(unit)["mis"].transform("mean"))
    return units[~pd.concat(unit, axis=1).duplicated()]

"""Which networks of a sweep its atlas shows, and of the others why not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sweeps.plan.atlas import Atlas
from sweeps.report.page.table import ordered
from sweeps.report.read.values import is_dense
from sweeps.report.statistics.population import training_of
from trainables.scores.shown import Shown

_SHOWN = 4  # names in a sentence


@dataclass(frozen=True)
class Units:
    """The units of the networks of an atlas. layers: title -> how many channels, in the order of
    the network; rows: int64 [unit], where they stand in the tables of the trials."""

    layers: dict[str, int]
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)


def candidates(trials: pd.DataFrame, atlas: Atlas) -> tuple[list[str], list[str]]:
    """Keys of the trials that are asked for their units, and sentences about those left out.

    The first seed's: the dense network, its retrained control, the untrained one, then method by
    method; trials that stand in for chance last, as far as the limit allows.
    """
    first = trials[trials["seed"] == trials["seed"].min()]
    rows = ordered(first)
    is_control = (rows["criterion"] == "random") | rows["most_important_first"]
    keys = [*rows.loc[~is_control, "key"], *rows.loc[is_control, "key"]]
    said = []
    if len(keys) > atlas.trials:
        said.append(
            f"The atlas shows {atlas.trials} of {len(keys)} networks: Sweep(atlas=Atlas(trials=…)) "
            "says how many"
        )
    if len(first) < len(trials):
        said.append(f"Networks of the first of {trials['seed'].nunique()} seeds are shown")
    return keys[: atlas.trials], said


def same_units(
    found: Mapping[str, Shown], labels: Mapping[str, str]
) -> tuple[dict[str, Shown], list[str]]:
    """The trials that have the units of the first, asked about the same images; and sentences about
    the others. found: trial key -> its images; labels: trial key -> its name."""
    kept: dict[str, Shown] = {}
    others: dict[str, list[str]] = {}
    reference: Shown | None = None
    for key, shown in found.items():
        reference = reference or shown
        why = _unlike(shown, reference)
        if why:
            others.setdefault(why, []).append(labels[key])
        else:
            kept[key] = shown
    return kept, [f"{_named(names)} {why}" for why, names in others.items()]


def made_of(trials: pd.DataFrame, keys: Sequence[str]) -> dict[str, str]:
    """Key -> the key, among these, of the dense network that the trial started from; its own where
    there is none: units of networks that were trained apart have nothing to do with each other."""
    trained = training_of(trials)
    dense = set(trials.loc[is_dense(trials), "key"])
    of_training = {trained[key]: key for key in reversed(keys) if key in dense}
    return {key: of_training.get(trained[key], key) for key in keys}


def units_of(shown: Shown, atlas: Atlas) -> Units:
    """The units of a network that the atlas shows. Raises ValueError where there are none, or a
    layer's channels are not numbered from 0 on."""
    names = np.array(shown.layers, dtype=object)
    layers: dict[str, int] = {}
    rows = []
    for name in dict.fromkeys(shown.layers):
        if atlas.layers and name not in atlas.layers:
            continue
        of_layer = np.flatnonzero(names == name)
        if (shown.channel[of_layer] != np.arange(len(of_layer))).any():
            raise ValueError(f"the channels of {name} must be numbered from 0 on")
        layers[name] = len(of_layer)
        rows.append(of_layer)
    if not rows:
        raise ValueError(
            f"atlas.layers must name layers of the network, {', '.join(atlas.layers)} are none"
        )
    return Units(layers, np.concatenate(rows))


def _unlike(shown: Shown, reference: Shown) -> str:
    if shown.probe != reference.probe:
        return "were asked about other images and are not shown"
    if shown.layers != reference.layers or (shown.channel != reference.channel).any():
        return "have other units than the first network and are not shown"
    return ""


def lacking(keys: Sequence[str], found: Mapping[str, Shown], labels: Mapping[str, str]) -> str:
    """A sentence about trials that did not keep which images they answer to; "" for none."""
    names = [labels[key] for key in keys if key not in found]
    if not names:
        return ""
    return (
        f"{_named(names)} kept no images of their units (shown.parquet): they ran under an earlier "
        "version, and show scores alone in the report"
    )


def _named(names: Sequence[str]) -> str:
    if len(names) == 1:
        return f"1 network ({names[0]})"
    some = ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
    return f"{len(names)} networks ({some})"

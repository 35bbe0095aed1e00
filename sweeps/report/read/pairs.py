"""The pairs of network and data that a sweep compares: no mean over them is anybody's, so each is
shown by itself.

Trainings that differ by their seed alone, or by the draw of the images, are one pair.
"""

import itertools
import re
from collections.abc import Collection

import pandas as pd

from sweeps.report.read.values import is_dense, is_pruned, params_of, text
from trainables.methods import ROTATED

_OF_WEIGHTS = (
    *("network.weights", "network.digest", "network.entry", "network.head"),
    *("network.kept_classes", "network.recipe."),
)
"""What an untrained network does not depend on."""
_NAMES = ("network.name", "data.name")


def pairs(trials: pd.DataFrame) -> dict[str, pd.Series]:
    """What a pair is called -> its trials (bool): one, "", where all trials are of one pair.

    Trials are of one pair where they agree on every field that decides the dense network. An
    untrained network is the control of all pairs that agree with it on what it depends on. Where
    all that is pruned is of one pair that has no dense network of its own, others are no pair:
    they stand in its place, and are the wrong ones.
    """
    from trainables.config.replicates import OF_DENSE, fields_of_dense, starts  # brings torch

    untrained = text(trials, "method") == "untrained"
    ours = is_pruned(trials) | text(trials, "method").isin(["dense", ROTATED])
    told = [n for n in map(str, trials) if n.startswith(OF_DENSE)]
    if all(text(trials[ours], n).nunique() < 2 for n in told):  # and no param has to be looked at
        return {"": pd.Series(True, index=trials.index)}
    known = starts(params_of(trials))
    values = pd.DataFrame(known, index=trials.index, columns=list(fields_of_dense()))
    own = values[ours].drop_duplicates()
    own = own.loc[:, own.nunique() > 1]
    if own.empty or _is_misled(values[own.columns], trials):
        return {"": pd.Series(True, index=trials.index)}
    shared = [name for name in own if not str(name).startswith(_OF_WEIGHTS)]
    found = {}
    for called, row in zip(_called(own), own.index, strict=True):
        alike = (values[own.columns] == own.loc[row]).all(axis=1) & ~untrained
        as_drawn = (values[shared] == own.loc[row, shared]).all(axis=1) & untrained
        found[called] = alike | as_drawn
    return found


def _is_misled(values: pd.DataFrame, trials: pd.DataFrame) -> bool:
    """Whether all that is pruned is of one network, which is not among the dense ones."""
    pruned = values[is_pruned(trials)].drop_duplicates()
    dense = values[is_dense(trials)].drop_duplicates()
    return len(pruned) == 1 and len(pruned.merge(dense)) == 0


def pair_names(trials: pd.DataFrame) -> pd.Series:
    """What the pair of each trial is called; of a control of several the first of them."""
    names = pd.Series("", index=trials.index)
    for name, rows in pairs(trials).items():
        names = names.mask(rows & (names == ""), name)
    return names


def _called(own: pd.DataFrame) -> list[str]:
    """A name per row, of as few of its values as tell the rows apart: "vgg16, pixels 64"."""
    digests_last = sorted(map(str, own), key=lambda n: n.endswith((".code", ".digest")))
    told: list[str] = []
    for name in sorted(digests_last, key=lambda n: n not in _NAMES):
        if _n_apart(own[[*told, name]]) > _n_apart(own[told]):
            told.append(name)
    return [
        ", ".join(
            row[name] if name in _NAMES else f"{_field(name)} {row[name] or 'none'}"
            for name in told
        )
        for row in own[told].to_dict("records")
    ]


def _n_apart(own: pd.DataFrame) -> int:
    return len(set(own.itertuples(index=False, name=None)))


def _field(name: str) -> str:
    return name.removeprefix("network.").removeprefix("data.").replace("_", " ").replace(".", " ")


def stems(name: str, pairs: Collection[str]) -> list[str]:
    """What files of each pair are called, without their endings: `name` of a single one; of
    several small letters, digits and "_" of the pair after it, no two of them the same."""
    if len(pairs) == 1:
        return [name]
    found: list[str] = []
    for pair in pairs:
        said = re.sub("[^a-z0-9]+", "_", pair.lower()).strip("_")[:60] or "pair"
        names = itertools.chain([said], (f"{said}_{n}" for n in itertools.count(2)))
        found.append(next(stem for n in names if (stem := f"{name}-{n}") not in found))
    return found

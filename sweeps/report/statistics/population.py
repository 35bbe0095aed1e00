"""Which trials a question is asked of, and which are left out and why."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from sweeps.report.read.pairs import pair_names
from sweeps.report.read.values import (
    HALVES,
    flag,
    is_accuracy,
    is_pruned,
    is_retrained,
    number,
    params_of,
    text,
    was_stopped,
    within_layers,
)
from sweeps.report.statistics.trainings import MIN_TRAININGS
from trainables.config.replicates import arms, trainings

STRATA = {"all": "pruned", "retrained": "retrained", "not retrained": "pruned, not retrained"}
"""Stratum -> how its networks are called."""

CONTROLS = (
    "not pruned",
    "pruned the most important first",
    "pruned by chance",
    "pruned by another criterion",
    "pruned by chance with a criterion's numbers per layer",
)
"""Why trials are left out of every figure and answer that compares pruned networks."""

# Told apart even where a sweep's params are not known, as of released points.
_AXES = ("method", "criterion", "schedule", "retraining", "recipe", "most_important_first")


@dataclass(frozen=True)
class Population:
    """The trials that a question can be asked of.

    points: a row per trial, columns x, y (finite), arm, method, training (the dense network that it
    starts from, as people call it), pair (of network and data, as people call it: equal for
    trainings that differ by chance alone, "" where there is one), seed, outcome, held, key, and a,
    b (the accuracies on the two halves of the validation images, NaN where they were not measured).
    left_out: reason -> number of trials, of the stratum's own.
    """

    stratum: str
    points: pd.DataFrame
    left_out: dict[str, int]

    @property
    def n_arms(self) -> int:
        return int(self.points["arm"].nunique())

    @property
    def trainings(self) -> list[str]:
        """The dense networks that these trials start from, in order."""
        return sorted(self.points["training"].unique())

    @property
    def pair(self) -> str:
        """The one pair of network and data; "" of a sweep's only one, or of several."""
        names = self.points["pair"].unique()
        return str(names[0]) if len(names) == 1 else ""

    @property
    def replicate(self) -> pd.Series:
        """What each trial shares its luck with: its training or, where all start from one given
        network, its draw (of images, or of a new head), which the seed says."""
        return self.points["training" if len(self.trainings) > 1 else "seed"]

    def parts(self) -> list["Population"]:
        """The trials that can be asked together: of one pair, and of one replicate or three and
        more. Networks and training sets are chosen, as arms are, and no sample of anything."""
        names = self.points["pair"].unique()
        if len(names) > 1:
            alike = [self.only(self.points["pair"] == name) for name in names]
            return [part for each in alike for part in each.parts()]
        replicates = sorted(self.replicate.unique())
        if not 1 < len(replicates) < MIN_TRAININGS:
            return [self]
        return [self.only(self.replicate == name) for name in replicates]

    def only(self, rows: pd.Series) -> "Population":
        """The same without some of its trials. rows: bool, of `points`."""
        return replace(self, points=self.points[rows].reset_index(drop=True))


def prepared(trials: pd.DataFrame) -> pd.DataFrame:
    """The trials with all that questions need: `mis/change`, `arm`, `training` and `pair`.

    mis/change: MIS minus that of the same units of the dense network, where it was not logged.
    """
    if "mis/change" not in trials and "mis/dense_same_units" in trials:
        change = number(trials, "mis/mean") - number(trials, "mis/dense_same_units")
        trials = trials.assign(**{"mis/change": change})
    if {"arm", "training", "pair"} <= set(trials):
        return trials
    params = params_of(trials)
    axes = zip(*(text(trials, name) for name in _AXES), strict=True)
    arm = [" | ".join([*axis, *own]) for axis, own in zip(axes, arms(params), strict=True)]
    dense = trainings(params)
    trained = text(trials, "method") != "untrained"  # the control of all, under every seed
    return trials.assign(
        arm=arm,
        training=_names(dense, text(trials, "seed"), text(trials, "network.name"), trained),
        pair=pair_names(trials),
    )


def training_of(trials: pd.DataFrame) -> dict[str, str]:
    """Trial key -> its training: which dense network it starts from."""
    rows = prepared(trials)
    return dict(zip(rows["key"].astype(str), rows["training"].astype(str), strict=True))


def _names(
    dense: list[tuple[str, ...]], seeds: pd.Series, networks: pd.Series, trained: pd.Series
) -> list[str]:
    """What people call each dense network: its seed, or else its name, where these tell those that
    are trained apart; an untrained one is called as that beside it."""
    for known, said in ((seeds.mask(seeds == "", "0"), "seed {}"), (networks, "{}")):
        apart = pd.DataFrame({"dense": dense, "known": known.to_numpy()})[trained.to_numpy()]
        apart = apart.drop_duplicates()
        is_told = len(apart) == apart["dense"].nunique() == apart["known"].nunique()
        if is_told and all(known != ""):
            return [said.format(name) for name in known]
    number_of = {each: place for place, each in enumerate(dict.fromkeys(dense), 1)}
    return [f"dense network {number_of[each]}" for each in dense]


def compared(trials: pd.DataFrame) -> pd.DataFrame:
    """The trials that figures and answers are of, with the column `hue`.

    Pruned, and no control: not the most important first, and not by chance, except where the
    sweep compares criteria (of one method; `hue` is then the criterion). Where methods are
    compared it is by the criterion that most trials have: others stand beside the controls.
    """
    here = trials[~_not_compared(trials).astype(bool)]
    hue = "criterion" if _by_criterion(trials) else "method"
    return here.assign(hue=text(here, hue))


def leading_criterion(meant: pd.DataFrame) -> str:
    """The criterion that most of the trials have that are not pruned by chance."""
    return str(meant["criterion"].mode().iloc[0])


def _meant(trials: pd.DataFrame) -> pd.DataFrame:
    meant = is_pruned(trials) & ~flag(trials, "most_important_first")
    return trials[meant & (text(trials, "criterion") != "random")]


def _by_criterion(trials: pd.DataFrame) -> bool:
    meant = _meant(trials)
    return text(meant, "criterion").nunique() > 1 and text(meant, "method").nunique() == 1


def _not_compared(trials: pd.DataFrame) -> pd.Series:
    """Why a trial is not among those compared; "" where it is. Each pair of network and data has a
    leading criterion of its own."""
    why = pd.Series("", index=trials.index)
    names = trials["pair"] if "pair" in trials else pair_names(trials)
    for _, own in trials.groupby(names, sort=False):
        why[own.index] = _not_compared_in_pair(own)
    return why


def _not_compared_in_pair(trials: pd.DataFrame) -> pd.Series:
    why = pd.Series("", index=trials.index)
    meant = _meant(trials)
    if len(meant) and "criterion" in trials and not _by_criterion(trials):
        criterion = text(trials, "criterion")
        why[criterion != leading_criterion(meant)] = CONTROLS[3]
        why[criterion == "random"] = CONTROLS[2]
        why[flag(trials, "by_design")] = ""
    why[within_layers(trials)] = CONTROLS[4]
    why[flag(trials, "most_important_first")] = CONTROLS[1]
    why[~is_pruned(trials)] = CONTROLS[0]
    return why


def choose(trials: pd.DataFrame, x: str, y: str, stratum: str = "all") -> Population:
    """The trials of a stratum that are compared and have both values.

    Left out: those that no figure compares (see `compared`), that failed, that are known not to be
    measured, or whose values are missing or not finite. A trial that was stopped early, or in
    which a layer collapsed, has its values and stays: without it only survivors would be compared.
    But where y is an accuracy, one that was stopped is left out: what it would have come to is not
    known, while its scores and its accuracy are of one network, whenever that was.
    trials: as in `SweepFrames`; columns that are absent count as missing values.
    Raises ValueError for an unknown stratum.
    """
    if stratum not in STRATA:
        raise ValueError(f"stratum must be one of {', '.join(STRATA)}, got {stratum!r}")
    here = prepared(trials)
    why = _not_compared(here)  # of the whole sweep: a stratum has no leading criterion of its own
    if stratum != "all":
        of_stratum = ~is_pruned(here) | (is_retrained(here) == (stratum == "retrained"))
        here, why = here[of_stratum], why[of_stratum]
    xs, ys = number(here, x), number(here, y)
    for reason, holds in {
        "failed": text(here, "outcome") == "failed",
        "typed in by hand": flag(here, "placeholder"),
        "of a run whose other values were typed in": flag(here, "placeholder_run"),
        "stopped early, with an accuracy that is not final": was_stopped(here) & is_accuracy(y),
        "without a finite value": ~(np.isfinite(xs) & np.isfinite(ys)),
    }.items():
        why = why.mask((why == "") & holds, reason)
    counts = why[why != ""].value_counts(sort=False)
    points = pd.DataFrame(
        {
            "x": xs,
            "y": ys,
            "arm": text(here, "arm"),
            "method": text(here, "method"),
            "training": text(here, "training"),
            "pair": text(here, "pair"),
            "seed": text(here, "seed"),
            "outcome": text(here, "outcome"),
            "held": ~text(here, "prune.held").isin(["False"]),
            "key": text(here, "key"),
            "a": number(here, HALVES[0]),
            "b": number(here, HALVES[1]),
        }
    )
    left_out = {str(reason): int(n) for reason, n in counts.items()}
    return Population(stratum, points[why == ""].reset_index(drop=True), left_out)

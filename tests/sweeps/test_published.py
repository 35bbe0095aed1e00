"""The released points: carried over whole, flagged, and what a re-analysis of them finds."""

import numpy as np
import pandas as pd
import pytest

from sweeps.report.paper.published import FAULTS, RATE, published_trials
from sweeps.report.statistics.correlation import correlations
from sweeps.report.statistics.population import choose
from sweeps.report.statistics.questions import answers
from sweeps.report.statistics.sentences import sentence
from trainables.methods import METHODS


@pytest.fixture(scope="module")
def trials():
    return published_trials()


def pearson(trials, x, stratum, over="pooled"):
    population = choose(trials, x, "mis/mean", stratum)
    found = {c.over: c for c in correlations(population) if c.kind == "pearson"}[over]
    return len(population.points), round(found.value, 2)


def test_every_released_point_is_there_once_and_in_our_words(trials):
    assert np.isfinite(trials["val/top1"]).sum() == 48 + 9
    assert np.isfinite(trials["mis/mean"]).sum() == 33
    assert set(trials["method"]) <= {*METHODS, "dense", "other_network"}
    assert set(trials["retraining"]) == {"none", "finetune"}
    assert trials["key"].is_unique and trials["label"].is_unique
    assert set(trials["source"]) == {"von Rad & Seuffert 2024, released"}


@pytest.mark.parametrize(
    ("where", "top1", "mis"),
    [
        ({"method": "structured", "rate": 0.8, "recipe": "adam, 50 epochs"}, 0.44978, 0.739509),
        ({"method": "structured", "rate": 0.8, "recipe": "sgd, 50 epochs",
          "schedule": "one_shot"}, 0.4434, 0.749621),
        ({"method": "connection", "rate": 0.6, "criterion": "random"}, 0.6921, 0.678927),
        ({"method": "connection", "rate": 0.2, "retraining": "none", "criterion": "l1"},
         0.0662, 0.64968),
        ({"method": "unstructured", "rate": 0.2, "retraining": "finetune"}, 0.72488, 0.67216),
        ({"method": "unstructured", "rate": 0.922}, 0.66324, np.nan),
    ],
)  # fmt: skip
def test_accuracy_and_mis_are_of_the_same_recipe(trials, where, top1, mis):
    rows = trials[np.logical_and.reduce([trials[name] == value for name, value in where.items()])]
    assert len(rows) == 1
    values = rows[["val/top1", "mis/mean"]].to_numpy()[0]
    np.testing.assert_array_equal(values, [top1, mis])


def test_what_is_wrong_with_a_point_is_flagged(trials):
    counts = {name: int(trials[name].sum()) for name in FAULTS}
    assert counts == {
        "placeholder": 3,
        "placeholder_run": 1,
        "other_network": 1,
        "masks_not_held": 8,
        "dead_units_counted": 4,
        "sparsity_not_measured": 4 + 4 + 9,
        "rounded": 9,
        "other_recipe": 1,
    }
    assert (trials.loc[trials["placeholder"], "mis/mean"] == 0.7).all()
    not_held = trials[trials["masks_not_held"]]
    assert set(not_held["method"]) == {"connection"} and not not_held["prune.held"].any()
    assert (trials["faults"] == "").sum() == (~trials[list(FAULTS)].any(axis=1)).sum()
    # The network behind the point at rate 0 is not the one that was pruned.
    dense = trials[trials["method"] == "dense"]
    assert dense["mis/mean"].isna().all() and dense["val/top1"].tolist() == [0.69938]


def test_no_relation_does_not_survive(trials):
    """The coefficients of a re-analysis by hand, to its two digits."""
    assert pearson(trials, RATE, "all") == (28, 0.48)
    assert pearson(trials, RATE, "all", "within arms") == (28, 0.70)
    assert pearson(trials, RATE, "retrained") == (20, 0.55)
    assert pearson(trials, "val/top1", "retrained") == (20, -0.96)
    assert pearson(trials, "val/top1", "all") == (28, 0.16)


def test_mended_points_say_it_more_clearly(trials):
    dead_units_left_out = trials["mis/without_dead_units"].fillna(trials["mis/mean"])
    mended = trials.assign(**{"mis/mean": dead_units_left_out})
    assert pearson(mended, RATE, "retrained") == (20, 0.65)
    faults = ["placeholder", "placeholder_run", "other_network", "masks_not_held"]
    right = mended[~mended[faults].any(axis=1)].assign(dead_units_counted=False)
    assert pearson(right, RATE, "retrained") == (12, 0.82)
    assert pearson(right, "val/top1", "retrained") == (12, -0.96)


def test_the_sentences_say_it_with_its_limits(trials):
    found = {
        (a.question.x, a.question.y, a.population.stratum): a for a in answers(trials, rate=RATE)
    }
    rate, top1 = found[RATE, "mis/mean", "all"], found["val/top1", "mis/mean", "retrained"]
    assert rate.verdict == "related" and top1.verdict == "related"
    start = "MIS rises with nominal rate within this training over 28 pruned networks (7 arms"
    assert sentence(rate).startswith(start)
    assert "How another training would come out is not known" in sentence(rate)
    assert "8 of them with masks that were not held" in sentence(rate)
    assert "3 typed in by hand" in sentence(rate)
    start = "MIS falls with top-1 accuracy within this training over 20 retrained networks"
    assert sentence(top1).startswith(start)
    # Retrained and as pruned lie on two levels, and their mixture hides what goes on in both.
    assert "Pooled over arms of different levels Pearson is +0.16" in sentence(
        found["val/top1", "mis/mean", "all"]
    )
    assert found[RATE, "mis/change", "all"].verdict == "unknown"


def test_points_stand_beside_those_of_a_sweep(trials):
    ours = trials.head(3).drop(columns=["source", *FAULTS, "faults"])
    both = pd.concat([ours, trials], ignore_index=True)
    assert len(choose(both, "prune/sparsity", "val/top1").points) > 0

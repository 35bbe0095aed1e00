"""Several scores of units in a report: whether they say the same, and which of them see units."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from report_frames import synthetic
from scipy import stats

from sweeps.report.findings import findings
from sweeps.report.page.render import render
from sweeps.report.read.frames import SweepFrames
from sweeps.report.sections.scores import AGREEMENT, SCORES
from sweeps.report.statistics.agreement import agreement_sentences, relations, rotations
from sweeps.report.statistics.population import prepared

METHODS = ("structured", "unstructured")


def frames(changes, *, rotated=None, seed=0, seeds=(0,)) -> SweepFrames:
    """A sweep with more scores. changes: value -> what it gains from rate 0 to 1."""
    base = synthetic(methods=METHODS, channels=8, stopped=False, seeds=seeds)
    random = np.random.default_rng(seed)
    trials, units = base.trials.copy(), base.units.copy()
    dense = trials[(trials["method"] == "dense") & (trials["retraining"] == "none")]
    if rotated is not None:
        row = dense.iloc[[0]].assign(method="rotated", label="rotated", key="0" * 12)
        trials = pd.concat([trials, row], ignore_index=True)
    for value, gain in changes.items():
        is_rotated = trials["method"] == "rotated"
        change = gain * trials["rate"] + random.normal(0, 0.002, len(trials))
        level = np.where(is_rotated, (rotated or {}).get(value, 0.3), 0.3)
        trials[f"{value}/mean"], trials[f"{value}/change"] = level + change, change
        trials[f"{value}/error"] = 0.003
        trials[f"{value}/shuffled_mean"] = 0.1
        units[value] = random.normal(0, 1, len(units))
    return dataclasses.replace(base, trials=trials, units=units)


def test_of_mis_alone_nothing_is_said():
    base = synthetic(methods=METHODS, channels=3)
    assert agreement_sentences(prepared(base.trials)) == []
    assert "no score of units but MIS" in SCORES.data(base)
    assert "no score of units but MIS" in AGREEMENT.data(base)


def test_of_mis_alone_it_is_said_whether_it_falls_by_rotation():
    made = frames({}, rotated={})
    is_rotated = made.trials["method"] == "rotated"
    dense = made.trials.loc[is_rotated, "mis/mean"].item()
    ends = {0.2: "falls.", 0.001: "sees the layer more than its units.", -0.2: "rises."}
    for fall, end in ends.items():
        mis = made.trials["mis/mean"].mask(is_rotated, dense - fall)
        told = made.trials.assign(**{"mis/mean": mis, "mis/error": 0.001})
        (said,) = agreement_sentences(prepared(told))
        assert "MIS (0." in said and said.endswith(end) and "within this training" in said
        # With large errors, or none, nothing is said of it, and no fall is not called none.
        for error in (1.0, np.nan):
            unsure = prepared(told.assign(**{"mis/error": error}))
            assert agreement_sentences(unsure)[0].endswith("is undecided.")


def test_over_three_trainings_a_fall_is_beside_the_dense_network_of_each():
    made = frames({}, seeds=(0, 1, 2))
    dense = made.trials[(made.trials["method"] == "dense") & (made.trials["retraining"] == "none")]
    assert dense["seed"].nunique() == 3
    rotated = dense.assign(method="rotated", key=dense["key"] + "r")
    levels = {"mis/mean": dense["mis/mean"] - np.array([0.009, 0.01, 0.011])}
    trials = pd.concat([made.trials, rotated.assign(**levels)], ignore_index=True)
    (found,) = rotations(prepared(trials))
    half = stats.t.ppf(0.975, 2) * 0.001 / np.sqrt(3)
    assert (found.low, found.high) == pytest.approx((0.01 - half, 0.01 + half), rel=1e-6)
    assert "(over 3 trainings)" in agreement_sentences(prepared(trials))[-1]


def test_what_one_score_alone_says_is_said_to_be_that():
    made = frames({"monosemanticity": 0.2, "locality": -0.2, "selectivity": 0.0, "own/Loud": -0.2})
    trials = prepared(made.trials.drop(columns=["mis/change"]).assign(**{"mis/mean": np.nan}))
    said = {each.name: each.said for each in relations(trials) if each.x == "prune/sparsity"}
    assert said == {
        "monosemanticity": "rises",
        "locality": "falls",
        "selectivity": "is undecided",
        "Loud": "falls",
    }
    first = agreement_sentences(trials)[0]
    assert "monosemanticity rises; locality and Loud fall; selectivity is undecided" in first
    assert first.endswith("what monosemanticity says is said by that score alone.")


def test_all_that_say_the_same_say_so():
    made = frames({"monosemanticity": -0.2, "locality": -0.1}, seeds=(0, 1, 2))
    trials = prepared(made.trials.assign(**{"mis/change": -0.1 * made.trials["rate"]}))
    assert agreement_sentences(trials)[0] == (
        "Against sparsity all 3 scores of units say the same: each falls."
    )
    one = prepared(made.trials[made.trials["seed"] == 0].assign(**{"mis/change": np.nan}))
    first = agreement_sentences(one.assign(**{"mis/mean": np.nan}))[0]
    assert "within this training" in first


def test_undecided_is_no_agreement_and_no_difference():
    made = frames({"monosemanticity": 0.0, "locality": 0.0, "selectivity": -0.2}, seeds=range(3))
    trials = made.trials.drop(columns=["mis/change"]).assign(**{"mis/mean": np.nan})
    first = agreement_sentences(prepared(trials))[0]
    assert first == (
        "Against sparsity: selectivity falls; monosemanticity and locality are undecided."
    )
    open_ = prepared(trials.drop(columns=["selectivity/mean", "selectivity/change"]))
    assert "no score of units is decided" in agreement_sentences(open_)[0]


def test_noise_is_seldom_taken_for_a_direction():
    """Two questions of three scores without any relation: wrong in 5 % of sweeps, any of them."""
    wrong = 0
    for seed in range(40):
        made = frames(dict.fromkeys(("monosemanticity", "locality", "auprc"), 0.0), seed=seed)
        trials = made.trials.drop(columns=["mis/change"]).assign(**{"mis/mean": np.nan})
        wrong += any(r.said in ("falls", "rises") for r in relations(prepared(trials)))
    assert wrong <= 6  # 2 expected


def test_a_score_that_rotation_leaves_sees_no_units():
    made = frames({"selectivity": 0.0, "locality": 0.0}, rotated={"selectivity": 0.2})
    untrained = made.trials["method"] == "untrained"
    made.trials.loc[untrained, ["selectivity/mean", "locality/mean"]] = 0.1
    found = {each.name: each.said for each in rotations(prepared(made.trials))}
    assert found["selectivity"] == "falls" and found["locality"] == "changes by less"
    said = agreement_sentences(prepared(made.trials))[-1]
    assert "selectivity (0.3" in said and "locality" in said.partition(" changes by less")[0]
    page = render(made, findings(made), [])
    assert said.partition(",")[0] in page


@pytest.fixture(scope="module")
def made():
    return frames({"monosemanticity": 0.2, "auprc": -0.1}, rotated={})


def test_the_figure_holds_every_number_that_it_draws(made):
    table = SCORES.data(made)
    assert set(table["metric"]) == {"mis/mean", "monosemanticity/mean", "auprc/mean"}
    levels = table[(table["kind"] == "level") & (table["metric"] == "auprc/mean")]
    assert set(levels["name"]) == {"dense", "dense retrained", "untrained", "rotated", "shuffled"}
    said = table[table["kind"] == "said"]
    assert len(said) == 6 and said["p"].between(0, 1).all()
    figure = SCORES.draw(table)
    assert len(figure.axes) == 6
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert any(title.startswith("rises: +0.") for title in titles)


def test_rank_correlations_are_spearmans_within_layers(made):
    units = made.units.copy()
    units["auprc"] = -(units["monosemanticity"] ** 3) + units["layer"].map(len) * 100
    table = AGREEMENT.data(dataclasses.replace(made, units=units))
    pairs = table[table["kind"] == "pair"]
    inverse = (pairs["first"] == "monosemanticity") & (pairs["second"] == "auprc")
    assert pairs.loc[inverse, "value"].tolist() == pytest.approx([-1] * inverse.sum())
    assert set(pairs["name"]) == {"dense", "unstructured 0.9"}  # of the other too few are left
    assert pairs.loc[~inverse, "value"].abs().max() < 0.5
    apart = table[table["kind"] == "unit"]
    assert apart["value"].is_monotonic_decreasing and len(apart) == 20
    figure = AGREEMENT.draw(table)
    assert len(figure.axes[0].get_yticklabels()) == 3

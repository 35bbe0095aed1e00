"""The unit of a class beside the accuracy of the class: planted tables, and intervals whose truth
is known."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from report_frames import CLASSES, answered, synthetic
from scipy.stats import spearmanr

from sweeps.report.sections.class_units import CLASS_UNITS
from sweeps.report.statistics.class_units import class_units, relation

N_CLASSES = 4
NOTHING = pd.DataFrame({"key": [], "label": []})


def units(**changes):
    """A hidden layer of six units, and the outputs."""
    table = pd.DataFrame(
        {
            "layer": ["hidden"] * 6 + ["fc"] * N_CLASSES,
            "channel": [*range(6), *range(N_CLASSES)],
            "state": "alive",
            "counted": [True] * 6 + [False] * N_CLASSES,
            "mis": [0.1] * 6 + [0.5, 0.6, 0.7, 0.8],
            "dense_mis": [0.1] * 6 + [0.5, 0.5, 0.9, 0.9],
        }
    )
    return table.assign(**changes)


def answers(right):
    """Ten images per class, so many of which are taken for their class."""
    rows = [
        {"class": f"c{k}", "truth": k, "answer_1": k if i < right[k] else (k + 1) % 4, "dense": k}
        for k in range(N_CLASSES)
        for i in range(10)
    ]
    return pd.DataFrame(rows).sample(frac=1, random_state=0)


def test_each_class_has_its_own_unit_and_its_own_accuracy():
    table = class_units(units(), answers([3, 10, 0, 5]))
    assert table["class"].tolist() == ["c0", "c1", "c2", "c3"]
    assert table["accuracy"].tolist() == [0.3, 1.0, 0.0, 0.5]
    assert table["mis"].tolist() == [0.5, 0.6, 0.7, 0.8]
    assert table["dense_mis"].tolist() == [0.5, 0.5, 0.9, 0.9]
    assert (table["dense_accuracy"] == 1).all() and (table["images"] == 10).all()


def test_a_class_whose_unit_has_no_score_is_left_out():
    dead = units(state=["alive"] * 8 + ["dead", "alive"])
    assert class_units(dead, answers([1, 2, 3, 4]))["class"].tolist() == ["c0", "c1", "c3"]
    assert class_units(dead, answers([1, 2, 3, 4]))["channel"].tolist() == [0, 1, 3]


def test_a_last_layer_that_is_not_of_the_classes_tells_nothing():
    few = units()
    assert class_units(few[few["layer"] == "hidden"].head(2), answers([1, 2, 3, 4])).empty
    assert class_units(few.head(0), answers([1, 2, 3, 4])).empty
    assert relation([[(np.arange(4.0), np.arange(4.0))]]) is None
    assert relation([[(np.arange(9.0), np.ones(9))]]) is None


def test_a_perfect_order_is_one_and_one_of_several_trainings_is_their_mean():
    x = np.arange(9.0)
    assert relation([[(x, x**3)]]).value == pytest.approx(1)
    assert relation([[(x, -x)]]).value == pytest.approx(-1)
    several = relation(
        [[pair] for pair in ((x, x), (x, -x), (x, x), (np.where(x > 0, np.nan, x), x))]
    )
    assert several.value == pytest.approx(1 / 3) and several.n == 3
    assert several.over == "trainings"


def _pairs(random, rho, n_trainings, n_classes=30):
    """Of a normal pair of correlation r Spearman's is 6 / pi asin(r / 2): trainings share it."""
    r = 2 * np.sin(np.pi * rho / 6)
    x = random.standard_normal((n_trainings, n_classes))
    y = r * x + np.sqrt(1 - r**2) * random.standard_normal((n_trainings, n_classes))
    return [[pair] for pair in zip(x, y, strict=True)]


@pytest.mark.parametrize("n_trainings", [1, 3, 5])
@pytest.mark.parametrize("rho", [0.0, 0.5])
def test_the_interval_covers_what_is_true(rho, n_trainings):
    random = np.random.default_rng(7)
    found = [relation(_pairs(random, rho, n_trainings)) for _ in range(600)]
    covered = np.mean([each.low <= rho <= each.high for each in found])
    assert 0.92 <= covered <= 0.98


def test_trials_that_share_a_dense_network_are_one_training():
    x, random = np.arange(30.0), np.random.default_rng(3)
    of_one = [(x, x + 9 * random.standard_normal(30)) for _ in range(6)]
    mean = np.mean([spearmanr(*pair).statistic for pair in of_one])
    alone = relation([of_one])
    assert alone.over == "classes" and alone.n == 30 and alone.value == pytest.approx(mean)
    assert alone.high - alone.low > 0.2  # six draws of one network do not make it narrow
    three = relation([of_one, of_one[:1], of_one[:1]])
    assert three.n == 3 and three.over == "trainings"
    first = spearmanr(*of_one[0]).statistic
    assert three.value == pytest.approx((mean + 2 * first) / 3)


@pytest.fixture(scope="module")
def frames():
    """The output layer is there, its MIS the higher the more accurate the class is, in all."""
    made = answered(
        synthetic(methods=("unstructured", "structured"), rates=(0.5, 0.9), seeds=(0, 1, 2))
    )
    answers = made.predictions
    right = answers["answer_1"] == answers["truth"]
    accuracy = right.groupby([answers["key"], answers["truth"]], sort=False).mean()
    labels = answers.drop_duplicates("key").set_index("key")["label"]
    outputs = pd.DataFrame(
        {"layer": "fc", "channel": k, "state": "alive", "mis": 0.5 + 0.4 * value}
        | {"counted": False, "key": key, "label": labels[key], "dense_mis": 0.7}
        for (key, k), value in accuracy.items()
    )
    hidden = made.units[made.units["layer"] != "fc"]
    return dataclasses.replace(made, units=pd.concat([hidden, outputs], ignore_index=True))


def test_the_section_tells_the_relation_that_was_planted(frames):
    table = CLASS_UNITS.data(frames)
    relations = table[table["kind"] == "relation"]
    across = relations[relations["metric"] == "rank correlation"]
    assert np.allclose(across["value"], 1) and (across["over"] == "trainings").all()
    assert (across["name"] == "dense").sum() == 1
    assert set(across["hue"]) == {"", "unstructured", "structured"}
    classes = table[table["kind"] == "class"]
    assert len(classes) == 3 * len(CLASSES)  # of three dense networks
    assert np.allclose(classes["mis"], 0.5 + 0.4 * classes["value"])
    assert CLASS_UNITS.draw(table).axes


def test_seeds_of_one_given_network_are_no_trainings(frames):
    given = frames.trials.assign(**{"network.weights": "imagenet"})
    table = CLASS_UNITS.data(dataclasses.replace(frames, trials=given))
    relations = table[table["kind"] == "relation"]
    assert len(relations) and (relations["over"] == "classes").all()
    assert (relations["n"] == len(CLASSES)).all()


def test_the_changes_are_correlated_by_themselves(frames):
    table = CLASS_UNITS.data(frames)
    changes = table[table["metric"] == "rank correlation of changes"]
    for row in changes.to_dict("records"):
        found = []
        for key in row["keys"].split(","):
            answers = frames.predictions[frames.predictions["key"] == key]
            own, dense = (
                (answers[name] == answers["truth"]).groupby(answers["truth"]).mean()
                for name in ("answer_1", "dense")
            )
            found.append(spearmanr(0.4 * own, own - dense).statistic)
        assert row["value"] == pytest.approx(np.nanmean(found))


def test_without_answers_or_outputs_it_says_so(frames):
    assert isinstance(CLASS_UNITS.data(dataclasses.replace(frames, predictions=NOTHING)), str)
    hidden = frames.units[frames.units["layer"] != "fc"]
    assert isinstance(CLASS_UNITS.data(dataclasses.replace(frames, units=hidden)), str)

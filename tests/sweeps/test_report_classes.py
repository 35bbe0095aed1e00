"""What networks answer, in a report: against exact twins of the tests, and which class pays."""

import dataclasses
import io
import itertools
import math

import numpy as np
import pandas as pd
import pytest
from report_frames import CLASSES as NAMES
from report_frames import PAYS, answered, log_sweep, synthetic
from rich.console import Console
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

from sweeps.report import load, report_study
from sweeps.report.sections.answers import ANSWERS
from sweeps.report.sections.classes import CLASSES
from sweeps.report.sections.series import Series, is_of_recipe
from sweeps.report.statistics.classes import (
    class_changes,
    corrected,
    paired_interval,
    sign_flip_p,
    wilson,
)


def table(truth, answer, dense, images="0a", names=NAMES):
    codes = np.asarray(truth)
    return pd.DataFrame(
        {
            "images": images,
            "class": pd.Categorical.from_codes(codes, categories=pd.Index(names)),
            "truth": codes,
            "answer_1": answer,
            "dense": dense,
        }
    )


def test_wilson_is_that_of_statsmodels():
    for right, n in ((0, 7), (3, 7), (7, 7), (40, 50)):
        assert wilson(right / n, n) == pytest.approx(proportion_confint(right, n, method="wilson"))


def test_of_one_training_the_test_is_mcnemars_exact_one():
    for gained, lost in ((0, 0), (1, 5), (9, 2), (30, 31)):
        changes = np.array([1] * gained + [-1] * lost + [0] * 10)
        exact = mcnemar([[10, lost], [gained, 0]], exact=True).pvalue
        assert sign_flip_p(changes) == pytest.approx(exact, abs=1e-12)


def test_of_several_trainings_every_sign_is_turned():
    changes = np.array([2, -1, 3, 3, -1, 0, -2, 1])
    moved = changes[changes != 0]
    sums = [abs(np.dot(signs, moved)) for signs in itertools.product((-1, 1), repeat=len(moved))]
    expected = np.mean(np.array(sums) >= abs(changes.sum()))
    assert sign_flip_p(changes) == pytest.approx(expected, abs=1e-12)


def test_the_interval_of_a_class_holds_its_change_as_often_as_it_says():
    random, held = np.random.default_rng(0), 0
    for _ in range(3_000):
        changes = random.choice([-1, 0, 1], 40, p=[0.15, 0.8, 0.05])
        low, high = paired_interval(changes)
        held += low < -0.1 < high
    assert 0.94 < held / 3_000 < 0.985  # Agresti & Min's is a little wide
    low, high = paired_interval(np.zeros(50))
    assert low < 0 < high  # no change that was seen is no proof of none


def test_changes_are_those_of_a_loop_over_images_and_trainings():
    random = np.random.default_rng(1)
    truth = random.integers(0, 3, 60)
    draws = [(random.integers(0, 3, 60), random.integers(0, 3, 60)) for _ in range(2)]
    found = class_changes([table(truth, a, d) for a, d in draws])
    for number, each in enumerate(found):
        images = [i for i in range(60) if truth[i] == number]
        right = [np.mean([float(a[i] == truth[i]) for a, _ in draws]) for i in images]
        before = [np.mean([float(d[i] == truth[i]) for _, d in draws]) for i in images]
        assert (each.name, each.images, each.trainings) == (NAMES[number], len(images), 2)
        assert each.accuracy == pytest.approx(np.mean(right))
        assert each.dense == pytest.approx(np.mean(before))
        assert each.change == pytest.approx(np.mean(right) - np.mean(before))
        agreed = np.mean([a[i] == d[i] for i in images for a, d in draws])
        assert each.agreement == pytest.approx(agreed)


def test_trainings_that_saw_other_images_have_more_of_them():
    truth = np.array([0, 1, 0, 1])
    one, other = (table(truth, truth, 1 - truth, images) for images in ("0a", "0b"))
    assert [each.images for each in class_changes([one, one])] == [2, 2]
    assert [each.images for each in class_changes([one, other])] == [4, 4]


@pytest.mark.parametrize("net", ["nothing", "all alike"])
def test_classes_that_do_not_pay_are_seldom_said_to(net):
    """200 sweeps of 20 classes of 40 images. Where no class changes, though as many images are lost
    as gained, hardly any is said to; where all lose alike, hardly any to lose more."""
    random, wrong = np.random.default_rng(2), 0
    truth = np.repeat(np.arange(20), 40)
    names = [f"class {i}" for i in range(20)]
    for _ in range(200):
        busy = np.repeat(random.choice([0.05, 0.3], 20), 40)  # some classes are harder
        lost, gained = (busy, busy) if net == "nothing" else (0 * busy + 0.2, 0 * busy)
        dense = np.where(random.random(800) < 0.5, truth, -1)
        turned = random.random(800) < np.where(dense == truth, lost, gained)
        answer = np.where(turned, np.where(dense == truth, -1, truth), dense)
        (found,) = corrected([class_changes([table(truth, answer, dense, names=names)])])
        p = [each.p if net == "nothing" else each.p_rest for each in found]
        wrong += min(p) < 0.05
    assert wrong <= 18  # 10 expected


def frames(**changes):
    return answered(
        synthetic(methods=("structured", "unstructured"), rates=(0.25, 0.5, 0.9), channels=2,
                  stopped=False, **changes)
    )  # fmt: skip


def test_the_class_that_pays_is_found_and_named():
    made = frames(seeds=(0, 1))
    shown = CLASSES.data(made)
    said = shown[shown["kind"] == "said"]
    assert len(said) == 2
    rows = shown[(shown["kind"] == "class") & (shown["method"] == "structured")]
    paying = rows.set_index("name").loc[PAYS]
    assert paying["value"] == rows["value"].min() and paying["p"] < 0.05 > paying["p_rest"]
    assert f"({PAYS} {paying['value']:+.2f}" in said.set_index("method").loc["structured", "name"]
    assert (rows["n"] == 2).all() and (rows["images"] == 50).all()
    assert ((rows["low"] < rows["value"]) & (rows["value"] < rows["high"])).all()
    figure = CLASSES.draw(shown)
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()][0] == PAYS


def test_what_training_again_does_is_no_price_of_pruning():
    """Control and pruned networks lose the same class; beside the dense one it seems to pay."""
    made = frames()
    tables = made.predictions.copy()
    is_fox = tables["truth"] == NAMES.index(PAYS)
    again = tables["key"].isin(made.trials.loc[made.trials["retraining"] == "finetune", "key"])
    tables.loc[again, "answer_1"] = tables.loc[again, "dense"].astype("int16")
    tables.loc[again & is_fox, "answer_1"] = 0
    shown = CLASSES.data(dataclasses.replace(made, predictions=tables))
    rows = shown[shown["kind"] == "class"]
    assert (rows["value"] == 0).all() and (rows["p"] == 1).all()
    control = shown[(shown["kind"] == "control") & (shown["name"] == PAYS)]
    assert control["value"].iloc[0] < -0.5
    alone = made.trials[(made.trials["method"] != "dense") | (made.trials["retraining"] == "none")]
    beside = CLASSES.data(dataclasses.replace(made, predictions=tables, trials=alone))
    assert set(beside.loc[beside["kind"] == "class", "against"]) == {"dense"}
    assert beside.loc[beside["name"] == PAYS, "p"].max() < 0.05


def test_of_many_classes_both_ends_are_drawn():
    made = frames()
    more = pd.Index([f"class number {i}" for i in range(100)])
    tables = made.predictions.assign(truth=np.arange(len(made.predictions)) % 400 % 100)
    tables["class"] = pd.Categorical.from_codes(tables["truth"], categories=more)
    shown = CLASSES.data(dataclasses.replace(made, predictions=tables))
    assert len(shown[shown["kind"] == "class"]) == 200
    assert len(CLASSES.draw(shown).axes[0].get_yticklabels()) == 24


def test_sweeps_of_before_say_that_they_left_no_answers():
    assert "left no answers" in CLASSES.data(synthetic(channels=2))
    assert "not compared with their dense" in ANSWERS.data(synthetic(channels=2))


def test_agreement_is_over_sparsity_beside_that_of_another_training():
    made = frames(seeds=(0, 1))
    shown = ANSWERS.data(made)
    levels = shown[shown["kind"] == "level"].set_index("name")["value"]
    dense = made.trials[(made.trials["method"] == "dense") & (made.trials["retraining"] == "none")]
    one, other = (
        made.predictions.loc[made.predictions["key"] == key, "answer_1"].to_numpy()
        for key in dense["key"]
    )
    assert levels["another training"] == pytest.approx((one == other).mean())
    assert set(levels.index) == {"dense retrained", "another training"}
    chance = shown[shown["kind"] == "chance"]
    mean = dense["val/top1"].mean()
    assert chance["value"].iloc[0] == pytest.approx((1 - mean) / 7)
    assert chance["value"].iloc[-1] == pytest.approx(mean)
    assert len(ANSWERS.draw(shown).axes) == 2
    given = made.trials.assign(**{"network.weights": "imagenet"})  # seeds of one and the same
    levels = ANSWERS.data(dataclasses.replace(made, trials=given))
    assert "another training" not in set(levels.loc[levels["kind"] == "level", "name"])


def test_the_report_says_the_same_of_what_mlflow_holds(tmp_path, monkeypatch):
    """Both sections, computed again by loops over the files of the runs."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr("sweeps.report.page.sections.inline_svg", lambda *_: "<svg/>")
    monkeypatch.setattr("sweeps.report.page.sections.save_titled", lambda *_: None)
    made = frames(seeds=(0, 1))
    tracker = log_sweep(made, tmp_path / "results", tmp_path / "files")
    report_study(made.study, tmp_path / "results", None, Console(file=io.StringIO()))
    runs = {run.data.tags["trial_key"]: run for run in tracker.runs("trial", "FINISHED")}
    folder = tmp_path / "results" / "report" / made.study
    written = pd.read_csv(folder / "classes.csv")
    loaded = CLASSES.data(load(made.study, tmp_path / "results"))
    assert loaded.to_csv(index=False) == (folder / "classes.csv").read_text()

    def left(key):
        path = runs[key].info.artifact_uri.removeprefix("file://")
        return pd.read_parquet(f"{path}/predictions.parquet")

    controls = {
        run.data.params["seed"]: key
        for key, run in runs.items()
        if (run.data.params["method"], run.data.params["retraining"]) == ("dense", "finetune")
    }
    assert set(written.loc[written["kind"] == "class", "against"]) == {"dense retrained"}
    p_alone = {}
    for row in written[written["kind"] == "class"].to_dict("records"):
        changes = []
        for key in row["keys"].split(","):
            own, other = left(key), left(controls[runs[key].data.params["seed"]])
            own, other = (each[each["class"] == row["name"]] for each in (own, other))
            right, before = own["answer_1"] == own["truth"], other["answer_1"] == own["truth"]
            changes.append((right.astype(int) - before).to_numpy())
        assert row["value"] == pytest.approx(np.mean(changes))
        interval = proportion_confint(row["accuracy"] * 50, 50, method="wilson")
        assert (row["accuracy_low"], row["accuracy_high"]) == pytest.approx(interval)
        p_alone[row["method"], row["name"]] = (sign_flip_p(np.sum(changes, 0)), row["p"])
    alone = sorted(p_alone.values())
    worst = 0.0  # Holm by hand
    for place, (p, said) in enumerate(alone):
        worst = max(worst, min(1.0, p * (len(alone) - place)))
        assert said == pytest.approx(worst)
    answers = pd.read_csv(folder / "answers.csv")
    for row in answers[answers["kind"] == "mean"].to_dict("records"):
        shares = [(t["answer_1"] == t["dense"]).mean() for t in map(left, row["keys"].split(","))]
        assert row["value"] == pytest.approx(np.mean(shares))
    assert not math.isnan(answers["value"].sum())


def test_a_control_of_another_learning_rate_is_no_control():
    series = Series("l1", "m", "one_shot", "l1", "finetune", "", True, pd.DataFrame())
    fine = dataclasses.replace(series, recipe="3 epochs, sgd 0.0015, held")
    assert is_of_recipe(fine, "3 epochs, sgd 0.0015") and not is_of_recipe(
        fine, "3 epochs, sgd 0.001"
    )
    assert is_of_recipe(dataclasses.replace(series, recipe="3 epochs, sgd 0.001"),
                        "3 epochs, sgd 0.001")  # fmt: skip

"""The section on how many images a criterion needs: means, intervals, and what is paired."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from report_frames import synthetic, trial_as_pruned
from scipy import stats

from sweeps.report.sections.few_images import FEW_IMAGES

SEEDS, IMAGES, RATE = (0, 1, 2, 3), ("1", "10", "50"), 0.2


def trials(**changes):
    random = np.random.default_rng(0)
    rows = [trial_as_pruned("random", "10", seed, random.random()) for seed in SEEDS]
    rows.append(trial_as_pruned("l1", "10", 0, 0.5))
    for name in ("lrp", "taylor"):
        for seed in SEEDS:
            for images in IMAGES:
                rows.append(trial_as_pruned(name, images, seed, random.random()))
                counts = {"prune.counts_of": name}
                rows.append(trial_as_pruned("random", images, seed, random.random(), **counts))
            turned = {"most_important_first": "True", "key": f"turned{name}{seed}"}
            rows.append(trial_as_pruned(name, "10", seed, 0.0, **turned))
    for seed in SEEDS:
        rows.append(
            trial_as_pruned("random", "10", seed, random.random(), **{"prune.counts_of": "l1"})
        )
    dense = {"method": "dense", "rate": 0.0, "key": "dense"}
    return pd.DataFrame([*rows, trial_as_pruned("none", "10", 0, 0.8, **dense)]).assign(**changes)


@pytest.fixture(scope="module")
def frames():
    return synthetic(methods=("structured_global",), rates=(RATE,), channels=1, dissected=False)


def of(frames, **changes):
    return FEW_IMAGES.data(dataclasses.replace(frames, trials=trials(**changes)))


def test_what_one_training_says_is_not_set_against_other_trainings(frames):
    """L1 looks at no image: of one given network it stands for all draws, of trained ones for its
    own training alone."""
    for weights, n in (("imagenet", len(SEEDS)), ("train", 1)):
        table = of(frames, **{"network.weights": weights})
        less = table[(table["kind"] == "less") & (table["name"] == "l1")]
        assert less["n"].tolist() == [n], weights


def test_lines_and_differences_are_of_the_seeds(frames):
    table, there = of(frames), trials()
    there = there[there["most_important_first"].isna()].astype({"seed": int})
    for name in ("lrp", "taylor"):
        for images in IMAGES:
            own = there[(there["criterion"] == name)]
            own = own[own["prune.samples_per_class"] == images].sort_values("seed")["val/top1"]
            beside = there[there["prune.counts_of"] == name]
            beside = beside[beside["prune.samples_per_class"] == images]
            beside = beside.sort_values("seed")["val/top1"]
            rows = table[(table["name"] == name) & (table["images"] == float(images))]
            for kind, values in (("mean", own), ("less", own.to_numpy() - beside.to_numpy())):
                row = rows[(rows["kind"] == kind) & (rows["arm"] == "own")].iloc[0]
                interval = stats.ttest_1samp(values, 0).confidence_interval(0.95)
                assert row["value"] == pytest.approx(np.mean(values))
                assert (row["low"], row["high"]) == pytest.approx(tuple(interval))
                assert row["n"] == len(SEEDS) and row["over"] == "draws"
    assert table.loc[table["name"] == "dense", "value"].tolist() == [0.8]
    assert not table["keys"].str.contains("turned").any()
    FEW_IMAGES.draw(table)


def test_what_looks_at_no_image_is_a_level_and_is_compared_with_its_own_chance(frames):
    table, there = of(frames), trials()
    l1 = table[table["name"] == "l1"]
    assert set(l1["kind"]) == {"level", "less"} and (l1["images"] == 0).all()
    beside = there.loc[there["prune.counts_of"] == "l1", "val/top1"]
    less = l1[l1["kind"] == "less"]["value"].item()
    assert less == pytest.approx(0.5 - beside.mean())


def test_trained_networks_are_trainings_and_not_draws(frames):
    table = of(frames, **{"network.weights": "train"})
    assert set(table["over"].dropna()) - {""} == {"trainings"}


def test_nothing_is_drawn_where_images_do_not_differ(frames):
    assert "looked at different numbers" in of(frames, **{"prune.samples_per_class": "10"})
    assert "looked at different numbers" in of(frames, retraining="finetune")

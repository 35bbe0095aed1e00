"""The section of what each round of pruning leaves."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from report_frames import synthetic, trial_as_pruned
from scipy import stats

from sweeps.report.sections.rounds import ROUNDS

SEEDS = (0, 1, 2)


@pytest.fixture(scope="module")
def frames():
    made = synthetic(methods=("structured_global",), rates=(0.2,), channels=1, dissected=False)
    random = np.random.default_rng(0)
    dense = {"cost/params_dense": 1000.0, "cost/macs_dense": 4000.0}
    trials, ends = [], []
    for retraining in ("none", "finetune"):
        for criterion, counts_of in (("lrp", "None"), ("random", "None"), ("random", "lrp")):
            for seed in SEEDS:
                key = f"{retraining}{criterion}{counts_of}{seed}"
                more = {"prune.counts_of": counts_of, "retraining": retraining, "key": key}
                trials.append(trial_as_pruned(criterion, "10", seed, 0.5, **more) | dense)
                for round_ in (1, 2):
                    ends.append(
                        {
                            **{"key": key, "label": key, "round": float(round_)},
                            **{"n_groups": 100.0, "n_kept": 100.0 - 10 * round_},
                            "cost/params": 1000.0 - 100 * round_ - seed,
                            "cost/macs": 4000.0 - 800 * round_,
                            "val/top1": random.random(),
                        }
                    )
    for retraining, top1 in (("none", 0.8), ("finetune", 0.7)):
        said = {"method": "dense", "rate": 0.0, "retraining": retraining, "key": retraining}
        trials.append(trial_as_pruned("none", "10", 0, top1, **said) | dense)
    return dataclasses.replace(made, trials=pd.DataFrame(trials), rounds=pd.DataFrame(ends))


def test_lines_are_means_over_seeds_against_what_is_left(frames):
    table = ROUNDS.data(frames)
    ends = frames.rounds.assign(seed=frames.rounds["key"].str[-1].astype(int))
    for arm, key in (("own", "nonelrpNone"), ("within", "nonerandomlrp")):
        rows = table[(table["arm"] == arm) & (table["name"] == "lrp")]
        for round_ in (1, 2):
            here = ends[ends["key"].str.startswith(key) & (ends["round"] == round_)]
            interval = stats.ttest_1samp(here["val/top1"], 0).confidence_interval(0.95)
            found = rows[(rows["retraining"] == "none") & (rows["round"] == round_)]
            left = {"kept": 1 - 0.1 * round_, "macs": 1 - 0.2 * round_}
            left["params"] = 1 - 0.1 * round_ - 0.001
            assert dict(zip(found["of"], found["left"], strict=True)) == pytest.approx(left)
            assert found["value"].tolist() == pytest.approx([here["val/top1"].mean()] * 3)
            assert found["low"].tolist() == pytest.approx([interval.low] * 3)
            assert found["high"].tolist() == pytest.approx([interval.high] * 3)
    levels = table[table["kind"] == "level"]
    assert dict(zip(levels["retraining"], levels["value"], strict=True)) == {
        "none": 0.8,
        "finetune": 0.7,
    }
    ROUNDS.draw(table)


def test_schedules_recipes_and_rates_are_lines_of_their_own(frames):
    first = frames.trials.iloc[0]["key"]
    other = frames.trials.assign(
        rate=frames.trials["rate"].mask(frames.trials["key"] == first, 0.9)
    )
    table = ROUNDS.data(dataclasses.replace(frames, trials=other))
    mine = table[table["keys"].fillna("").str.split(",").map(lambda keys: first in keys)]
    assert len(mine) and (mine["n"] == 1).all() and set(mine["rate"]) == {0.9}
    ROUNDS.draw(table)


def test_a_sweep_without_rounds_says_so(frames):
    said = ROUNDS.data(dataclasses.replace(frames, rounds=pd.DataFrame({"key": [], "label": []})))
    assert said == "No trial of this sweep prunes in several rounds."

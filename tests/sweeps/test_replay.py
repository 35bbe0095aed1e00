"""Stopping replayed on recorded curves whose best is known; configs read back from their files."""

import dataclasses
import itertools
import json

import numpy as np
import pandas as pd
import pytest
from report_frames import synthetic
from small_studies import small_base

from benchmarks.replay import Recorded, config_of, replay, replay_table
from sweeps.plan.rungs import Stopping
from sweeps.plan.strata import QUESTION
from sweeps.plan.sweep import methods
from sweeps.studies import load_study
from trainables.config import TrainConfig
from trainables.fields import flat


@pytest.mark.parametrize("study", ["demo", "paper"])
def test_a_config_is_read_back_from_its_file(study):
    for config in load_study(study).expand()[::10]:
        assert config_of(json.loads(json.dumps(flat(config)))) == config


@pytest.fixture(scope="module")
def recorded():
    """Three methods at two rates by four recipes: the best recipe, and method, are known."""
    base = small_base(finetune=TrainConfig(epochs=9))
    random, configs, values, rows = np.random.default_rng(0), {}, {}, []
    places = itertools.product(
        enumerate(methods("unstructured", "structured", "connection").items()),
        (0.5, 0.9),
        (0.1, 0.2, 0.3, 0.4),
    )
    for (place, (method, points)), rate, lr in places:
        config = base.replace({**points, "prune.rate": rate, "finetune.lr": lr})
        top1 = 0.9 - 0.5 * rate - 0.1 * place + lr / 10
        configs[config.key] = config
        values[config.key] = tuple(top1 - 0.1 / epoch for epoch in range(1, 10))
        rows.append(
            {
                **{"key": config.key, "method": method, "rate": rate, "criterion": "l1"},
                **{"schedule": "one_shot", "retraining": "finetune", "recipe": f"lr {lr}"},
                **{"seed": 0, "outcome": "completed", "label": f"{method} {rate} {lr}"},
                "prune/sparsity": rate,
                "val/top1": values[config.key][-1],
                "mis/mean": 0.6 - 0.1 * rate + random.normal(0, 0.001),
                "mis/change": -0.1 * rate + random.normal(0, 0.001),
            }
        )
    frames = dataclasses.replace(synthetic(rates=(0.5,), channels=1), trials=pd.DataFrame(rows))
    return Recorded(frames, configs, values, QUESTION)


def test_nothing_is_saved_or_lost_where_nothing_is_stopped(recorded):
    none = replay(recorded, None, 4)
    assert (none.saved, none.n_stopped, none.given_away) == (0, 0, 0)
    assert none.pairs_left == none.pairs == 2 * 3  # of three methods at each of two rates
    assert none.primary_same and not none.changed


def test_the_question_keeps_every_comparison_and_the_best_of_each_arm(recorded):
    found = replay(recorded, Stopping(), 24)
    assert found.saved > 0.35 and found.n_stopped >= 6 * 2
    assert found.pairs_left == found.pairs == 6 and found.given_away == 0
    assert found.primary_same


def test_for_the_best_whole_methods_go(recorded):
    found = replay(recorded, Stopping(best=True), 24)
    assert found.saved > replay(recorded, Stopping(), 24).saved
    assert found.pairs_left < found.pairs and found.given_away == 0


def test_the_table_has_a_row_per_rule(recorded):
    table = replay_table(recorded, 4)
    assert table.row_count == 5
    assert list(table.columns[0].cells)[:2] == ["none", "STOP=1, warm-up 1"]

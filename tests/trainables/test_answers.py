"""What a network answers to each image: the table against loops, its size, and that of a trial."""

import numpy as np
import pandas as pd
import pytest
import torch
from small_studies import small_base

from trainables.artifacts import PREDICTIONS
from trainables.datasets.loading import load_data
from trainables.training.answers import answers_table
from trainables.training.dense import train_dense
from trainables.training.validation import Validation
from trainables.trial import Trial, run_trial
from trainables.workspace import Workspace

NAMES = ("cat", "dog", "fox", "cat", "emu", "owl", "bee")


def drawn(n, n_classes, seed=0):
    draw = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, n_classes, generator=draw)
    return logits, torch.randint(n_classes, (n,), generator=draw)


def test_the_table_is_that_of_a_loop_over_images():
    logits, labels = drawn(50, 7)
    logits[3] = 0  # a network that has collapsed: of equal ones the lower number
    table = answers_table(logits, labels, NAMES, "0a", dense=labels.roll(1))
    for image, row in enumerate(table.to_dict("records")):
        exact = logits[image].double().exp()
        order = sorted(range(7), key=lambda c: (-float(exact[c]), c))[:5]
        assert [row[f"answer_{i}"] for i in range(1, 6)] == order
        wanted = [float(exact[c] / exact.sum()) for c in order]
        assert [row[f"probability_{i}"] for i in range(1, 6)] == pytest.approx(wanted, rel=1e-6)
        label = int(labels[image])
        assert row["truth"] == label and row["dense"] == int(labels[image - 1])
        assert row["class"] == (f"cat ({label})" if NAMES[label] == "cat" else NAMES[label])
    assert (table["answer_1"].to_numpy() == logits.argmax(1).numpy()).all()


def test_few_classes_have_fewer_columns_and_many_have_room():
    few = answers_table(*drawn(9, 3), NAMES[:3], "0a")
    assert list(few) == [
        *("images", "class", "truth"),
        *(f"{what}_{i}" for what in ("answer", "probability") for i in (1, 2, 3)),
    ]
    assert few["answer_1"].dtype == np.int16
    many = answers_table(*drawn(2, 40_000), [str(i) for i in range(40_000)], "0a")
    assert many["answer_5"].dtype == np.int32


def test_the_file_of_50_000_images_stays_small(tmp_path):
    labels = torch.arange(50_000) % 100
    logits = torch.randn(50_000, 100, generator=torch.Generator().manual_seed(1))
    names = [f"class {i}" for i in range(100)]
    table = answers_table(logits, labels, names, "0a", labels)
    table.to_parquet(tmp_path / "x.parquet", index=False)
    assert (tmp_path / "x.parquet").stat().st_size < 2e6


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    workspace = Workspace(tmp_path_factory.mktemp("results"))
    config = small_base()
    train_dense(config, load_data(config.data, workspace.cache), workspace.cache)
    return workspace


def test_a_trial_leaves_its_answers_and_its_metrics_are_computed_again_from_them(workspace):
    config = small_base(**{"prune.rate": 0.5})
    result = run_trial(config, workspace)
    table = pd.read_parquet(result.folder / PREDICTIONS)
    right = table["answer_1"] == table["truth"]
    assert len(table) == 60 and right.mean() == pytest.approx(result.metrics["val/top1"])
    tops = [table[f"answer_{i}"] == table["truth"] for i in range(1, 6)]
    assert np.mean(np.any(tops, axis=0)) == pytest.approx(result.metrics["val/top5"])
    agreed = (table["answer_1"] == table["dense"]).mean()
    assert agreed == pytest.approx(result.metrics["val/agreement"])
    change = (right.astype(int) - (table["dense"] == table["truth"])).mean()
    assert change == pytest.approx(result.metrics["val/top1_change"])
    dense = run_trial(config.replace({"prune": None, "finetune": None}), workspace)
    own = pd.read_parquet(dense.folder / PREDICTIONS)
    assert "dense" not in own
    np.testing.assert_array_equal(own["answer_1"], table["dense"])


def test_of_images_there_is_one_pass_and_a_trial_that_goes_on_at_its_end_has_its_answers(
    workspace, monkeypatch
):
    config, passes = small_base(**{"prune.rate": 0.5}), []
    logits_of = Validation._logits
    monkeypatch.setattr(
        Validation, "_logits", lambda self, net: passes.append(1) or logits_of(self, net)
    )
    trial = Trial(config, workspace)
    trial.epoch()
    trial.save()
    first = pd.read_parquet(trial.finish().folder / PREDICTIONS)
    assert len(passes) == 1  # the dense network's answers are in the cache
    again = Trial(config, workspace)
    assert again.resume() and again.trained
    pd.testing.assert_frame_equal(pd.read_parquet(again.finish().folder / PREDICTIONS), first)


def test_a_class_whose_name_is_no_text_is_told_by_its_bytes(tmp_path):
    name = b"caf\xe9".decode(errors="surrogateescape")
    table = answers_table(*drawn(9, 3), [name, "tea", "a\nb"], "0a")
    table.to_parquet(tmp_path / "x.parquet")
    assert set(pd.read_parquet(tmp_path / "x.parquet")["class"]) <= {"caf\\udce9", "tea", "a\\nb"}

"""What is noted at the end of each round, and the epochs that the last of them has more."""

import copy
from dataclasses import replace

import pandas as pd
import pytest
import torch
from networks_for_tests import tiny_inception
from small_studies import computed, small_base
from torch import nn

from pruning import prunable_weights
from trainables.artifacts import MASKS, ROUNDS
from trainables.config import PruneConfig, TrainConfig
from trainables.networks import count_cost
from trainables.rounds.ends import end_row
from trainables.rounds.pruned import PrunedNetwork
from trainables.training.validation import Validation
from trainables.trial import Trial, run_trial

PRUNE = PruneConfig(
    granularity="filter", criterion="l1", schedule="linear", rounds=3, rate=0.6, normalise="l1"
)
RECIPE = TrainConfig(epochs=1, last_epochs=2, batch_size=32, lr_schedule="cosine")


def test_epochs_belong_to_rounds_and_the_last_has_more():
    config = small_base(prune=PRUNE, finetune=TrainConfig(epochs=2, last_epochs=3))
    assert config.n_epochs == 9
    where = [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1), (2, 2), (2, 3), (2, 4)]
    assert [config.round_of(epoch) for epoch in range(9)] == where
    assert [done for done in range(10) if config.ends_round(done)] == [0, 2, 4, 9]
    alone = small_base(prune=None, finetune=TrainConfig(epochs=2))
    assert [done for done in range(3) if alone.ends_round(done)] == [0, 2]


def test_more_epochs_are_refused_where_there_are_no_rounds():
    with pytest.raises(ValueError, match=r"finetune.last_epochs must be left alone \(at 0\)"):
        small_base(finetune=RECIPE)
    with pytest.raises(ValueError, match="network.recipe.last_epochs must be left alone"):
        small_base(**{"network.recipe.last_epochs": 1})


@pytest.mark.slow
@pytest.mark.parametrize("finetune", [RECIPE, None])
def test_every_round_leaves_its_accuracy_and_its_costs(finetune, workspace):
    config = small_base(prune=PRUNE, finetune=finetune)
    result = run_trial(config, workspace)
    rows = pd.read_parquet(result.folder / ROUNDS)
    assert rows["round"].tolist() == [1, 2, 3]
    n = rows["n_groups"].iloc[0]
    assert rows["n_kept"].tolist() == [n - int(n * rate) for rate in (0.2, 0.4, 0.6)]
    for metric in ("cost/params", "cost/macs", "val/top1"):
        assert rows[metric].iloc[-1] == result.metrics[metric]
    assert rows["cost/macs"].is_monotonic_decreasing
    if finetune is None:
        return
    epochs = pd.read_parquet(result.folder / "epochs.parquet")
    assert epochs["round"].tolist() == [1, 2, 3, 3, 3]
    assert epochs.loc[[0, 1, 4], "val/top1"].tolist() == rows["val/top1"].tolist()
    # Broken off within the last round, and gone on with.
    broken = Trial(config, workspace)
    for _ in range(4):
        broken.epoch()
    broken.save()
    again = Trial(config, workspace)
    assert again.resume() and again.n_begun == 3
    while not again.trained:
        again.epoch()
    whole = pytest.approx(computed(result.metrics), abs=0, rel=0, nan_ok=True)
    assert computed(again.finish().metrics) == whole
    pd.testing.assert_frame_equal(pd.DataFrame(again.ends), rows)


@pytest.fixture
def evaluated(monkeypatch):
    """The statistics of BatchNorm of each network that a trial evaluates, in turn."""
    seen = []

    def noted(real):
        def wrapper(self, network):
            seen.append({n: b.clone() for n, b in network.named_buffers() if "running" in n})
            return real(self, network)

        return wrapper

    for name in ("of_all", "after_epoch"):
        monkeypatch.setattr(Validation, name, noted(getattr(Validation, name)))
    return seen


@pytest.mark.parametrize("granularity", ["filter", "weight"])
def test_rounds_without_training_are_seen_with_their_statistics_estimated_anew(
    granularity, workspace, evaluated
):
    by_images = {"criterion": "taylor", "samples_per_class": 2}
    prune = replace(PRUNE, granularity=granularity, rounds=2, **by_images)
    config = small_base(prune=prune, finetune=None)
    stale, again = (
        run_trial(config.replace(c), workspace) for c in ({}, {"recalibrate_images": 64})
    )
    seen = {r: pd.read_parquet(each.folder / ROUNDS) for r, each in enumerate((stale, again))}
    assert seen[1]["val/top1"].iloc[-1] == again.metrics["val/top1"]
    # What the first round ends with is what a trial of that round alone would have.
    alone = replace(prune, rounds=1, schedule="one_shot", rate=0.3)
    first = run_trial(config.replace({"prune": alone, "recalibrate_images": 64}), workspace)
    assert seen[1]["val/top1"].iloc[0] == first.metrics["val/top1"]
    of_stale, of_again, of_first = evaluated[:2], evaluated[2:4], evaluated[4]
    assert all(torch.equal(of_again[0][name], of_first[name]) for name in of_first)
    for old, new in zip(of_stale, of_again, strict=True):
        assert all(not torch.equal(old[name], new[name]) for name in new)
    # And what the rounds after it take does not depend on it.
    kept, kept_again = (torch.load(each.folder / MASKS) for each in (stale, again))
    assert all(torch.equal(keep, kept_again[name]) for name, keep in kept.items())


def test_a_bias_that_follows_its_filter_counts_whether_a_trial_was_interrupted_or_not():
    prune = PruneConfig(granularity="weight", scope="layer", rate=0.5, biases=True)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(),
                            nn.Conv2d(8, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())  # fmt: skip
    pruned, again = (PrunedNetwork(copy.deepcopy(network), prune) for _ in range(2))
    groups = {name: torch.ones_like(w, dtype=torch.bool) for name, w in pruned.weights.items()}
    groups["2.weight"][3] = False  # a filter without a weight, its bias kept
    pruned.hold(groups)
    again.restore(pruned.keep)
    assert not pruned.groups["2.bias"][3]
    assert all(torch.equal(kept, again.groups[name]) for name, kept in pruned.groups.items())
    assert pruned.numbers() == again.numbers()


def test_costs_of_a_round_are_of_the_network_that_is_left():
    network = tiny_inception()
    pruned = PrunedNetwork(network, PRUNE)
    dense = end_row(pruned, 1, {"val/top1": 0.5, "loss": 1.0}, 32)
    assert dense["cost/params"] == count_cost(network, 32).params
    assert "loss" not in dense and dense["val/top1"] == 0.5
    groups = {
        name: weight.flatten(1).abs().sum(1) > 0
        for name, weight in prunable_weights(network).items()
    }
    for kept in groups.values():
        kept[: len(kept) // 2] = False
    pruned.hold(groups)
    row = end_row(pruned, 2, {}, 32)
    left = count_cost(pruned.compacted()[0], 32)
    assert (row["cost/params"], row["cost/macs"]) == (left.params, left.macs)
    assert row["cost/macs"] < dense["cost/macs"]
    assert row["n_kept"] == sum(int(k.sum()) for k in groups.values())

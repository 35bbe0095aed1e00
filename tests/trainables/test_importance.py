"""Scores of a trial: which images they see, and that they are computed once."""

import pytest
import torch
from small_studies import small_base

import trainables.rounds.importance
from pruning import CRITERIA
from trainables.datasets.loading import load_data
from trainables.rounds.importance import importance, samples
from trainables.rounds.pruned import PrunedNetwork
from trainables.training.dense import load_dense, train_dense
from trainables.workspace import Workspace

PRUNE = {"prune.granularity": "filter", "prune.scope": "global", "prune.samples_per_class": 2}


@pytest.fixture(scope="module")
def dense(tmp_path_factory):
    workspace = Workspace(tmp_path_factory.mktemp("results"))
    config = small_base()
    data = load_data(config.data, workspace.cache)
    train_dense(config, data, workspace.cache)
    return load_dense(config, data, workspace.cache).eval(), data, workspace.cache


def test_samples_are_of_every_class_and_nest(dense):
    _, data, _ = dense
    many, few = samples(data.train, 4, 0), samples(data.train, 1, 0)
    labels = data.train.labels
    assert torch.bincount(labels[many]).tolist() == [4] * 20
    assert torch.equal(many[:20], few)
    assert not torch.equal(few, samples(data.train, 1, 1))
    with pytest.raises(ValueError, match="samples_per_class must be at most .* has [45], got 6"):
        samples(data.train, 6, 0)


@pytest.mark.parametrize("criterion", [n for n, c in CRITERIA.items() if c.looks_at_images])
def test_all_rates_share_one_scoring(dense, criterion, monkeypatch):
    network, data, cache = dense
    raw = {"prune.criterion": criterion, "prune.normalise": "none", "finetune": None}
    config = small_base(**PRUNE, **raw)
    pruned = PrunedNetwork(network, config.prune)
    first = importance(pruned, config, data, cache, 0)
    assert all(score.dtype == torch.float64 for score in first.values())

    def never(*arguments, **more):
        raise AssertionError("scores of this checkpoint, criterion and samples are there")

    monkeypatch.setattr(trainables.rounds.importance, "importance_of_groups", never)
    other_rate = config.replace({"prune.rate": 0.9, "prune.scope": "layer"})
    again = importance(pruned, other_rate, data, cache, 0)
    assert all(torch.equal(again[name], first[name]) for name in first)
    normalised = importance(pruned, config.replace({"prune.normalise": "l2"}), data, cache, 0)
    norms = torch.stack([score.norm() for score in normalised.values()])
    torch.testing.assert_close(norms[norms > 0], torch.ones_like(norms[norms > 0]))
    if CRITERIA[criterion].usual_norm == "l2":  # which norm is the usual one in a global ranking
        usual = importance(pruned, config.replace({"prune.normalise": None}), data, cache, 0)
        assert all(torch.equal(usual[name], normalised[name]) for name in first)
        with pytest.raises(AssertionError):
            importance(pruned, config.replace({"prune.change_of": "logit"}), data, cache, 0)
    # What the scores depend on is scored anew: samples, criterion's choices, later rounds.
    for changed in (
        config.replace({"prune.samples_per_class": 1}),
        config.replace({"prune.granularity": "input_channel"}),
        config.replace({"seed": 1}),
    ):
        with pytest.raises(AssertionError):
            importance(pruned, changed, data, cache, 0)
    with pytest.raises(AssertionError):
        importance(pruned, config, data, cache, 1)

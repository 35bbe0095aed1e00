import dataclasses

import pandas as pd
import pytest
import torch
from small_studies import small_base
from torch import nn
from torchvision.models import googlenet

from pruning import n_pruned, prunable_weights
from trainables.artifacts import (
    CHECKPOINT,
    COMPACTED,
    EPOCHS,
    GALLERY,
    LAYERS,
    MASKS,
    NETWORK,
    PREDICTIONS,
    SHOWN,
    UNITS,
    UNITS_BY_ROUND,
)
from trainables.config import DissectionConfig, TrainConfig
from trainables.datasets.loading import load_data
from trainables.networks import load_compacted
from trainables.randomness import generator
from trainables.training.dense import load_dense
from trainables.training.evaluate import predict
from trainables.training.finetune import recalibrate
from trainables.training.spent import MEASURED
from trainables.trial import Trial, run_trial


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


def test_a_trial_ends_with_its_numbers_and_its_files(workspace):
    config = small_base(**{"prune.granularity": "filter", "prune.scope": "layer"})
    epochs = []
    result = run_trial(config, workspace, epochs.append)
    assert result.outcome == "completed"
    assert [m["epoch"] for m in epochs] == [1]
    wanted = {
        *("val/top1", "val/top5", "val/loss", "prune/sparsity", "prune/sparsity_network"),
        *("cost/params", "cost/macs", "mis/mean", "mis/median", "mis/task_accuracy"),
        *("mis/n_units", "mis/n_dead", "mis/inception4c.branch2.1/mean", "train/loss"),
    }
    assert wanted <= set(result.metrics)
    files = {path.name for path in result.folder.iterdir()}
    assert files == {
        *(CHECKPOINT, COMPACTED, EPOCHS, GALLERY, LAYERS, MASKS, NETWORK, SHOWN, UNITS),
        *("config.json", PREDICTIONS),
    }


def test_pruned_weights_are_exactly_zero_and_a_plain_googlenet_loads_them(workspace):
    config = small_base(**{"prune.granularity": "input_channel", "prune.scope": "layer"})
    result = run_trial(config, workspace)
    state = torch.load(result.folder / CHECKPOINT, weights_only=True)
    keep = torch.load(result.folder / MASKS, weights_only=True)
    network = googlenet(weights=None, aux_logits=False, num_classes=20, init_weights=False)
    network.load_state_dict(state)
    weights = prunable_weights(network)
    assert set(weights) <= set(keep)
    for name, mask in keep.items():
        assert (state[name][~mask] == 0).all()
    for name in weights:
        channels = keep[name].amax((0, 2, 3))
        assert (~channels).sum() == n_pruned(0.5, len(channels))
    assert result.metrics["prune/n_zero"] == sum(int((~keep[n]).sum()) for n in weights)


def test_the_table_gives_the_metrics_and_pruned_filters_are_dead(workspace):
    config = small_base(**{"prune.granularity": "filter", "prune.scope": "layer", "finetune": None})
    result = run_trial(config, workspace)
    units = pd.read_parquet(result.folder / UNITS)
    assert len(units) == 7_280 + 20
    counted = units[units["counted"]]
    assert set(units.loc[~units["counted"], "layer"]) == {"conv1", "fc"}
    alive = counted[counted["state"] == "alive"]
    assert result.metrics["mis/mean"] == pytest.approx(alive["mis"].mean(), abs=1e-12)
    assert result.metrics["mis/n_dead"] == (counted["state"] == "dead").sum()
    assert units.loc[units["state"] == "dead", "mis"].isna().all()
    state = torch.load(result.folder / CHECKPOINT, weights_only=True)
    empty = state["inception4a.branch2.1.conv.weight"].abs().sum((1, 2, 3)) == 0
    layer = units[units["layer"] == "inception4a.branch2.1"].set_index("channel")["state"]
    assert empty.sum() == 104 and (layer[empty.numpy()] == "dead").all()


def test_an_interrupted_trial_ends_like_one_that_was_not(workspace):
    config = small_base(**{"prune.schedule": "iterative", "prune.rounds": 2, "finetune.epochs": 2})
    whole = Trial(config, workspace)
    states = []
    while not whole.trained:
        whole.epoch()
        # As Ray stores it: through a file, not by reference.
        path = workspace.root / "state.pt"
        torch.save(whole.state_dict(), path)
        states.append(torch.load(path, weights_only=True))
    expected = whole.finish()
    for state in states[:3]:
        resumed = Trial(config, workspace)
        resumed.load_state_dict(state)
        while not resumed.trained:
            resumed.epoch()
        assert same(whole.network.state_dict(), resumed.network.state_dict())
    result = resumed.finish()
    for each in (result, expected):  # what a clock says is another number each time
        for name in [n for n in each.metrics if n.startswith(MEASURED)]:
            del each.metrics[name]
    assert result.metrics == pytest.approx(expected.metrics, nan_ok=True, rel=0, abs=0)
    pd.testing.assert_frame_equal(result.units, expected.units)


def test_masks_of_later_rounds_nest_and_reach_the_rate(workspace):
    config = small_base(**{"prune.schedule": "iterative", "prune.rounds": 2, "prune.rate": 0.75})
    trial = Trial(config, workspace)
    first = trial.epoch()
    keep = {name: mask.clone() for name, mask in trial.pruned.keep.items()}
    second = trial.epoch()
    assert first["prune/sparsity"] == pytest.approx(0.5, abs=1e-5)
    assert second["prune/sparsity"] == pytest.approx(0.75, abs=1e-5)
    assert all((trial.pruned.keep[name] <= keep[name]).all() for name in keep)


def test_a_structured_trial_trains_the_small_network_and_logs_the_whole_one(workspace):
    changes = {"prune.granularity": "filter", "prune.scope": "layer", "prune.rate": 0.75}
    trial = Trial(small_base(**changes), workspace)
    trial.epoch()
    whole = sum(p.numel() for p in trial.network.parameters())
    trained = sum(p.numel() for p in trial.training.network.parameters())
    assert trained < 0.1 * whole
    result = trial.finish()
    assert result.metrics["cost/params"] == trained
    assert result.metrics["cost/params_dense"] == whole
    assert result.metrics["cost/macs"] < 0.2 * result.metrics["cost/macs_dense"]
    loaded = load_compacted(result.folder / COMPACTED)
    assert sum(p.numel() for p in loaded.parameters()) == trained
    assert result.metrics["prune/sparsity"] > 0.7
    released = {**changes, "prune.batchnorm_follows": False}
    trial = Trial(small_base(**released), workspace)
    trial.epoch()
    # What still emits a constant is not removed, and what is not removed is held.
    assert sum(p.numel() for p in trial.training.network.parameters()) == whole
    assert trial.training.held is not None


def test_not_held_masks_regrow_and_the_measured_sparsity_says_so(workspace):
    changes = {"prune.granularity": "input_channel", "prune.scope": "layer", "prune.rate": 0.8}
    held = run_trial(small_base(**changes), workspace)
    released = run_trial(small_base(**changes, **{"prune.held": False}), workspace)
    assert held.metrics["prune/sparsity"] > 0.75
    assert released.metrics["prune/sparsity"] < 0.3


def test_the_dense_network_is_scored_as_it_is_and_recalibration_changes_statistics_only(workspace):
    dense = small_base(**{"prune": None, "finetune": None})
    trial = Trial(dense, workspace)
    before = {name: tensor.clone() for name, tensor in trial.network.state_dict().items()}
    result = trial.finish()
    assert same(before, trial.network.state_dict())
    assert result.metrics["prune/sparsity"] == 0
    recalibrated = Trial(dense.replace({"recalibrate_images": 64}), workspace)
    recalibrated.finish()
    after = recalibrated.network.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and all("running_" in n or "num_batches" in n for n in changed)


def _is_statistic(name: str) -> bool:
    return "running_" in name or "num_batches" in name


def test_after_training_statistics_alone_are_estimated_again(workspace):
    plain, again = (Trial(small_base(recalibrate_images=n), workspace) for n in (0, 64))
    while not plain.trained:
        plain.epoch()
        again.epoch()
    here, there = plain.network.state_dict(), again.network.state_dict()
    parameters = [name for name in here if not _is_statistic(name)]
    assert same({n: here[n] for n in parameters}, {n: there[n] for n in parameters})
    norms = [m for m in plain.network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert any(not torch.equal(here[n], there[n]) for n in here if n.endswith("running_var"))
    recalibrate(plain.network, plain.data.train, 64, generator(0, "recalibrate"))
    assert norms and same(plain.network.state_dict(), there)


def test_each_epoch_of_training_ends_with_new_statistics(workspace):
    """What is told of an epoch, and what is stopped by it, is not of outdated ones."""
    rounds = {"prune.schedule": "iterative", "prune.rounds": 2, "finetune.epochs": 2}
    filters = {"prune.granularity": "filter", "prune.scope": "layer"}  # trained without the pruned
    plain, trial = (
        Trial(small_base(recalibrate_images=n, **rounds, **filters), workspace) for n in (0, 64)
    )
    while not trial.trained:
        plain.epoch()
        told = trial.epoch()
        smaller = plain.pruned.without_removed()
        recalibrate(smaller, plain.data.train, 64, generator(0, "recalibrate"))
        plain.pruned.take_back(smaller)
        assert same(plain.network.state_dict(), trial.network.state_dict())
        assert told["val/loss"] == plain.evaluate()["val/loss"]
    halfway = Trial(trial.config, workspace)
    for _ in range(3):
        halfway.epoch()
    halfway.save()
    resumed = Trial(trial.config, workspace)
    assert resumed.resume()
    resumed.epoch()
    assert same(resumed.network.state_dict(), trial.network.state_dict())


@pytest.mark.parametrize("finetune", [TrainConfig(epochs=1), None])
def test_statistics_without_the_pruned_filters_are_those_with_them(workspace, finetune):
    pruned = {"prune.granularity": "filter", "prune.scope": "layer", "finetune": finetune}
    plain, trial = (Trial(small_base(recalibrate_images=n, **pruned), workspace) for n in (0, 64))
    for each in (plain, trial):
        while not each.trained:
            each.epoch()
        each.finish()
    before = predict(plain.network, plain.data.val, plain.device, "fp32", 32)
    recalibrate(plain.network, plain.data.train, 64, generator(0, "recalibrate"))
    both = [predict(t.network, t.data.val, t.device, "fp32", 32) for t in (plain, trial)]
    torch.testing.assert_close(*both, rtol=1e-3, atol=1e-4)
    assert not torch.allclose(before, both[0], rtol=1e-2, atol=1e-2)


def test_a_stopped_trial_still_ends_with_its_score(workspace):
    config = small_base(**{"prune.schedule": "iterative", "prune.rounds": 2})
    trial = Trial(config, workspace)
    trial.epoch()
    result = trial.finish(stopped=True)
    assert result.outcome == "stopped"
    assert 0 < result.metrics["mis/mean"] < 1


def test_after_an_epoch_a_part_of_the_images_is_enough_and_at_the_end_all_are_looked_at(workspace):
    config = small_base(**{"finetune.epochs": 2, "data.val_images_per_epoch": 7})
    labels = load_data(config.data, workspace.cache).val.labels
    seen = []
    result = run_trial(config, workspace, seen.append)
    first, last = (round(m["val/top1"] * n, 9) for m, n in zip(seen, (7, len(labels)), strict=True))
    assert first == int(first) and last == int(last)
    assert "val/top1_change" not in seen[0]
    # The dense network's answers are its own, whoever looked at them first.
    dense = run_trial(config.replace({"prune": None, "finetune": None}), workspace).metrics
    assert result.metrics["val/top1"] - dense["val/top1"] == pytest.approx(
        result.metrics["val/top1_change"]
    )
    assert "val/top1_change" not in dense
    stopped = Trial(config, workspace)
    stopped.epoch()
    right = stopped.finish(stopped=True).metrics["val/top1"] * len(labels)
    assert right == pytest.approx(round(right)) and stopped.history[-1]["val/top1"] == first / 7


def test_a_collapsed_layer_is_an_outcome_and_not_a_crash(workspace):
    config = small_base(**{"prune.rate": 0.5, "finetune": None})
    trial = Trial(config, workspace)
    with torch.no_grad():  # so small that a global ranking takes all of it
        trial.network.inception3a.branch3[0].conv.weight.mul_(1e-6)
    result = trial.finish()
    assert result.outcome == "collapsed"
    assert result.metrics["prune/n_collapsed"] == 1


def test_the_seed_decides_and_trials_of_one_seed_share_their_data_order(workspace):
    config = small_base()
    one, again = Trial(config, workspace), Trial(config, workspace)
    one.epoch()
    again.epoch()
    assert same(one.network.state_dict(), again.network.state_dict())
    other = config.replace({"prune.granularity": "filter", "prune.scope": "layer"})
    first = [next(iter(_batches(Trial(c, workspace)))) for c in (config, other)]
    assert torch.equal(first[0], first[1])


def _batches(trial):
    """The ids of the batches of a trial's first epoch."""
    images, ids = trial.data.train, []
    original = images.batches

    def watched(order, *arguments, **more):
        ids.append(order)
        return original(order, *arguments, **more)

    object.__setattr__(images, "batches", watched)
    trial.epoch()
    return ids


def test_a_dense_network_that_was_not_trained_is_refused(workspace):
    config = dataclasses.replace(small_base(), seed=5)
    data = load_data(config.data, workspace.cache)
    with pytest.raises(ValueError, match=r"checkpoint must be a file, .*dense-.*\.pt is none"):
        load_dense(config, data, workspace.cache)


def test_too_few_probe_images_are_refused_with_the_numbers(workspace):
    config = small_base(**{"score.n_tasks": 20, "score.n_explanations": 9})
    with pytest.raises(ValueError, match="needs at least 400 probe images, there are 60"):
        run_trial(config, workspace)


def test_a_trial_goes_on_from_its_file_and_starts_over_without_one(workspace):
    config = small_base(**{"prune.schedule": "linear", "prune.rounds": 2, "prune.rate": 0.6})
    trial = Trial(config, workspace)
    assert not trial.resume()
    trial.epoch()
    trial.save()
    again = Trial(config, workspace)
    assert again.resume()
    assert again.history == trial.history and again.epochs_done == 1
    path = workspace.state(config.key)
    path.write_bytes(path.read_bytes()[:1000])  # the disk was full, the machine went down
    assert not Trial(config, workspace).resume()
    assert not path.exists() and path.with_name(f"{path.name}.broken").exists()
    trial.save()
    trial.workspace.state(trial.config.key).unlink()
    assert not path.exists()


def test_scores_of_every_round_are_in_its_last_epoch(workspace):
    config = small_base(
        **{
            "prune.schedule": "iterative",
            "prune.rounds": 2,
            "finetune.epochs": 2,
            "score_every_round": True,
            "dissection": DissectionConfig(layers=("conv3",), quantile=0.03),
        }
    )
    assert config.n_scores == 2
    epochs = []
    result = run_trial(config, workspace, epochs.append)
    names = {"mis/mean", "dissection/interpretable", "dissection/unique"}
    names |= {f"dissection/{category}/unique" for category in ("shape", "scene")}
    for number, metrics in enumerate(epochs, 1):
        assert names & set(metrics) == (names if number == 2 else set())
    assert names <= set(result.metrics)
    logged = pd.read_parquet(result.folder / EPOCHS)
    assert logged["dissection/unique"].notna().tolist() == [False, True, False, False]
    (table,) = (result.folder / UNITS_BY_ROUND).iterdir()  # the last is the trial's own
    units = pd.read_parquet(table)
    counted = units["counted"] & (units["state"] == "alive")
    assert table.name == "round_001.parquet" and len(units) == len(result.units)
    assert units.loc[counted, "mis"].mean() == pytest.approx(logged["mis/mean"].iloc[1], abs=1e-6)
    assert units.loc[units["layer"] == "conv3", "iou"].notna().all()
    assert logged["prune/sparsity"].iloc[1] < result.metrics["prune/sparsity"] - 0.1
    dense = run_trial(config.replace({"prune": None, "finetune": None}), workspace)
    assert names <= set(dense.metrics) and dense.metrics["prune/sparsity"] == 0


def test_a_state_of_another_trial_is_refused(workspace):
    trial = Trial(small_base(), workspace)
    state = Trial(small_base(**{"prune.rate": 0.6}), workspace).state_dict()
    with pytest.raises(ValueError, match="the state is of"):
        trial.load_state_dict(state)


def test_a_trial_that_distills_learns_from_its_dense_network(workspace):
    """The same masks and images; what differs is the loss, at the first step nothing else."""
    plain = small_base(**{"prune.granularity": "filter", "prune.scope": "layer"})
    taught = plain.replace({"finetune.distill": 0.7})
    assert taught.key != plain.key and taught.label == plain.label  # unless both are in a study
    trials = {config.key: Trial(config, workspace) for config in (plain, taught)}
    for trial in trials.values():
        trial.epoch()
    teacher = trials[taught.key].training.teacher
    dense = load_dense(taught, trials[taught.key].data, workspace.cache)
    assert same(teacher.state_dict(), dense.state_dict()) and not teacher.training
    assert trials[plain.key].training.teacher is None
    losses = [trial.history[0]["train/loss"] for trial in trials.values()]
    assert losses[0] != losses[1]
    state = trials[taught.key].state_dict()
    again = Trial(taught, workspace)
    again.load_state_dict(state)  # with its teacher, which no state holds
    assert again.trained and again.training.teacher is not None

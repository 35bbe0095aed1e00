"""The whole way, with nothing replaced: a real Ray, a real MLflow, GoogLeNet, every unit's MIS."""

import dataclasses
import io
import json
from types import SimpleNamespace

import pandas as pd
import pytest
import ray
import torch
from rich.console import Console
from small_studies import small_sweep
from torchvision.models import googlenet

from pruning import measure_sparsity, prunable_weights
from sweeps.plan.metrics import find
from sweeps.plan.planner import Plan, make_plan
from sweeps.plan.settings import with_settings
from sweeps.plan.sweep import Grid
from sweeps.report import load_frames
from sweeps.run import run_sweep
from sweeps.tracking.tracker import Tracker
from trainables.config import flat_params
from trainables.datasets.loading import load_data
from trainables.fields import flat
from trainables.training.evaluate import accuracy_metrics, predict
from trainables.workspace import Workspace

pytestmark = pytest.mark.ray

FINAL_METRICS = {
    *("val/top1", "val/top5", "val/loss", "val/ece"),
    *("prune/sparsity", "prune/sparsity_network", "prune/n_collapsed"),
    *("cost/params", "cost/macs"),
    *("mis/mean", "mis/median", "mis/task_accuracy", "mis/n_units", "mis/n_dead"),
    *("mis/shuffled_mean", "mis/conv1/mean", "mis/fc/mean"),
}


def run(plan, results):
    """The sweep's exit code and what it printed."""
    text = io.StringIO()
    code = run_sweep(plan, results, Console(file=text, width=120))
    return code, text.getvalue()


@pytest.fixture(scope="module")
def swept(tmp_path_factory, no_tracking_uri):
    """A sweep that ran once, and what it printed: (plan, results folder, exit code, text)."""
    results = tmp_path_factory.mktemp("results")
    plan = make_plan(small_sweep())
    code, text = run(plan, results)
    yield plan, results, code, text
    ray.shutdown()


@pytest.fixture(scope="module")
def no_tracking_uri():
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.delenv("RAY_ADDRESS", raising=False)
        yield


@pytest.fixture(scope="module")
def tracker(swept):
    return Tracker("small", swept[1])


def artifact(tracker, run_, name, folder):
    return tracker.client.download_artifacts(run_.info.run_id, name, str(folder))


def test_one_finished_run_a_grid_point_with_all_its_metrics(swept, tracker):
    plan, _, code, text = swept
    assert code == 0, text
    runs = tracker.finished()
    assert set(runs) == set(plan.keys)
    assert len(tracker.runs("trial")) == len(plan.configs)
    for run_ in runs.values():
        assert set(run_.data.metrics) >= FINAL_METRICS
        assert [name for name in run_.data.metrics if find(name) is None] == []
        assert run_.data.tags["outcome"] in ("completed", "collapsed")
    labels = {run_.info.run_name for run_ in runs.values()}
    assert {"dense", "dense retrained", "untrained"} <= labels


def test_the_parent_run_holds_its_children_the_dense_training_and_the_report(swept, tracker):
    sweeps = tracker.runs("sweep")
    assert len(sweeps) == 1 and sweeps[0].info.status == "FINISHED"
    parent = sweeps[0].info.run_id
    children = [*tracker.runs("trial"), *tracker.runs("dense training")]
    assert {c.data.tags["mlflow.parentRunId"] for c in children} == {parent}
    dense = tracker.runs("dense training")
    assert len(dense) == 1
    assert len(tracker.client.get_metric_history(dense[0].info.run_id, "val/top1")) == 2
    files = {a.path for a in tracker.client.list_artifacts(parent, "report")}
    for figure in ("accuracy_vs_sparsity", "mis_vs_sparsity", "accuracy_vs_mis"):
        assert {f"report/{figure}.png", f"report/{figure}.svg"} <= files
    assert "report/trials.csv" in files


def test_every_sampled_value_reached_the_trial(swept, tracker, tmp_path):
    """Each worker writes the config that it worked by; MLflow's params are the driver's."""
    plan, *_ = swept
    by_key = {config.key: config for config in plan.configs}
    for key, run_ in tracker.finished().items():
        with open(artifact(tracker, run_, "config.json", tmp_path)) as file:
            seen = json.load(file)
        assert seen == json.loads(json.dumps(flat(by_key[key])))
        assert run_.data.params == flat_params(by_key[key])


@pytest.mark.slow
def test_every_metric_is_there_once_a_step(swept, tracker):
    plan, *_ = swept
    for config in plan.configs:
        run_ = tracker.finished()[config.key]
        for name in run_.data.metrics:
            history = tracker.client.get_metric_history(run_.info.run_id, name)
            steps = [point.step for point in history]
            # Without training there are no epochs, and all is known at step 0.
            epochs = list(range(1, config.n_epochs + 1)) or [0]
            assert steps in (epochs, epochs[-1:]), f"{name} of {config.label}"
        assert "epoch" in run_.data.metrics or config.n_epochs == 0


@pytest.mark.slow
def test_every_number_can_be_recomputed_from_the_artifacts(swept, tracker, tmp_path):
    plan, results, *_ = swept
    for config in plan.configs:
        run_ = tracker.finished()[config.key]
        metrics = run_.data.metrics
        path = artifact(tracker, run_, "checkpoint.pt", tmp_path)
        network = googlenet(weights=None, aux_logits=False, num_classes=20, init_weights=False)
        network.load_state_dict(torch.load(path, weights_only=True))
        sparsity = measure_sparsity(network, prunable_weights(network))
        assert metrics["prune/sparsity"] == sparsity.prunable
        assert metrics["prune/sparsity_network"] == sparsity.network
        val = load_data(config.data, Workspace(results).cache).val
        logits = predict(network, val, torch.device("cpu"), "fp32", 64)
        expected = accuracy_metrics(logits, val.labels)
        assert metrics["val/top1"] == pytest.approx(expected["val/top1"], abs=1e-9)
        assert metrics["val/loss"] == pytest.approx(expected["val/loss"], rel=1e-4)
        units = pd.read_parquet(artifact(tracker, run_, "units.parquet", tmp_path))
        alive = units[units["counted"] & (units["state"] == "alive")]
        assert metrics["mis/mean"] == pytest.approx(alive["mis"].mean(), abs=1e-12)
        assert metrics["mis/n_units"] == len(alive)
        pictures = tracker.client.list_artifacts(run_.info.run_id, "gallery")
        assert any(picture.path.startswith("gallery/best_1") for picture in pictures)


def test_the_pruned_weights_in_the_logged_checkpoints_are_zero(swept, tracker, tmp_path):
    plan, *_ = swept
    retrained = [c for c in plan.configs if c.prune is not None and c.finetune is not None]
    assert len(retrained) >= 4
    for config in retrained:
        run_ = tracker.finished()[config.key]
        state = torch.load(artifact(tracker, run_, "checkpoint.pt", tmp_path), weights_only=True)
        keep = torch.load(artifact(tracker, run_, "keep.pt", tmp_path), weights_only=True)
        assert all((state[name][~mask] == 0).all() for name, mask in keep.items())
        assert sum(int((~mask).sum()) for mask in keep.values()) > 1_000_000


def test_shuffled_activations_give_chance(swept, tracker):
    for run_ in tracker.finished().values():
        mean, error = (run_.data.metrics[f"mis/shuffled_{x}"] for x in ("mean", "error"))
        assert abs(mean - 0.5) < 4 * error


def test_a_second_sweep_runs_nothing(swept):
    plan, results, *_ = swept
    before = Tracker("small", results).finished()
    code, text = run(plan, results)
    assert code == 0
    assert f"{len(plan.configs)} trials, {len(plan.configs)} done, 0 to run" in text
    after = Tracker("small", results).finished()
    assert {k: r.info.run_id for k, r in after.items()} == {
        k: r.info.run_id for k, r in before.items()
    }


def test_survivors_are_compared_with_their_own_dense_scores(swept, tracker, tmp_path):
    plan, *_ = swept
    frames = load_frames(tracker, tracker.runs("sweep")[0])
    trials = frames.trials.set_index("label")
    assert trials.loc["dense", "mis/dense_same_units"] == pytest.approx(
        trials.loc["dense", "mis/mean"]
    )
    label = "structured 0.5 one_shot"
    here, dense = (
        frames.units[frames.units["key"] == trials.loc[name, "key"]].set_index(["layer", "channel"])
        for name in (label, "dense")
    )
    alive = here[(here["state"] == "alive") & here["counted"]].index
    expected = [dense.loc[unit, "mis"] for unit in alive]
    assert trials.loc[label, "mis/dense_same_units"] == pytest.approx(pd.Series(expected).mean())


@pytest.mark.slow
def test_a_trial_that_fails_is_told_and_the_others_go_on(swept):
    """Its learning rate blows the weights up; the sweep runs on and ends with exit code 1."""
    _, results, *_ = swept
    sweep = dataclasses.replace(
        small_sweep("failing"),
        controls=False,
        grids=(Grid({}, set={"finetune.lr": 1e38}), Grid({}, set={"finetune": None})),
    )
    plan = make_plan(sweep)
    code, text = run(plan, results)
    assert code == 1
    tracker = Tracker("failing", results)
    failed = [r for r in tracker.runs("trial") if r.info.status == "FAILED"]
    assert {r.data.tags["outcome"] for r in failed} == {"failed"}
    assert all("loss must be finite" in r.data.tags["error"] for r in failed)
    assert {r.data.params["finetune.lr"] for r in failed} == {"1e+38"}
    assert len(tracker.finished()) == 3  # dense, untrained, the one without fine-tuning
    assert "unstructured 0.5 one_shot" in text and "loss must be finite" in text
    left = plan.remaining(tracker.finished())
    assert {c.label for c in left} == {"unstructured 0.5 one_shot", "dense retrained"}


def test_what_cannot_work_is_refused_before_anything_is_launched(swept, tmp_path, monkeypatch):
    _, results, *_ = swept
    with pytest.raises(ValueError, match="needs at least 160 probe images, there are 60"):
        make_plan(small_sweep("refused"), settings={"score.n_tasks": 20})
    with pytest.raises(ValueError, match="at most the 96 training images, got 97"):
        make_plan(small_sweep("refused"), grid={"recalibrate_images": [97]})
    untold = make_plan(small_sweep("refused"))  # as where a folder's images are not counted yet
    for name, value, message in (
        ("score.n_tasks", 20, "needs at least 160 probe images, there are 60"),
        ("recalibrate_images", 97, "at most the 96 training images, got 97"),
    ):
        wrong = with_settings(untold.configs, {name: value})
        with pytest.raises(ValueError, match=message):
            run(dataclasses.replace(untold, configs=tuple(wrong)), results)
    full = str(results)  # and not the disk of Ray's own files
    monkeypatch.setattr(
        "shutil.disk_usage",
        lambda folder: SimpleNamespace(free=10**6 if str(folder).startswith(full) else 10**12),
    )
    with pytest.raises(OSError, match=r"needs \d.\d GB of free disk, it has 1.0 MB"):
        run(make_plan(small_sweep("refused")), results)
    assert Tracker("refused", results).runs("sweep") == []


def test_a_checkpoint_of_another_network_is_refused(swept, tmp_path):
    _, results, *_ = swept
    torch.save({"conv1.conv.weight": torch.zeros(1)}, tmp_path / "other.pt")
    sweep = small_sweep("other")
    network = dataclasses.replace(
        sweep.base.network, weights="file", recipe=None, checkpoint=str(tmp_path / "other.pt")
    )
    sweep = dataclasses.replace(sweep, base=sweep.base.replace({"network": network}))
    with pytest.raises(ValueError, match="is a checkpoint of another network"):
        run(make_plan(sweep), results)


def test_a_plan_is_hashable_by_its_trials():
    plan = make_plan(small_sweep())
    assert isinstance(plan, Plan) and len(plan.key) == 12
    assert plan.key == make_plan(small_sweep()).key
    weights = prunable_weights(googlenet(weights=None, init_weights=False, aux_logits=False))
    assert len(weights) == 56

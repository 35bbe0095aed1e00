"""The model registry: the best of every method and rate, loadable without this program."""

import io

import mlflow
import numpy as np
import pytest
import torch
from report_frames import log_sweep, synthetic
from rich.console import Console

from pruning import choose_groups, importance_of_groups
from sweeps.registry import ALIAS, register_study
from sweeps.report.read.best import best_trials
from trainables.config import NetworkConfig, PruneConfig, TrialConfig
from trainables.networks import build_network, network_arguments
from trainables.results import save_results
from trainables.rounds.pruned import PrunedNetwork
from trainables.scores.scoring import Scored

pytestmark = pytest.mark.slow

IMAGES = torch.randint(
    256, (5, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
)
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A sweep whose dense network and best structured one left their files, and no other:
    (results, tracker, what each network answers by itself)."""
    folder = tmp_path_factory.mktemp("registry")
    frames = synthetic(
        methods=("structured",), rates=(0.5, 0.9), channels=2, controls=False, stopped=False
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        tracker = log_sweep(frames, folder / "results", folder / "files")
        answers = {}
        for row in best_trials(frames.trials).to_dict("records"):
            if row["rate"] == 0.9:
                continue
            network = _leave_network(folder / row["key"], row["rate"])
            tracker.log_folder(tracker.find_run(row["key"]), folder / row["key"])
            with torch.no_grad():
                scaled = (IMAGES / 255 - MEAN[:, None, None]) / STD[:, None, None]
                answers[row["method"]] = network.eval()(scaled).numpy()
        yield folder / "results", tracker, answers


def _leave_network(folder, rate):
    torch.manual_seed(3)
    config = NetworkConfig(weights="random")
    network, arguments = build_network(config, 7), network_arguments(config, 7)
    pruned = PrunedNetwork(network, PruneConfig(granularity="filter", scope="layer"))
    if rate:
        scores = importance_of_groups(network, "l1", "filter")
        pruned.hold(choose_groups(scores, rate, granularity="filter", scope="layer"))
    folder.mkdir()
    none = synthetic(methods=(), rates=(0.5,), channels=1, controls=False, stopped=False).units
    save_results(folder, TrialConfig(), arguments, pruned, Scored({}, none, None, {}), {})
    return network


@pytest.fixture(scope="module")
def registered(store):
    text = io.StringIO()
    code = register_study("synthetic", store[0], None, Console(file=text, width=200))
    return code, text.getvalue()


def test_what_left_no_network_is_said_and_the_others_are_registered(store, registered):
    code, text = registered
    assert code == 1
    assert "problem: synthetic-structured-0.9: a trial must have left its network" in text
    assert "2 of 3 networks are in the registry" in text
    names = {model.name for model in store[1].client.search_registered_models()}
    assert {"synthetic-dense", "synthetic-structured-0.5"} <= names


@pytest.mark.parametrize("name", ["dense", "structured-0.5"], ids=["masked", "compacted"])
def test_a_registered_network_answers_as_the_trial_s_own(store, registered, name, monkeypatch):
    results, tracker, answers = store
    expected = answers[name.partition("-")[0]]
    mlflow.set_tracking_uri(tracker.uri)
    try:
        model = mlflow.pyfunc.load_model(f"models:/synthetic-{name}@{ALIAS}")
        folder = mlflow.artifacts.download_artifacts(f"models:/synthetic-{name}@{ALIAS}")
    finally:
        mlflow.set_tracking_uri("")
    np.testing.assert_allclose(model.predict(IMAGES.numpy()), expected, rtol=1e-4, atol=1e-4)
    inputs, outputs = model.metadata.signature.inputs, model.metadata.signature.outputs
    assert inputs.inputs[0].shape == (-1, 3, 32, 32) and inputs.inputs[0].type == np.uint8
    assert outputs.inputs[0].shape == (-1, 7) and outputs.inputs[0].type == np.float32
    assert model.input_example.shape == (2, 3, 32, 32)
    with pytest.raises(mlflow.exceptions.MlflowException):
        model.predict(IMAGES.numpy()[:, :, :16])
    if name != "dense":  # the other would take seconds to say the same
        plain = torch.export.load(f"{folder}/data/model.pt2").module()
        np.testing.assert_allclose(plain(IMAGES).numpy(), expected, rtol=1e-4, atol=1e-4)
        n_left = sum(p.numel() for p in plain.parameters())
        assert n_left < 0.5 * 5.6e6


def test_registering_again_changes_nothing(store, registered):
    results, tracker, _ = store
    before = {v.name: v for v in tracker.client.search_model_versions()}
    text = io.StringIO()
    register_study("synthetic", results, None, Console(file=text, width=200))
    after = tracker.client.search_model_versions()
    assert {(v.name, v.version, v.run_id) for v in after} == {
        (v.name, v.version, v.run_id) for v in before.values()
    }
    assert text.getvalue().count("version 1, as before") == 2


def test_a_version_says_whose_it_is(store, registered):
    _, tracker, _ = store
    version = tracker.client.get_model_version_by_alias("synthetic-structured-0.5", ALIAS)
    run = tracker.client.get_run(version.run_id)
    assert version.tags["trial_key"] == run.data.tags["trial_key"]
    assert float(version.tags["top1"]) == pytest.approx(run.data.metrics["val/top1"], abs=1e-4)
    assert run.info.run_name in version.description


def test_the_best_is_the_highest_top1_that_is_at_its_rate():
    frames = synthetic(methods=("structured", "unstructured"), rates=(0.5,), channels=1)
    trials = frames.trials.copy()
    at_rate = trials["method"].eq("structured") & ~trials["most_important_first"]
    let_go, lost, *others = trials[at_rate].sort_values("val/top1", ascending=False).index
    trials.loc[let_go, "held"] = False
    trials.loc[lost, "val/top1"] = float("nan")
    best = best_trials(trials)
    assert best[["method", "rate"]].apply(tuple, axis=1).tolist() == [
        *(("dense", 0.0), ("unstructured", 0.5), ("structured", 0.5))
    ]
    assert best["key"].iloc[2] == trials.loc[others[0], "key"]
    assert best_trials(trials.drop(columns="val/top1")).empty


def test_a_server_without_a_registry_is_one_sentence(store, monkeypatch):
    def refuse(*_, **__):
        raise mlflow.exceptions.MlflowException("no such endpoint")

    monkeypatch.setattr("mlflow.MlflowClient.search_registered_models", refuse)
    with pytest.raises(ValueError, match="must have a model registry, sqlite.* no such endpoint"):
        register_study("synthetic", store[0], None, Console(file=io.StringIO()))

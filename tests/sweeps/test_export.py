"""`secateur export`: which trial is meant, the card, the numbers in MLflow and in the report."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from networks_for_tests import choose, draw_batchnorms
from report_frames import synthetic
from torch import nn

from benchmarks.export import export_and_read, pictures
from pruning import (
    Held,
    choose_groups,
    compact,
    importance_of_groups,
    structure_of,
    survivors_of,
)
from sweeps import __main__ as cli
from sweeps.export.card import card_of, card_text, channels
from sweeps.export.files import TOLERANCE, write_files
from sweeps.export.find import find_trial
from sweeps.export.measured import Measured
from sweeps.export.write import log_measured, take_code
from sweeps.plan.metrics import find
from sweeps.report.sections.cost import COST
from sweeps.tracking.tracker import Tracker
from trainables.config import NetworkConfig, PruneConfig, TrialConfig
from trainables.networks import (
    Compacted,
    Cost,
    Latency,
    build_network,
    load_compacted,
    measure_latencies,
    network_arguments,
)
from trainables.results import save_results
from trainables.rounds.pruned import PrunedNetwork
from trainables.scores.scoring import Scored

TRIALS = {
    "one": {
        "dense": "aaaaaa000000",
        "structured 0.5 one_shot": "bbbbbb000000",
        "structured 0.5 one_shot [x]": "bbbbbb111111",
    },
    "two": {"dense": "dddddd000000", "connection 0.5 one_shot": "eeeeee000000"},
}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Finished trials of two studies, none of which left a network, and one that failed."""
    results = tmp_path_factory.mktemp("export") / "results"
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        for study, trials in TRIALS.items():
            tracker = Tracker(study, results)
            for name, key in trials.items():
                params = {"data.pixels": "32"}
                run = tracker.start_run(name, kind="trial", key=key, params=params)
                tracker.end_run(run, "FINISHED")
            tracker.end_run(tracker.start_run("lost", kind="trial", key="ffffff000000"), "FAILED")
        yield results


@pytest.mark.parametrize(
    ("text", "study", "key"),
    [
        ("structured 0.5 one_shot", None, "bbbbbb000000"),
        (" structured 0.5 one_shot [x] ", None, "bbbbbb111111"),
        ("eeeeee000000", None, "eeeeee000000"),
        ("eeeeee", None, "eeeeee000000"),
        ("dense", "two", "dddddd000000"),
        ("aaaaaa", None, "aaaaaa000000"),
    ],
)
def test_a_trial_is_meant_by_its_name_or_its_key(results, text, study, key):
    tracker, run = find_trial(text, results, study)
    assert run.data.tags["trial_key"] == key
    assert key in TRIALS[tracker.study].values()


REFUSED = {
    "several": (
        ["dense"],
        "TRIAL must mean one trial, 2 are called 'dense': name its key, or the study besides: "
        "aaaaaa000000 (study one); dddddd000000 (study two)",
    ),
    "several keys": (["bbbbbb"], "2 are called 'bbbbbb'"),
    "none": (
        ["connection 0.5", "--study", "two"],
        "got 'connection 0.5'; there are: connection 0.5 one_shot (eeeeee000000); dense (dddddd",
    ),
    "short key": (["bbb"], "TRIAL must be the name or the key of a finished trial"),
    "failed": (["lost"], "TRIAL must be the name or the key of a finished trial"),
    "empty": ([""], "TRIAL must be the name or the key of a finished trial"),
    "study": (["dense", "--study", "three"], "must hold the study 'three', it holds one, two"),
    "left nothing": (["eeeeee"], "a trial must have left its network to be taken away, run "),
    "no folder": (["eeeeee", "--to", ""], "must name a folder"),
    "a file": (["eeeeee", "--to", __file__], "TO must be a folder or the name of a new one, "),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_exported_is_refused_in_one_sentence(results, capsys, name):
    words, sentence = REFUSED[name]
    try:
        code = cli.main(["export", *words, "--results", str(results)])
    except SystemExit as end:  # the parser's own
        code = end.code
    printed = capsys.readouterr().err
    assert code == 2 and sentence in printed and printed.count("\n") == 1
    assert not (results / "export").exists()


def test_without_a_store_nothing_is_made(tmp_path, capsys):
    assert cli.main(["export", "dense", "--results", str(tmp_path / "none")]) == 2
    assert "it holds no mlflow.db" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def pruned(name, granularity="filter"):
    """The dense network, it with zeros, and what is left of it."""
    torch.manual_seed(0)
    config = NetworkConfig(name=name, weights="random")
    dense = build_network(config, 7)
    draw_batchnorms(dense)
    masked = build_network(config, 7).eval()
    masked.load_state_dict(dense.state_dict())
    keep = choose(masked, 0.5, granularity=granularity, scope="layer", criterion="l1")
    Held(masked, keep).apply()
    left = survivors_of(masked, keep, structure_of(masked))
    arguments = network_arguments(config, 7)
    return masked, Compacted(compact(masked, left).eval(), arguments, left)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "resnext50_32x4d"])
def test_the_map_leads_from_each_channel_to_the_dense_network_s(name):
    masked, left = pruned(name)
    led = channels(left, "structured")
    assert json.loads(card_text({"channels": led}))["channels"] == led
    smaller, seen = left.network.state_dict(), 0
    for layer, maps in led.items():
        whole = masked.get_submodule(layer).weight
        if "channels" in maps:
            chosen = whole[maps["channels"]]
        else:
            inputs = torch.tensor(maps["inputs"])
            rows = torch.tensor(maps["filters"])[:, None]
            chosen = whole[rows, inputs if inputs.dim() == 2 else inputs[None]]
        assert torch.equal(chosen, smaller[f"{layer}.weight"]), layer
        seen += chosen.shape != whole.shape
    shrunk = [
        layer
        for layer, module in masked.named_modules()
        if hasattr(module, "weight") and module.weight.shape != smaller[f"{layer}.weight"].shape
    ]
    assert seen == len(shrunk) > 10


def test_of_channels_that_are_not_known_none_are_told():
    _, left = pruned("resnet18")
    assert channels(left, "given") is None
    assert channels(Compacted(left.network, left.arguments, None), "unstructured") == {}


def test_a_card_is_json_without_passwords_and_with_null_for_no_number():
    text = card_text({"a": float("nan"), "b": "s3://ada:love@host/x", "c": [[1, 2], [3, 4]]})
    assert json.loads(text) == {"a": None, "b": "s3://***@host/x", "c": [[1, 2], [3, 4]]}
    assert "[1, 2]" in text


def measured(small, large):
    latencies = [Latency(1, 4.0, 3.5, 5.0, 9), Latency(64, 2.0, 1.9, 2.2, 7)]
    whole = [Latency(1, 8.0, 7.5, 9.0, 9), Latency(64, 4.0, 3.9, 4.2, 7)]
    device = {"device": "a CPU", "threads": "1", "precision": "fp32", "torch": "2"}
    return Measured(
        {"exported": Cost(small, 10, small - 5, 9), "dense": Cost(large, 20, large, 20)},
        {"exported": 400, "dense": 800},
        {"exported": latencies, "dense": whole},
        device,
    )


def test_what_is_measured_has_names_in_the_vocabulary():
    metrics = measured(50, 100).metrics()
    assert metrics["export/latency_1"] == 4 and metrics["export/latency_1_spread"] == 1.5
    assert metrics["export/latency_64_dense"] == 4 and metrics["export/bytes_dense"] == 800
    assert len(metrics) == 10 and all(find(name) for name in metrics)


@pytest.mark.parametrize(
    ("method", "small", "sentence"),
    [
        ("structured", 50, "50.0% of the dense network's parameters are gone for good; 5 of its"),
        ("unstructured", 100, "no channel was removed: the network has the dense one's shapes"),
        ("given", 50, "which channels these were is not known"),
    ],
)
def test_a_card_says_what_was_removed_and_what_is_only_zero(results, method, small, sentence):
    _, run = find_trial("eeeeee", results)
    run.data.params["method"] = method
    left = Compacted(nn.Linear(1, 1), {"name": "x", "num_classes": 7}, None)
    card = card_of("two", run, left, measured(small, 100), {})
    assert sentence in card["removed"] and "are zero, and are stored as such" in card["removed"]
    assert card["trial"]["key"] == "eeeeee000000" and card["latency"]["on"]["device"] == "a CPU"
    assert card["cost"]["exported"]["bytes"] == 400 and "torch" in card["versions"]


def test_the_last_export_is_what_a_run_shows(results, tmp_path):
    tracker, run = find_trial("dddddd", results)
    (tmp_path / "card.json").write_text("{}")
    for n_bytes in (400, 300):
        again = replace(measured(50, 100), n_bytes={"exported": n_bytes, "dense": 800})
        assert log_measured(tracker, run, again, tmp_path / "card.json") == []
    _, shown = find_trial("dddddd", results)
    assert shown.data.metrics["export/bytes"] == 300
    assert shown.info.status == "FINISHED"


def test_a_file_that_gives_other_logits_does_not_stay(tmp_path, monkeypatch):
    masked, left = pruned("resnet18")
    nn.init.zeros_(masked.fc.bias)
    monkeypatch.setattr("sweeps.export.files.as_graph", refuse)
    (tmp_path / "network.pt2").write_text("of an export before")
    files = write_files(tmp_path, left, masked, 32)
    assert "a file must give the logits of the trial's" in files["network.safetensors"].why_not
    assert files["network.pt2"].why_not == files["network.onnx"].why_not == "cannot be followed"
    assert [path.name for path in tmp_path.iterdir()] == []  # nor does one of an export before


def refuse(*_):
    raise ValueError("cannot be followed")


def test_the_figure_of_costs_shows_exports_beside_their_own_dense_network():
    frames = synthetic(methods=("structured",), rates=(0.5, 0.9), channels=1, controls=False)
    trials = frames.trials.copy()
    plain = COST.data(frames)
    assert set(plain["of"]) == {"cost/macs", "cost/params", "cost/latency"}
    rows = trials.index[trials["rate"] > 0][:2]
    for name, own, whole in (
        ("export/bytes", (4e6, 2e6), (8e6, 8e6)),
        ("export/latency_1", (3.0, 1.0), (4.0, 2.0)),  # on two machines
    ):
        trials[name] = trials[f"{name}_dense"] = np.nan
        trials.loc[rows, name], trials.loc[rows, f"{name}_dense"] = own, whole
    table = COST.data(replace(frames, trials=trials))
    assert table[table["of"].str.startswith("cost/")].reset_index(drop=True).equals(plain)
    here = table[(table["of"] == "export/latency_1") & (table["kind"] == "network")]
    assert sorted(here["cost"]) == [0.5, 0.75] and sorted(here["whole"]) == [2, 4]
    figure = COST.draw(table)
    drawn = [axes.get_xlabel() for axes in figure.axes if axes.get_visible()]
    assert len(drawn) == 5 and drawn[4].startswith("latency in batches of 1\n÷ the dense")


def leave_network(results, name, key, granularity="filter"):
    """A finished trial of the study `three` that left its files, as trials do; its run's id."""
    tracker = Tracker("three", results)
    params = {"data.pixels": "64", "method": "structured", "rate": "0.5"}
    run_id = tracker.start_run(name, kind="trial", key=key, params=params)
    config = NetworkConfig(name="mobilenet_v2", weights="random")
    torch.manual_seed(1)
    network = build_network(config, 7)
    draw_batchnorms(network)
    prune = PruneConfig(granularity=granularity, scope="layer", rate=0.5)
    whole = PrunedNetwork(network.eval(), prune)
    scores = importance_of_groups(network, "l1", granularity)
    whole.hold(choose_groups(scores, 0.5, granularity=granularity, scope="layer"))
    none = synthetic(methods=(), rates=(0.5,), channels=1, controls=False, stopped=False).units
    folder = results.parent / key
    scored = Scored({}, none, None, {})
    save_results(folder, TrialConfig(), network_arguments(config, 7), whole, scored, {})
    tracker.log_folder(run_id, folder)
    tracker.log_metrics(run_id, {"val/top1": 0.5}, 0, 1)
    tracker.end_run(run_id, "FINISHED")
    return run_id


@pytest.mark.slow
@pytest.mark.parametrize("granularity", ["filter", "weight"])
def test_a_trial_is_exported_measured_and_logged(tmp_path, capsys, monkeypatch, granularity):
    pytest.importorskip("onnxscript")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    quick = partial(measure_latencies, seconds=0)
    monkeypatch.setattr("sweeps.export.measured.measure_latencies", quick)
    results, name = tmp_path / "results", "structured 0.5 one_shot"
    leave_network(results, name, "abcdef000000", granularity)
    code = cli.main(["export", name, "--results", str(results)])
    printed = capsys.readouterr()
    assert code == 0, printed.out
    assert "exported ÷ dense" in printed.out
    tracker, run = find_trial(name, results)
    folder = results / "export" / "three" / run.data.tags["trial_key"]
    card = json.loads((folder / "card.json").read_text())
    for file in ("network.safetensors", "network.pt2", "network.onnx"):
        said = card["files"][file]
        assert said["bytes"] == (folder / file).stat().st_size
        assert said["largest_difference"] <= said["tolerance"] == TOLERANCE
    whole = card["cost"]["dense"]["params"]
    assert (
        sum(p.numel() for p in load_compacted(folder / "network.safetensors").parameters())
        == (card["cost"]["exported"]["params"])
    )
    if granularity == "filter":
        assert card["cost"]["exported"]["params"] < 0.5 * whole
        assert len(card["channels"]) > 50
    else:
        assert card["cost"]["exported"]["params"] == whole and card["channels"] == {}
        assert card["removed"].startswith("no channel was removed")
    assert card["metrics"] == {"val/top1": 0.5}
    assert card["cost"]["exported"]["bytes"] == card["files"]["network.safetensors"]["bytes"]
    logged = run.data.metrics
    assert logged["export/latency_64_dense"] == card["latency"]["dense"][1]["median"]
    assert logged["export/bytes"] == card["cost"]["exported"]["bytes"]
    (artifact,) = tracker.client.list_artifacts(run.info.run_id, "export")
    assert artifact.path == "export/card.json"


def test_code_of_one_s_own_goes_along(tmp_path):
    code, there = tmp_path / "results" / "code" / "0123456789abcdef", tmp_path / "there"
    code.mkdir(parents=True)
    (code / "mine.py").write_text("x = 1")
    for _ in range(2):
        take_code("0123456789abcdef", tmp_path / "results", there)
    assert (there / "code" / "0123456789abcdef" / "mine.py").read_text() == "x = 1"
    take_code("", tmp_path / "results", tmp_path / "none")
    assert not (tmp_path / "none").exists()


@pytest.mark.slow
def test_without_the_extra_the_other_files_are_written(tmp_path, monkeypatch):
    masked, left = pruned("resnet18")
    monkeypatch.setattr("trainables.networks.graphs._EXTRA", ("onnx_of_nobody",))
    files = write_files(tmp_path, left, masked, 32)
    assert files["network.onnx"].is_optional and "make onnx" in files["network.onnx"].why_not
    assert {path.name for path in tmp_path.iterdir()} == {"network.safetensors", "network.pt2"}


@pytest.mark.long
@pytest.mark.parametrize("name", ["googlenet", "resnet50", "mobilenet_v2"])
def test_networks_of_half_their_filters_are_read_alone(tmp_path, monkeypatch, name):
    pytest.importorskip("onnxscript")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    quick = partial(measure_latencies, seconds=0)
    monkeypatch.setattr("sweeps.export.measured.measure_latencies", quick)
    read = export_and_read(name, pictures(None, 20, 96), tmp_path / "results")
    assert read.exported.problems == []
    assert read.apart.keys() == read.exported.files.keys()
    assert max(read.apart.values()) <= TOLERANCE
    n_bytes = read.exported.measured.n_bytes
    assert n_bytes["exported"] < 0.55 * n_bytes["dense"]

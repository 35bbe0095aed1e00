"""Every number of a trial's summary is computed again from its tables; what scores refuse."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from mis_oracles import ranked_images, unit_score
from small_studies import small_base
from torch import nn

from mis import UNIT_STATES, build_tasks
from trainables.artifacts import DISSECTION, UNITS
from trainables.config import DissectionConfig
from trainables.datasets.ahead import network_inputs
from trainables.datasets.loading import load_data
from trainables.randomness import generator
from trainables.scores import passes
from trainables.scores.dissection import (
    check_dissection,
    concept_source,
    dissect_network,
    dissected_layers,
)
from trainables.scores.embeddings import probe_vectors
from trainables.scores.mis import measure
from trainables.scores.scoring import mis_metrics
from trainables.training.dense import load_dense
from trainables.trial import run_trial

FROM_ELSEWHERE = {"mis/slope", "mis/shuffled_mean", "mis/shuffled_error"}  # of the image set
CONFIG = small_base(
    **{
        "prune.granularity": "filter",
        "prune.scope": "layer",
        "finetune": None,
        "recalibrate_images": 64,
        "data.probe_images": 90,
        "score.n_tasks": 3,
        "score.n_explanations": 2,
        "dissection": DissectionConfig(n_images=80, quantile=0.03),
    }
)
DENSE = CONFIG.replace(
    {
        "prune": None,
        "recalibrate_images": 0,
        "dissection.layers": ("conv3", "inception4a.branch1"),
    }
)


@pytest.fixture(scope="module")
def result(workspace):
    return run_trial(CONFIG, workspace)


@pytest.fixture(scope="module")
def dense(workspace):
    return run_trial(DENSE, workspace)


@pytest.fixture
def network(workspace):
    return load_dense(CONFIG, load_data(CONFIG.data, workspace.cache), workspace.cache).eval()


def replicates_of(units):
    """[deal, group, unit]: MIS without each tenth of the images."""
    return np.stack(units["replicates"].to_list()).T.reshape(2, 10, -1)


def over_units(scores):
    """Standard error of their mean, as a bootstrap of endless resamples would have it."""
    return math.sqrt(((scores - scores.mean()) ** 2).mean() / len(scores))


def over_images(replicates):
    """A jackknife over ten groups of images; what dealing adds to it, added once."""
    first, second = replicates.mean(2)
    images = 0.9 * ((first - first.mean()) * (second - second.mean())).sum()
    return math.sqrt(max(images, 0) + ((first - second) ** 2).mean() / 2)


def error_of(units):
    return math.hypot(over_units(units["mis"]), over_images(replicates_of(units)))


@pytest.mark.slow
def test_mis_is_computed_again_from_the_units(result, dense):
    units = pd.read_parquet(result.folder / UNITS)
    of_dense = pd.read_parquet(dense.folder / UNITS)
    assert units[["layer", "channel"]].equals(of_dense[["layer", "channel"]])
    np.testing.assert_array_equal(units["dense_mis"], of_dense["mis"])
    counted = units[units["counted"]]
    alive = counted[counted["state"] == "alive"]
    change = (alive["mis"] - alive["dense_mis"]).dropna()
    replicates = replicates_of(alive)
    assert replicates.shape == (2, 10, len(alive))
    both = replicates_of(units.loc[change.index]) - replicates_of(of_dense.loc[change.index])
    expected = {
        "mis/mean": alive["mis"].mean(),
        "mis/median": alive["mis"].median(),
        "mis/task_accuracy": alive["task_accuracy"].mean(),
        "mis/n_units": len(alive),
        "mis/mean_dead_as_half": counted["mis"].fillna(0.5).mean(),
        "mis/pixels_mean": alive["mis_pixels"].mean(),
        "mis/error_units": over_units(alive["mis"]),
        "mis/error_images": over_images(replicates),
        "mis/error": error_of(alive),
        "mis/change": change.mean(),
        "mis/change_error": math.hypot(over_units(change), over_images(both)),
        "mis/n_compared": len(change),
    }
    for state in ("unread", "constant", "dead"):
        expected[f"mis/n_{state}"] = (counted["state"] == state).sum()
    for layer, of_layer in units[units["state"] == "alive"].groupby("layer"):
        expected[f"mis/{layer}/mean"] = of_layer["mis"].mean()
        expected[f"mis/{layer}/error"] = error_of(of_layer)
    found = {n: v for n, v in result.metrics.items() if n.startswith("mis/")}
    assert set(found) - FROM_ELSEWHERE == set(expected)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-9), name


@pytest.mark.parametrize("which", ["result", "dense"])
def test_dissection_is_computed_again_from_its_table(which, request):
    result = request.getfixturevalue(which)
    table = pd.read_parquet(result.folder / DISSECTION)
    alive, found = table[table["state"] == "alive"], table[table["detector"]]
    expected = {
        "dissection/interpretable": len(found),
        "dissection/unique": found["concept"].nunique(),
        "dissection/n_units": len(table),
        "dissection/n_dead": (table["state"] == "dead").sum(),
        "dissection/n_constant": (table["state"] == "constant").sum(),
        "dissection/fraction": len(found) / len(table),
        "dissection/fraction_alive": len(found) / len(alive),
        "dissection/iou_p50": alive["iou"].quantile(0.5),
        "dissection/iou_p90": alive["iou"].quantile(0.9),
        "dissection/iou_max": alive["iou"].max(),
    }
    groups = [("category", c) for c in ("shape", "texture", "colour", "scene")]
    if which == "dense":  # of few layers each has counts of its own
        groups += [("layer", layer) for layer in DENSE.dissection.layers]
    for column, name in groups:
        of_it = found[found[column] == name]
        expected[f"dissection/{name}/interpretable"] = len(of_it)
        expected[f"dissection/{name}/unique"] = of_it["concept"].nunique()
    measured = {n: v for n, v in result.metrics.items() if n.startswith("dissection/")}
    assert set(measured) == set(expected)
    for name, value in expected.items():
        assert measured[name] == pytest.approx(value, rel=1e-9), name
    assert (table["iou"] >= 0.04).equals(table["detector"])
    assert not table.loc[table["state"] != "alive", "detector"].any()


def test_the_gallery_shows_the_units_that_matter(result):
    pictures = sorted((result.folder / "gallery").iterdir())
    kinds = {picture.name.split("_1_")[0].split("_2_")[0] for picture in pictures}
    assert kinds == {"best", "median", "worst", "clearer", "less_clear"}
    assert all(picture.stat().st_size > 10_000 for picture in pictures)


def means_before_the_relu(network, data):
    """float32 [image, unit] of every convolution's BatchNorm and of the linear layer."""
    means, hooks = [], []
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            keep = lambda m, i, o: means.append(o.mean((2, 3)))  # noqa: E731
            hooks.append(module.register_forward_hook(keep))
    with torch.inference_mode():
        inputs = network_inputs(data.probe, torch.arange(90), 90, torch.device("cpu"))
        logits = network(next(iter(inputs))[1])
    for hook in hooks:
        hook.remove()
    return torch.cat([*means, logits], 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("protocol", "query"),
    [("zimmermann2024", 2), ("zimmermann2024_hard", 2), ("von_rad2024_released", 2)],
)
def test_protocols_by_loops(workspace, network, protocol, query):
    """conv1: unit 0 is pruned, 1 the same on all images, 2 below 0 everywhere."""
    convolution, norm = network.conv1.conv, network.conv1.bn
    convolution.weight.data[0] = 0
    norm.bias.data[:2] = 5
    norm.weight.data[1] = 0
    norm.weight.data[2], norm.bias.data[2] = 0.01, -9
    data = load_data(CONFIG.data, workspace.cache)
    config = DENSE.replace(
        {
            "score.protocol": protocol,
            "score.n_tasks": 2 if protocol != "zimmermann2024_hard" else 1,
            "score.n_explanations": 1,
            "compute.eval_batch_size": 90,
        }
    )
    found = measure(network, config, data, workspace.cache)
    assert found.layers[0] == "conv1" and found.layers[-1] == "fc"
    means = means_before_the_relu(network, data)
    draw = generator(config.seed, "tasks")
    priority = torch.randperm(90, generator=draw)
    if protocol == "von_rad2024_released":  # as files in a folder per class
        files = sorted(range(90), key=lambda i: (int(data.probe.labels[i]), i))
        for place, image in enumerate(files):
            priority[image] = place
    n_tasks, n_explained = config.score.n_tasks, config.score.n_tasks
    ranked = [ranked_images(means[:, unit], priority) for unit in range(means.shape[1])]
    bottom = torch.tensor(ranked)[:, : query + n_tasks]
    top = torch.tensor([list(reversed(images)) for images in ranked])[:, : query + n_tasks]
    tasks = build_tasks(
        top, bottom, n_tasks=n_tasks, k=1, generator=draw, query_rank=max(query, n_explained)
    )
    space = probe_vectors(data.probe, config.score, workspace.cache, torch.device("cpu"))
    vectors = space.vectors.double().tolist()
    states = [UNIT_STATES[s] for s in found.state.tolist()]
    released = protocol == "von_rad2024_released"
    assert states[:4] == (
        ["dead", "alive", "alive", "alive"]
        if released
        else ["constant", "constant", "dead", "alive"]
    )
    metrics, same = mis_metrics(found, None), found.minimum == found.maximum
    assert ("mis/constant_mean" in metrics) == released == ("mis/n_constant_scored" in metrics)
    if released:  # also of layers that count: all do
        scored = same & (found.state == UNIT_STATES.index("alive"))
        assert metrics["mis/n_constant_scored"] == scored.sum() >= 1
        assert metrics["mis/constant_mean"] == pytest.approx(float(found.mis[scored].mean()))
    assert set(states) <= ({"alive", "dead"} if released else set(UNIT_STATES))
    for unit in [0, 1, 2, 3, *range(64, means.shape[1], 211)]:
        asked = [
            tuple(part.tolist() if part.ndim else int(part) for part in task)
            for task in zip(
                tasks.plus[unit],
                tasks.minus[unit],
                tasks.plus_query[unit],
                tasks.minus_query[unit],
                strict=True,
            )
        ]
        assert found.shown.plus_query[unit].item() == asked[0][2]
        if states[unit] in ("dead", "constant"):
            assert math.isnan(found.mis[unit])
            continue
        want = unit_score(asked, vectors, space.slope, space.metric)
        assert float(found.mis[unit]) == pytest.approx(want[0], abs=1e-4)


class PowerCut(Exception):
    pass


def test_a_pass_over_the_images_goes_on_where_it_was_interrupted(
    workspace, network, monkeypatch, tmp_path
):
    data = load_data(CONFIG.data, workspace.cache)
    config = DENSE.replace({"compute.eval_batch_size": 10})
    whole = measure(network, config, data, workspace.cache)
    monkeypatch.setattr(passes, "_SAVED_EVERY", 20)
    seen = []

    def cut(done, total):
        seen.append(done)
        if done == 50:
            raise PowerCut

    with pytest.raises(PowerCut):
        measure(network, config, data, tmp_path, progress=cut)
    # Another seed breaks ties otherwise: its pass is another one.
    measure(network, config.replace({"seed": 1}), data, tmp_path, progress=note(seen))
    again = []
    found = measure(network, config, data, tmp_path, progress=note(again))
    assert seen[:5] == [10, 20, 30, 40, 50] and seen[5] == 10 and again[0] == 50
    assert torch.equal(found.mis.nan_to_num(-1), whole.mis.nan_to_num(-1))
    assert torch.equal(found.replicates.nan_to_num(-1), whole.replicates.nan_to_num(-1))
    assert not list(tmp_path.glob("pass-*"))


def note(seen):
    return lambda done, total: seen.append(done)


def test_activations_that_are_no_numbers_are_named(workspace, network):
    data = load_data(CONFIG.data, workspace.cache)
    network.inception4a.branch1.conv.weight.data[3] = math.nan
    message = "channel 3 of layer 'inception4a.branch1{}' is NaN or infinite"
    with pytest.raises(FloatingPointError, match=message.format(".bn")):
        measure(network, DENSE, data, workspace.cache)
    message = message.format("")
    with pytest.raises(FloatingPointError, match=message):
        dissect_network(network, DENSE, workspace.cache)


def test_what_cannot_be_dissected_is_refused(workspace, network, tmp_path):
    with pytest.raises(ValueError, match="this trial is not dissected: dissection is None"):
        concept_source(DENSE.replace({"dissection": None}), workspace.cache)
    with pytest.raises(ValueError, match="at most the 90 images with concept maps, got 91"):
        concept_source(DENSE.replace({"dissection.n_images": 91}), workspace.cache)
    folder = DENSE.replace({"data.name": "image_folder", "data.path": str(tmp_path)})
    with pytest.raises(ValueError, match=r"data.name must be 'concepts', got 'image_folder'"):
        concept_source(folder, workspace.cache)
    few = DENSE.replace({"dissection.n_images": 33, "dissection.layers": ()})
    with pytest.raises(ValueError, match=r"0.03 needs at least 34 images at the 1 x 1 maps of lay"):
        check_dissection(network, few, workspace.cache)
    check_dissection(network, few.replace({"dissection.n_images": 34}), workspace.cache)
    near = "'inception4a.branch5' is none; the nearest are inception4a.branch1,"
    for name, match in (("inception4a.branch5", near), ("fc", "'fc' is none; the nearest are ")):
        wanted = DENSE.replace({"dissection.layers": (name,)}).dissection
        with pytest.raises(ValueError, match=match):
            dissected_layers(network, wanted)


def test_concepts_that_no_image_shows_are_named_and_are_no_labels(workspace, network):
    config = DENSE.replace({"dissection.n_images": 2, "dissection.layers": ("conv3",)})
    source = concept_source(config, workspace.cache)
    _, _, labels, scenes = next(source.batches(2))
    shown = {source.spec.names[i - 1] for i in labels.unique().tolist() if i}
    shown |= {source.spec.names[i] for i in scenes.any(0).nonzero().flatten().tolist()}
    names = [name for name in source.spec.names if name not in shown]
    said = f"{len(names)} of {len(source.spec.names)} concepts .* of the 2 images .*: {names[0]},"
    with pytest.warns(UserWarning, match=said):
        _, table = dissect_network(network, config, workspace.cache)
    assert set(table["concept"].dropna()) <= shown

"""Networks in files that are taken away: equal to the trial's, and read without the trial."""

import json
from functools import partial

import pytest
import torch
from networks_for_tests import choose, draw_batchnorms
from safetensors import safe_open
from torch import nn

from benchmarks.alone import logits_alone
from pruning import Held, compact, structure_of, survivors_of
from trainables.config import NetworkConfig
from trainables.networks import (
    Latency,
    as_graph,
    build_network,
    count_cost,
    load_compacted,
    measure_latencies,
    network_arguments,
    read_compacted,
    require_onnx,
    run_graph,
    run_onnx,
    safetensors_bytes,
    save_compacted,
    save_graph,
    save_onnx,
    save_safetensors,
)


def pruned(name, granularity="filter", pixels=64, n_classes=7):
    """The masked network, the compacted one, what is left, and the arguments of the dense one."""
    torch.manual_seed(0)
    config = NetworkConfig(name=name, weights="random")
    network = build_network(config, n_classes)
    draw_batchnorms(network)
    network.eval()
    keep = choose(network, 0.5, granularity=granularity, scope="layer", criterion="l1")
    Held(network, keep).apply()
    left = survivors_of(network, keep, structure_of(network))
    return network, compact(network, left).eval(), left, network_arguments(config, n_classes)


def answers(network, images):
    with torch.no_grad():
        return network(images)


@pytest.mark.parametrize("granularity", ["filter", "input_channel", "weight"])
def test_safetensors_give_back_the_network(tmp_path, granularity):
    masked, smaller, _, arguments = pruned("resnet18", granularity)
    path, images = tmp_path / "network.safetensors", torch.randn(2, 3, 64, 64)
    save_safetensors(path, smaller, arguments)
    network = load_compacted(path)
    assert not network.training
    for name, tensor in smaller.state_dict().items():
        assert torch.equal(network.state_dict()[name], tensor)
    torch.testing.assert_close(answers(network, images), answers(smaller, images))
    torch.testing.assert_close(answers(network, images), answers(masked, images))
    (tmp_path / "any").touch()
    assert path.stat().st_mode == (tmp_path / "any").stat().st_mode  # as of what others are given
    assert path.stat().st_size == safetensors_bytes(smaller, arguments)
    n_left, n_whole = (count_cost(n, 64).params for n in (network, masked))
    assert n_left < 0.6 * n_whole if granularity == "filter" else n_left <= n_whole


def test_a_kept_file_and_an_exported_one_are_read_by_one_loader(tmp_path):
    _, smaller, left, arguments = pruned("resnet18")
    save_compacted(tmp_path / "kept.pt", smaller, left, arguments)
    save_safetensors(tmp_path / "file", smaller, arguments)  # an ending is no promise
    kept, exported = (read_compacted(tmp_path / name) for name in ("kept.pt", "file"))
    for (name, one), (other, two) in zip(
        kept.network.state_dict().items(), exported.network.state_dict().items(), strict=True
    ):
        assert name == other and torch.equal(one, two)
    assert kept.arguments == exported.arguments == arguments
    assert kept.survivors is not None and exported.survivors is None


def test_tensors_that_share_memory_are_written(tmp_path):
    _, smaller, _, arguments = pruned("resnet18")
    smaller.layer1[0].bn1.bias = smaller.layer1[0].bn2.bias
    save_safetensors(tmp_path / "shared", smaller, arguments)
    network = load_compacted(tmp_path / "shared")
    assert torch.equal(network.layer1[0].bn1.bias, smaller.layer1[0].bn2.bias)


HEADERS = {
    "no header of ours": {"format": "pt"},
    "no JSON": {"secateur.network": "{"},
    "no network": {"secateur.network": "[1]"},
    "another argument": {"secateur.network": '{"name": "resnet18", "pretrained": true}'},
    "another module": {"secateur.network": '{"name": "os:system", "num_classes": 7}'},
    "another shape": {"secateur.network": '{"name": "resnet34", "num_classes": 7}'},
}


@pytest.mark.parametrize("name", HEADERS)
def test_other_safetensors_are_refused(tmp_path, name):
    from safetensors.torch import save_file

    _, smaller, _, _ = pruned("resnet18")
    save_file(
        {n: t.contiguous() for n, t in smaller.state_dict().items()},
        tmp_path / "x.safetensors",
        metadata=HEADERS[name],
    )
    with pytest.raises(ValueError, match="must be a compacted network|another network|os:system"):
        load_compacted(tmp_path / "x.safetensors")


def test_latencies_are_of_each_network_by_turns():
    called = []

    class Noted(nn.Module):
        def __init__(self, name):
            super().__init__()
            self.weight, self.name = nn.Parameter(torch.zeros(1)), name

        def forward(self, images):
            called.append((self.name, len(images)))
            return images.mean()

    found = measure_latencies({"a": Noted("a"), "b": Noted("b")}, 8, 4, seconds=0)
    assert called == [("a", 4), ("b", 4)] * 7  # two to warm up, five that count
    for latency in found.values():
        assert isinstance(latency, Latency) and latency.n == 5 and latency.batch_size == 4
        assert 0 < latency.lower <= latency.median <= latency.upper


def test_latencies_are_milliseconds_per_image_without_the_warm_up(monkeypatch):
    seconds = iter([9.0, 9.0, 0.1, 0.2, 0.4, 0.5, 0.7])
    monkeypatch.setattr("trainables.networks.cost._seconds", lambda *_: next(seconds))
    (found,) = measure_latencies({"a": nn.Conv2d(3, 1, 1)}, 8, 4, seconds=0).values()
    expected = (400 / 4, 200 / 4, 500 / 4)
    assert (found.median, found.lower, found.upper) == pytest.approx(expected)


def test_a_missing_extra_is_a_sentence_with_its_command(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="onnx, onnxscript, onnxruntime are not .*: make onnx"):
        require_onnx()


class Branches(nn.Module):
    """Its forward pass depends on what is in the images, which no graph can say."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, images):
        return images.mean((2, 3)) if images.sum() > 3 else images.amax((2, 3))


def test_what_torch_cannot_follow_is_refused_in_a_sentence():
    with pytest.raises(ValueError, match="must be one that torch.export follows.*it is not"):
        as_graph(Branches(), 16)


@pytest.mark.slow
def test_the_loader_needs_torch_torchvision_and_safetensors(tmp_path):
    _, smaller, _, arguments = pruned("resnet18")
    save_safetensors(tmp_path / "network.safetensors", smaller, arguments)
    images = torch.randn(2, 3, 64, 64)
    found = logits_alone(tmp_path / "network.safetensors", images, tmp_path)
    torch.testing.assert_close(found, answers(smaller, images))


@pytest.mark.slow
def test_graphs_take_any_batch_and_need_nothing_of_ours(tmp_path):
    pytest.importorskip("onnxscript")
    onnx = pytest.importorskip("onnx")
    _, smaller, _, _ = pruned("resnet18")
    graph = as_graph(smaller.to(memory_format=torch.contiguous_format), 64)
    save_graph(graph, tmp_path / "network.pt2")
    save_onnx(graph, tmp_path / "network.onnx", 64)
    close = partial(torch.testing.assert_close, rtol=1e-4, atol=1e-4)
    for n in (1, 5):
        images = torch.randn(n, 3, 64, 64)
        expected = answers(smaller, images)
        close(run_graph(tmp_path / "network.pt2", images), expected)
        close(run_onnx(tmp_path / "network.onnx", images), expected)
    for name in ("network.pt2", "network.onnx"):
        close(logits_alone(tmp_path / name, images, tmp_path), expected)
        assert b"site-packages" not in (tmp_path / name).read_bytes()
    model = onnx.load(tmp_path / "network.onnx")
    (put,), (got,) = model.graph.input, model.graph.output
    assert (put.name, got.name) == ("images", "logits")
    assert put.type.tensor_type.shape.dim[0].dim_param == "batch"


def test_the_header_says_what_network_it_was(tmp_path):
    _, smaller, _, arguments = pruned("resnet18")
    save_safetensors(tmp_path / "x", smaller, arguments)
    with safe_open(tmp_path / "x", "pt") as file:
        assert json.loads(file.metadata()["secateur.network"]) == arguments
        assert set(file.keys()) == set(smaller.state_dict())

"""What is left of the networks: its cost, its file, and how it is built again."""

import copy

import pytest
import torch
from networks_for_tests import choose
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import get_model_weights

from pruning import (
    Held,
    compact,
    compact_keep,
    prunable_weights,
    read_filters,
    structure_of,
    survivors_of,
)
from trainables.config import NetworkConfig
from trainables.networks import (
    build_network,
    count_cost,
    load_compacted,
    measure_latency,
    network_arguments,
    rebuild,
    save_compacted,
)

ARGUMENTS = network_arguments(NetworkConfig(weights="random"), 7)
NAMES = ("googlenet", "resnet50", "vgg16", "vgg16_bn")


def network_of(name="googlenet"):
    torch.manual_seed(0)
    return build_network(NetworkConfig(name=name, weights="random"), 7).eval()


def pruned(granularity, rate=0.5):
    network = network_of()
    keep = choose(network, rate, granularity=granularity, scope="layer", criterion="random")
    Held(network, keep).apply()
    kept = survivors_of(network, keep, structure_of(network))
    return network, keep, compact(network, kept), kept


def test_a_third_of_the_cost_is_left_at_half_of_the_filters():
    network, keep, smaller, kept = pruned("filter")
    whole, small = count_cost(network, 64), count_cost(smaller, 64)
    assert small.macs < 0.4 * whole.macs
    assert compact_keep(keep, kept) == {}
    dense = count_cost(network_of(), 64)
    assert whole.nonzero_macs < 0.6 * whole.macs  # rows of zeros, columns not
    assert dense.nonzero_macs == dense.macs == whole.macs
    assert small.nonzero_macs == small.macs
    assert measure_latency(smaller, 32, repeats=1) > 0


def test_published_costs():
    """torchvision's own numbers at 224 px: parameters, and multiply-adds in thousand millions."""
    for name in NAMES:
        network = build_network(NetworkConfig(name=name, weights="random"), 1000)
        weights = get_model_weights(name).IMAGENET1K_V1
        cost = count_cost(network, 224)
        assert cost.params == weights.meta["num_params"]
        assert cost.macs / 1e9 == pytest.approx(weights.meta["_ops"], rel=0.02)


@pytest.mark.parametrize("name", NAMES)
def test_multiply_adds_are_those_that_torch_counts(name):
    network = network_of(name)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 3, 64, 64))
    assert count_cost(network, 64).macs == counter.get_total_flops() / 2


def test_every_channel_of_a_concatenation_is_where_it_is_said_to_be():
    network = network_of()
    keep = {n: torch.ones(w.shape, dtype=torch.bool) for n, w in prunable_weights(network).items()}
    # What reads 3a: channels 64 … 191 are branch2's.
    for reader in ("branch1", "branch2.0", "branch3.0", "branch4.1"):
        keep[f"inception3b.{reader}.conv.weight"][:, 64 + 5] = False
    read = read_filters(network, keep, structure_of(network))
    assert (~read["inception3a.branch2.1.conv"]).nonzero().flatten().tolist() == [5]
    assert all(c.all() for n, c in read.items() if n != "inception3a.branch2.1.conv")


@pytest.mark.parametrize("name", NAMES)
def test_a_network_is_rebuilt_from_its_arguments(name):
    network = network_of(name)
    again = rebuild(network_arguments(NetworkConfig(name=name, weights="random"), 7))
    again.load_state_dict(network.state_dict())
    assert type(again) is type(network)


@pytest.mark.parametrize("name", NAMES)
def test_imagenet_weights_are_torchvisions_and_of_1000_classes(name):
    config = NetworkConfig(name=name, weights="imagenet")
    with pytest.raises(ValueError, match="ImageNet weights have 1000 classes, the data has 20"):
        build_network(config, 20)


def test_imagenet_weights_of_resnet50_load_from_where_torchvision_keeps_them(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    torch.manual_seed(1)
    network = build_network(NetworkConfig(name="resnet50", weights="random"), 1000)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(network.state_dict(), folder / "resnet50-0676ba61.pth")
    config = NetworkConfig(name="resnet50", weights="imagenet")
    loaded = build_network(config, 1000)
    assert torch.equal(loaded.fc.weight, network.fc.weight)


def test_a_compacted_network_loads_in_one_call(tmp_path):
    network, _, smaller, kept = pruned("input_channel", 0.6)
    save_compacted(tmp_path / "compacted.pt", smaller, kept, ARGUMENTS)
    loaded = load_compacted(tmp_path / "compacted.pt")
    x = torch.randn(2, 3, 40, 40)
    with torch.no_grad():
        assert torch.equal(loaded(x), smaller.eval()(x))
        torch.testing.assert_close(loaded(x), copy.deepcopy(network)(x), rtol=1e-4, atol=1e-5)
    torch.save(network.state_dict(), tmp_path / "whole.pt")
    with pytest.raises(ValueError, match="whole.pt must be a compacted network as a trial leaves"):
        load_compacted(tmp_path / "whole.pt")


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("state", None),
        ("state", 3),
        ("state", torch.zeros(2)),
        ("state", {3: torch.zeros(1)}),
        ("network", ARGUMENTS | {"name": None}),
        ("network", ARGUMENTS | {"name": ["googlenet"]}),
        ("network", ARGUMENTS | {"name": "fasterrcnn_resnet50_fpn"}),  # it fetches weights
        ("network", ARGUMENTS | {"weights_backbone": "DEFAULT"}),
        ("network", {"name": "mine:make", "num_classes": 4, "code": 5}),
        ("network", {"name": "mine:make", "num_classes": 4, "code": "../../etc"}),
        ("", None),
    ],
    ids=range(11),
)
def test_a_compacted_network_that_was_tampered_with_is_refused(tmp_path, monkeypatch, part, change):
    monkeypatch.setattr("torch.hub.download_url_to_file", lambda *_, **__: pytest.fail("fetched"))
    _, _, smaller, kept = pruned("input_channel", 0.6)
    path = tmp_path / "compacted.pt"
    save_compacted(path, smaller, kept, ARGUMENTS)
    saved = torch.load(path, weights_only=True)
    saved.pop("state") if not part else saved.update({part: change})
    torch.save(saved, path)
    with pytest.raises(ValueError, match="must be a compacted network as a trial leaves it"):
        load_compacted(path)

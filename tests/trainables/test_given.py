"""A network that was pruned elsewhere: read from its file, and scored beside the dense one."""

import copy

import numpy as np
import pytest
import torch
from networks_for_tests import choose, draw_batchnorms
from small_studies import small_base
from torch import nn
from torch.nn.utils import prune

from pruning import compact, structure_of, survivors_of
from trainables.config import GivenConfig, NetworkConfig
from trainables.networks import build_network, given_network, given_said, load_compacted
from trainables.trial import run_trial
from trainables.workspace import Workspace

pytestmark = pytest.mark.slow

NAMES = ("mnasnet0_5", "resnet18", "mobilenet_v2", "googlenet", "densenet121")


def dense(name="resnet18", n_classes=20):
    torch.manual_seed(0)
    network = build_network(NetworkConfig(name=name, weights="random"), n_classes)
    draw_batchnorms(network)
    return network.eval()


def without_filters(network, rate=0.5):
    """As a library for pruning leaves it: smaller tensors under the same names."""
    pruned = copy.deepcopy(network)
    keep = choose(pruned, rate, granularity="filter", scope="layer", criterion="l1")
    for name, mask in keep.items():
        pruned.get_parameter(name).data.mul_(mask)
    return compact(pruned, survivors_of(pruned, keep, structure_of(pruned)))


def with_zeros(network):
    pruned = copy.deepcopy(network)
    for parameter in pruned.parameters():
        if parameter.dim() == 4:
            parameter.data.mul_(parameter.abs() > parameter.abs().median())
    return pruned


def saved(network, path):
    torch.save({"state_dict": network.state_dict(), "epoch": 3}, path)
    return GivenConfig(path=str(path))


@pytest.mark.parametrize("name", NAMES)
def test_removed_channels_are_told_by_the_shapes(name, tmp_path):
    smaller = without_filters(dense(name))
    given = saved(smaller, tmp_path / "small.pt")
    config = NetworkConfig(name=name, weights="random")
    network, left = given_network(dense(name), config, given)
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(network(images), smaller(images))
    assert left is not None
    assert "which ones the file does not say" in given_said(config, given, 20, 64)


def test_what_torch_pruning_leaves_is_read(tmp_path):
    tp = pytest.importorskip("torch_pruning")
    network, images = dense(), torch.randn(2, 3, 64, 64)
    tp.pruner.MagnitudePruner(
        network,
        images,
        importance=tp.importance.MagnitudeImportance(p=1),
        pruning_ratio=0.5,
        ignored_layers=[network.fc],
    ).step()
    given = saved(network, tmp_path / "tp.pt")
    config = NetworkConfig(name="resnet18", weights="random")
    again, left = given_network(dense(), config, given)
    torch.testing.assert_close(again(images), network.eval()(images))
    assert left is not None and again.conv1.out_channels == 32


def test_channels_of_a_layer_norm_go_too(tmp_path):
    """By hand: what `compact` does not remove, other libraries do."""

    class Normed(nn.Sequential):
        def __init__(self, width):
            layers = nn.Conv2d(3, width, 3), nn.GroupNorm(2, width), nn.AdaptiveAvgPool2d(1)
            super().__init__(*layers, nn.Flatten(), nn.LayerNorm(width), nn.Linear(width, 20))

    smaller = Normed(4).eval()
    given, images = saved(smaller, tmp_path / "a.pt"), torch.randn(2, 3, 8, 8)
    again, left = given_network(Normed(8), NetworkConfig(weights="random"), given)
    assert left is not None
    torch.testing.assert_close(again(images), smaller(images))


def test_a_head_is_kept_for_the_classes_that_the_data_has(tmp_path):
    given = saved(with_zeros(whole := dense(n_classes=1000)), tmp_path / "a.pt")
    places = {"head": "kept", "kept_classes": (6, 0, 999)}
    config = NetworkConfig(name="resnet18", weights="file", checkpoint="/a.pt", **places)
    again, left = given_network(dense(n_classes=3), config, given)
    assert left is None and torch.equal(again.fc.weight, whole.fc.weight[[6, 0, 999]])


def test_zeros_are_read_as_torchs_own_pruning_leaves_them(tmp_path):
    network = dense()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            prune.l1_unstructured(module, "weight", 0.3)
    given = saved(network, tmp_path / "masks.pt")
    config = NetworkConfig(name="resnet18", weights="random")
    again, left = given_network(dense(), config, given)
    assert left is None and torch.equal(again.conv1.weight, network.conv1.weight)
    assert float((again.conv1.weight == 0).float().mean()) == pytest.approx(0.3, abs=1e-3)
    assert "29.9% of the parameters are zero, all shapes are" in given_said(config, given, 20, 64)


def cut(name, index):
    def change(network, path):
        state = network.state_dict()
        torch.save({**state, name: state[name][index]}, path)

    return change


REFUSED = {
    "a whole module": (torch.save, r"torch.save\(model.state_dict\(\), 'weights.pt'\)$"),
    "one layer alone": (
        cut("layer1.0.conv1.weight", slice(0, 32)),
        "must hold a network that computes: of resnet18 channels are missing in some layers, and",
    ),
    "no channels": (cut("layer1.0.conv1.weight", slice(0, 0)), "conv1.weight must be at most"),
    "another kernel": (
        cut("conv1.weight", (slice(None), slice(None), slice(0, 3))),
        r"conv1.weight must be at most \(64, 3, 7, 7\), it is \(64, 3, 3, 7\)",
    ),
    "fewer classes": (cut("fc.bias", slice(0, 7)), "it gives|computes|must give"),
    "another network": (
        lambda network, path: torch.save(dense("resnet34").state_dict(), path),
        "is a checkpoint of another network: 0 entries are missing, 96 entries",
    ),
    "two state_dicts": (
        lambda n, path: torch.save({"model": n.state_dict(), "model_ema": n.state_dict()}, path),
        "given.entry must name one, given.entry=model or another",
    ),
    "text": (lambda _, path: path.write_text("x"), "it is another kind of file, or was cut off"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_such_network_is_refused_in_one_sentence(tmp_path, name):
    make, message = REFUSED[name]
    make(dense(), tmp_path / "a.pt")
    config = NetworkConfig(name="resnet18", weights="random")
    with pytest.raises(ValueError, match=message):
        given_said(config, GivenConfig(path=str(tmp_path / "a.pt")), 20, 64)


def test_a_file_that_changed_is_refused(tmp_path):
    given = saved(dense(), tmp_path / "a.pt")
    given = GivenConfig(path=given.path, digest="0" * 16)
    with pytest.raises(ValueError, match="a.pt has changed; plan it anew"):
        given_network(dense(), NetworkConfig(name="resnet18", weights="random"), given)


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """Results of the dense network, of zeros in it, and of it without half of its filters."""
    folder, network = tmp_path_factory.mktemp("given"), dense()
    saved(network, folder / "dense.pt")
    of = NetworkConfig(name="resnet18", weights="file", checkpoint=str(folder / "dense.pt"))
    base = small_base(network=of, prune=None, finetune=None)
    results = {"dense": run_trial(base, Workspace(folder / "results"))}
    for name, pruned in (("zeros", with_zeros(network)), ("small", without_filters(network))):
        config = base.replace({"given": saved(pruned, folder / f"{name}.pt")})
        results[name] = run_trial(config, Workspace(folder / "results"))
    return network, results


def test_zeros_are_compared_unit_by_unit(scored):
    _, results = scored
    units, dense_units = results["zeros"].units, results["dense"].units
    np.testing.assert_array_equal(units["dense_mis"], dense_units["mis"])
    alive = units[(units["state"] == "alive") & units["counted"]]
    change = (alive["mis"] - alive["dense_mis"]).mean()
    metrics = results["zeros"].metrics
    assert metrics["mis/change"] == pytest.approx(change, abs=1e-9)
    assert "mis/change_unpaired" not in metrics
    assert metrics["prune/sparsity"] == pytest.approx(0.5, abs=0.01)


def test_without_a_map_of_channels_changes_are_of_means(scored):
    network, results = scored
    units, dense_units = results["small"].units, results["dense"].units
    metrics = results["small"].metrics
    assert "mis/change" not in metrics and units["dense_mis"].isna().all()

    def means(table):
        alive = table[(table["state"] == "alive") & table["counted"]]
        return alive["mis"].mean(), alive.groupby("layer")["mis"].mean()

    (here, of_layers), (there, dense_layers) = means(units), means(dense_units)
    assert metrics["mis/change_unpaired"] == pytest.approx(here - there, abs=1e-9)
    for layer, mean in of_layers.items():
        expected = mean - dense_layers[layer]
        assert metrics[f"mis/{layer}/change_unpaired"] == pytest.approx(expected, abs=1e-9)
    assert metrics["mis/change_unpaired_error"] > 0


def test_what_is_gone_counts_as_zero(scored):
    network, results = scored
    smaller, metrics = without_filters(network), results["small"].metrics
    sizes = [sum(p.numel() for p in each.parameters()) for each in (smaller, network)]
    left = sum(int(p.count_nonzero()) for p in smaller.parameters())
    assert metrics["prune/sparsity_network"] == pytest.approx(1 - left / sizes[1], abs=1e-6)
    left = sum(int(m.weight.count_nonzero()) for n, m in smaller.named_modules() if _counts(n, m))
    whole = sum(m.weight.numel() for n, m in network.named_modules() if _counts(n, m))
    assert metrics["prune/sparsity"] == pytest.approx(1 - left / whole, abs=1e-6)
    assert (metrics["cost/params"], metrics["cost/params_dense"]) == tuple(sizes)


def _counts(name, module):
    return isinstance(module, nn.Conv2d) and name != "conv1"


def test_it_can_be_loaded_as_a_compacted_network(scored):
    network, results = scored
    images = torch.randn(2, 3, 32, 32)
    loaded = load_compacted(results["small"].folder / "compacted.pt")
    torch.testing.assert_close(loaded(images), without_filters(network)(images))


def test_it_is_scored_as_it_is(tmp_path):
    given = GivenConfig(path="/a.pt")
    with pytest.raises(ValueError, match="given must be scored as it is: without prune, finetune"):
        small_base(given=given)
    config = small_base(given=given, prune=None, finetune=None)
    assert (config.method, config.label) == ("given", "given")
    assert config.key != small_base(prune=None, finetune=None).key
    with pytest.raises(ValueError, match="path must be a checkpoint, got ''"):
        GivenConfig()

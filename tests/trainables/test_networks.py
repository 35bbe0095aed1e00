"""GoogLeNet: which units there are, who reads them, and weights that fit or are refused."""

import copy
import urllib.error

import pytest
import torch
from networks_for_tests import choose
from torch import nn
from torchvision.models import googlenet, resnet18

from pruning import Held, compact, structure_of, survivors_of
from trainables.config import NetworkConfig, TrainConfig
from trainables.networks import (
    build_network,
    count_cost,
    file_digest,
    load_checkpoint,
    logits_of,
    unit_layers,
    unread_units,
)

STARTS = ("branch1", "branch2.0", "branch3.0", "branch4.1")
IMAGENET = "googlenet-1378be20.pth"  # as torchvision's URL names it


@pytest.fixture(scope="module")
def dense():
    """float64, with statistics of its own inputs: else a signal is lost in 22 layers."""
    torch.manual_seed(0)
    network = googlenet(weights=None, init_weights=False, aux_logits=False, num_classes=10)
    network = network.double().train()
    for norm in (m for m in network.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.momentum = None
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, 0.3, 0.2)
    with torch.no_grad():
        network(torch.randn(8, 3, 32, 32, dtype=torch.float64))
    return network.eval()


@pytest.fixture(scope="module")
def imagenet():
    """What torchvision's file holds: 1000 classes, and auxiliary heads."""
    torch.manual_seed(1)
    network = googlenet(weights=None, init_weights=False, aux_logits=True)
    for tensor in network.buffers():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5)
    return network


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty download cache, and no internet."""

    def offline(url, *_, **__):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    # Not by set_dir, after which the process would never look at TORCH_HOME again.
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    return tmp_path / "hub" / "checkpoints"


def test_units_of_57_convolutions_and_the_classifier_in_order_of_execution(dense):
    layers = [layer.name for layer in unit_layers(dense)]
    assert len(layers) == len(set(layers)) == 58 and layers[-1] == "fc"
    modules = dict(dense.named_modules())
    convolutions = [name for name, m in modules.items() if isinstance(m, nn.Conv2d)]
    assert {f"{layer}.conv" for layer in layers[:-1]} == set(convolutions)

    called = {}

    def note(name):
        def hook(_, __, out):
            called[name] = out.shape[1]

        return hook

    hooks = [modules[name].register_forward_hook(note(name)) for name in layers]
    with torch.no_grad():
        dense(torch.zeros(1, 3, 32, 32, dtype=torch.float64))
    for hook in hooks:
        hook.remove()
    assert list(called) == layers and sum(called.values()) == 7_280 + 10
    unread = unread_units(dense, unit_layers(dense))
    assert {name: len(mask) for name, mask in unread.items()} == called


# Layer, unit, who reads it, and as which input channel: from torchvision's table of widths.
READ_BY = [
    ("conv1", 5, ["conv2"], 5),
    ("conv2", 63, ["conv3"], 63),
    ("conv3", 7, [f"inception3a.{s}" for s in STARTS], 7),
    ("inception3a.branch1", 3, [f"inception3b.{s}" for s in STARTS], 3),
    ("inception3a.branch2.0", 4, ["inception3a.branch2.1"], 4),
    ("inception3b.branch2.1", 2, [f"inception4a.{s}" for s in STARTS], 128 + 2),
    ("inception4c.branch3.0", 0, ["inception4c.branch3.1"], 0),
    ("inception4d.branch3.1", 1, [f"inception4e.{s}" for s in STARTS], 112 + 288 + 1),
    ("inception4e.branch4.1", 127, [f"inception5a.{s}" for s in STARTS], 256 + 320 + 128 + 127),
    ("inception5b.branch2.0", 9, ["inception5b.branch2.1"], 9),
    ("inception5b.branch3.1", 8, ["fc"], 384 + 384 + 8),
]


def silence(network, readers, channel):
    """Zero the weights with which `readers` read an input channel."""
    for reader in readers:
        name = "fc.weight" if reader == "fc" else f"{reader}.conv.weight"
        network.get_parameter(name).data[:, channel] = 0


def unread_set(network):
    unread = unread_units(network, unit_layers(network))
    return {(la, u) for la, mask in unread.items() for u in mask.nonzero()[:, 0].tolist()}


def logits_with(network, images, layer, unit):
    """The logits when a unit puts out something else."""

    def disturb(_, __, out):
        out = out.clone()
        out[:, unit] += 5
        return out

    hook = network.get_submodule(layer).register_forward_hook(disturb)
    with torch.no_grad():
        logits = network(images)
    hook.remove()
    return logits


def test_unread_units_are_those_whose_outgoing_weights_are_all_zero(dense):
    assert unread_set(dense) == set()
    network = copy.deepcopy(dense)
    for _, _, readers, channel in READ_BY:
        silence(network, readers[1:], channel)
    assert unread_set(network) == set()  # one reader is enough
    for _, _, readers, channel in READ_BY:
        silence(network, readers[:1], channel)
    assert unread_set(network) == {(layer, unit) for layer, unit, _, _ in READ_BY}


def test_what_an_unread_unit_puts_out_changes_no_logit(dense):
    network = copy.deepcopy(dense)
    for _, _, readers, channel in READ_BY:
        silence(network, readers, channel)
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        logits = network(images)
    unread = unread_units(network, unit_layers(network))
    for layer, unit, _, _ in READ_BY:
        other = (unit + 1) % len(unread[layer])
        assert unread[layer][unit] and not unread[layer][other]
        assert torch.equal(logits_with(network, images, layer, unit), logits)
        assert not torch.allclose(logits_with(network, images, layer, other), logits, atol=1e-9)


def test_a_unit_that_only_unread_units_read_is_unread(dense):
    network = copy.deepcopy(dense)
    branch = slice(384, 384 + 384)  # 5b's branch2.1 in the classifier's inputs
    silence(network, ["fc"], branch)
    silence(network, ["inception5b.branch1", "inception5b.branch3.0", "inception5b.branch4.1"], 17)
    expected = {("inception5b.branch2.1", unit) for unit in range(384)}
    expected |= {("inception5b.branch2.0", unit) for unit in range(192)}
    expected.add(("inception5a.branch1", 17))  # which only 5b's branch2.0 reads
    assert unread_set(network) == expected
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        logits = network(images)
    assert torch.equal(logits_with(network, images, "inception5a.branch1", 17), logits)


def test_cost_is_the_published_one():
    network = build_network(NetworkConfig(weights="random"), 1000)
    cost = count_cost(network, 224)
    assert (cost.params, cost.macs) == (6_624_904, 1_498_376_192)
    assert network.training and network.fc.weight.device.type == "cpu"  # left as it was


def test_the_auxiliary_heads_cost_parameters_only(imagenet):
    cost = count_cost(imagenet, 224)
    assert (cost.params, cost.macs) == (13_004_888, 1_498_376_192)


def test_random_weights_come_from_the_global_generator():
    config = NetworkConfig(weights="random")
    networks = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        networks.append(build_network(config, 7))
    weights = [network.fc.weight for network in networks]
    assert weights[0].shape == (7, 1024)
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    assert not networks[0].transform_input and networks[0].aux1 is None


@pytest.mark.filterwarnings("ignore:auxiliary heads")
@pytest.mark.parametrize("aux_heads", [True, False])
def test_imagenet_weights_are_torchvisions(hub, imagenet, aux_heads):
    torch.save(imagenet.state_dict(), hub / IMAGENET)
    network = build_network(NetworkConfig(weights="imagenet", aux_heads=aux_heads), 1000)
    assert network.transform_input and network.aux_logits == aux_heads
    expected = {
        name: tensor
        for name, tensor in imagenet.state_dict().items()
        if aux_heads or not name.startswith("aux")
    }
    loaded = network.state_dict()
    assert loaded.keys() == expected.keys()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in expected.items())
    n_heads = len(logits_of(network.train()(torch.randn(2, 3, 64, 64)))[1])
    assert n_heads == (2 if aux_heads else 0)


def test_imagenet_weights_refuse(hub, imagenet):
    config = NetworkConfig(weights="imagenet")
    with pytest.raises(ValueError, match="ImageNet weights have 1000 classes, the data has 10:"):
        build_network(config, 10)
    with pytest.raises(ValueError, match=f"downloaded from https.*{IMAGENET}, or put into .*no ro"):
        build_network(config, 1000)
    torch.save({"fc.weight": torch.zeros(1000, 1024)}, hub / IMAGENET)
    with pytest.raises(ValueError, match="must be torchvision's checkpoint of googlenet; what was"):
        build_network(config, 1000)
    (hub / IMAGENET).write_text("404: not found")
    with pytest.raises(ValueError, match="must be torchvision's checkpoint of googlenet; what was"):
        build_network(config, 1000)


def test_a_checkpoint_is_loaded_whole(tmp_path, dense):
    path = tmp_path / "dense.pt"
    torch.save(dense.state_dict(), path)
    network = build_network(NetworkConfig(weights="file", checkpoint=str(path)), 10)
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, dense.state_dict()[name].to(tensor.dtype)), name


def write(path, kind):
    """Something that is no checkpoint of GoogLeNet with 10 classes and no heads."""
    if kind == "text":
        path.write_text("weights")
    elif kind == "empty":
        path.touch()
    elif kind != "missing":
        googlenet_7 = googlenet(weights=None, init_weights=False, aux_logits=False, num_classes=7)
        torch.save(
            {
                "resnet": lambda: resnet18(weights=None).state_dict(),
                "classes": googlenet_7.state_dict,
                "heads": lambda: googlenet(
                    weights=None, init_weights=False, num_classes=10
                ).state_dict(),
                "module": lambda: googlenet_7,
                "nested": lambda: {"model": googlenet_7.state_dict(), "epoch": 3},
                "list": lambda: [torch.zeros(3)],
            }[kind](),
            path,
        )


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "must be a file, .*/weights.pt is none$"),
        ("text", "must be a state_dict saved by torch.save: "),
        ("empty", "must be a state_dict saved by torch.save: "),
        ("module", "must be a state_dict saved by torch.save: "),
        ("nested", r"another network: fc.weight must be \(10, 1024\), it is \(7, 1024\)$"),
        ("list", "must hold a state_dict, it holds a list$"),
        ("resnet", r"of another network: 342 entries \(conv1.conv.weight, .* …\) are missing, 1"),
        ("heads", r"another network: 0 entries are missing, 20 entries \(aux1.conv.conv.weight, "),
        ("classes", r"another network: fc.weight must be \(10, 1024\), it is \(7, 1024\)$"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_in_one_sentence(tmp_path, dense, kind, message):
    path = tmp_path / "weights.pt"
    write(path, kind)
    before = copy.deepcopy(dense.state_dict())
    with pytest.raises(ValueError, match=message) as refusal:
        load_checkpoint(dense, path)
    assert str(path) in str(refusal.value) and "\n" not in str(refusal.value)
    assert all(torch.equal(before[name], tensor) for name, tensor in dense.state_dict().items())


def test_file_digest_is_of_the_contents(tmp_path):
    for name, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / name).write_bytes(content)
    a, b, c = (file_digest(tmp_path / name) for name in "abc")
    assert a == b != c and len(a) == 16
    with pytest.raises(ValueError, match="must be a file"):
        file_digest(tmp_path / "d")


def test_training_from_scratch_builds_the_same_network_as_random_weights():
    networks = []
    for config in (NetworkConfig(weights="random"), NetworkConfig(recipe=TrainConfig())):
        torch.manual_seed(3)
        networks.append(build_network(config, 10))
    assert torch.equal(networks[0].fc.weight, networks[1].fc.weight)


@pytest.mark.parametrize("aux_heads", [False, True])
def test_a_compacted_googlenet_equals_the_masked_one(aux_heads):
    network = googlenet(
        weights=None, init_weights=False, aux_logits=aux_heads, num_classes=7, dropout=0.0
    ).double()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0, 0.3)
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    keep = choose(
        network,
        0.5,
        granularity="filter",
        scope="layer",
        criterion="random",
        generator=torch.Generator().manual_seed(0),
        exclude=("aux1", "aux2") if aux_heads else (),
    )
    Held(network, keep).apply()
    smaller = compact(network, survivors_of(network, keep, structure_of(network)))
    n_weights = [sum(p.numel() for p in n.parameters()) for n in (smaller, network)]
    assert n_weights[0] < (0.7 if aux_heads else 0.35) * n_weights[1]
    # An odd size: pools that round up; 97 px is enough for the auxiliary heads.
    x = torch.randn(2, 3, 97, 97, dtype=torch.float64)
    for mode in (True, False):
        theirs, ours = (logits_of(n.train(mode)(x)) for n in (network, smaller))
        for a, b in zip([theirs[0], *theirs[1]], [ours[0], *ours[1]], strict=True):
            torch.testing.assert_close(b, a, rtol=1e-8, atol=1e-10)

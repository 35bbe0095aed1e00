"""The layers that are scored: in order, reading what later layers see, and who reads them."""

import pytest
import torch
from hand_tables import filter_sources
from narrow_networks import calibrate, images, narrow_network
from torch import nn
from torchvision.models import get_model

from mis import UNIT_STATES, collect_extremes, unit_states
from pruning import Held, prunable_weights
from trainables.networks import through, unit_layers, unread_units, zero_filters

NAMES = ("googlenet", "resnet", "vgg", "vgg_bn")
# Readers with a pool between them and what they read.
POOLED = {
    "resnet": {"layer1.0.conv1", "layer1.0.downsample.0"},
    "vgg": {"features.5", "features.10", "features.17", "classifier.0"},
    "vgg_bn": {"features.7", "features.14", "features.24", "classifier.0"},
}


def watch(network, layers, before=(), size=48):
    """(layer -> its output, reader -> its input) of one pass, copied before ReLUs in place."""
    outputs, inputs, hooks = {}, {}, []
    for name in layers:
        keep = lambda m, i, o, name=name: outputs.__setitem__(name, o.clone())  # noqa: E731
        hooks.append(network.get_submodule(name).register_forward_hook(keep))
    for name in before:
        keep = lambda m, i, name=name: inputs.__setitem__(name, i[0].clone())  # noqa: E731
        hooks.append(network.get_submodule(name).register_forward_pre_hook(keep))
    with torch.no_grad():
        network(images(0, size))
    for hook in hooks:
        hook.remove()
    return outputs, inputs


@pytest.mark.parametrize("name", NAMES)
def test_after_the_relu_is_what_later_layers_read(name):
    network = calibrate(narrow_network(name))
    sources = {reader: spans for reader, spans in filter_sources(network).items() if reader != "fc"}
    layers = unit_layers(network)
    outputs, inputs = watch(network, [layer.name for layer in layers], sources)
    assert list(outputs) == [layer.name for layer in layers]  # in the order of execution
    seen = {layer.layer: layer.through(outputs[layer.name].clone()) for layer in layers}
    n_equal = 0
    for reader, spans in sources.items():
        # The sum of a residual stream is the unit layer of its last summand.
        units = torch.cat([seen[span[-1]] for span in spans], 1)
        equal = units.shape == inputs[reader].shape and torch.equal(units, inputs[reader])
        n_equal += equal
        if name in POOLED:
            assert equal == (reader not in POOLED[name]), reader
    if (
        name == "googlenet"
    ):  # conv2, each branch 4, and the other starts of 3a, 4a and 5a read pools
        assert n_equal == len(sources) - 1 - 9 - 3 * 3


@pytest.mark.parametrize("name", NAMES)
def test_before_the_relu_are_the_modules_themselves(name):
    network = narrow_network(name)
    layers = unit_layers(network, "before_relu")
    kind = nn.Conv2d if name == "vgg" else nn.BatchNorm2d
    modules = [network.get_submodule(layer.name) for layer in layers]
    n_linear = sum(isinstance(m, nn.Linear) for m in network.modules())
    assert all(isinstance(m, kind) for m in modules[:-n_linear])
    assert all(isinstance(m, nn.Linear) for m in modules[-n_linear:])
    assert sum(isinstance(m, kind) for m in network.modules()) == len(layers) - n_linear
    assert not any(layer.activation for layer in layers)
    outputs, _ = watch(network, [layer.name for layer in layers])
    assert set(outputs) == {layer.name for layer in layers}
    if name != "resnet":  # where a block's downsampling is registered last but runs any time
        assert list(outputs) == [layer.name for layer in layers]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_read_before_a_relu_and_after_it_are_one_map(name):
    """All but ResNet's sums and what goes into them, and the logits."""
    network = calibrate(narrow_network(name))
    before = {layer.layer: layer for layer in unit_layers(network, "before_relu")}
    after = {layer.layer: layer for layer in unit_layers(network, "relu")}
    names = [layer.name for layer in [*before.values(), *after.values()]]
    outputs, _ = watch(network, names)
    n_equal = 0
    for convolution, layer in before.items():
        other = after.get(convolution)
        if other is None or layer.rows:
            continue
        rectified, seen = outputs[layer.name].relu(), outputs[other.name]
        equal = torch.equal(rectified, seen.relu())
        assert equal == layer.silenced, convolution
        n_equal += equal
    assert n_equal == {"googlenet": 57, "resnet": 15, "vgg": 10, "vgg_bn": 10}[name]
    titles = [layer.title for layer in before.values()]
    if name == "googlenet":  # metrics are named alike wherever units are read
        assert titles == [layer.title for layer in after.values()]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("read_at", ["before_relu", "relu"])
def test_every_layer_knows_its_filters(name, read_at):
    """Who reads them, ResNet's downsampling among them, and which have no weight left."""
    network = narrow_network(name)
    layers = unit_layers(network, read_at)
    layers = [layer for layer in layers if not layer.name.startswith("classifier")]  # narrowed
    for layer in layers:
        if not layer.rows:
            network.get_parameter(f"{layer.layer}.weight").data[::2] = 0
    outputs, _ = watch(network, [layer.name for layer in layers])
    unread, zero = unread_units(network, layers), zero_filters(network, layers)
    for layer in layers:
        width = outputs[layer.name].shape[1]
        assert unread[layer.title].shape == zero[layer.title].shape == (width,)
        assert zero[layer.title].sum() == (0 if layer.rows else (width + 1) // 2)


@pytest.mark.parametrize("name", ["googlenet", "vgg", "vgg_bn"])
def test_a_unit_is_dead_wherever_it_is_read(name):
    """Before its ReLU a silenced unit is no constant; that it is dead is seen on whole maps."""
    network = calibrate(narrow_network(name)).float()
    norms = [
        m
        for m in network.modules()
        if isinstance(m, nn.BatchNorm2d if "bn" in name or name == "googlenet" else nn.Conv2d)
    ]
    for shift, norm in enumerate(norms):
        norm.bias.data[::3] -= 0.4 * shift  # some silent on few images, some on all
        norm.weight.data[1] = 0
        norm.bias.data[1] = 0
    draw = torch.Generator().manual_seed(0)
    pictures = torch.randn(12, 3, 48, 48, generator=draw)
    batches = [(ids, pictures[ids]) for ids in torch.arange(12).split(4)]
    states, silent = {}, 0
    for read_at in ("before_relu", "relu"):
        layers = [u for u in unit_layers(network, read_at) if not u.rows]
        found = collect_extremes(
            network,
            [layer.name for layer in layers],
            batches,
            depth=3,
            priority=torch.arange(12),
            through=through(layers),
            before_relu=[layer.name for layer in layers if layer.silenced],
        )
        states[read_at] = unit_states(found) == UNIT_STATES.index("dead")
        silent += int((found.silent & (found.minimum < found.maximum)).sum())
    assert torch.equal(states["before_relu"], states["relu"])
    assert silent > 20 and not states["relu"].all()


@pytest.mark.parametrize("name", NAMES)
def test_unread_units_change_no_logit_and_others_do(name):
    network = narrow_network(name)
    generator = torch.Generator().manual_seed(0)
    keep = {}
    for weight, tensor in prunable_weights(network).items():
        columns = torch.rand(1, tensor.shape[1], 1, 1, generator=generator) < 0.4
        keep[weight] = columns.expand(tensor.shape).clone()
    last = network.fc if hasattr(network, "fc") else network.classifier[0]
    last.weight.data[:, ::2] = 0
    Held(network, keep).apply()
    calibrate(network)
    x = images(1, 48)
    with torch.no_grad():
        want = network(x)
    layers = [layer for layer in unit_layers(network) if not layer.rows]
    unread, n_moved = unread_units(network, layers), {True: [], False: []}
    for layer in layers[:: max(1, len(layers) // 9)]:
        for unit in range(0, len(unread[layer.title]), max(1, len(unread[layer.title]) // 4)):

            def disturb(_, __, out, unit=unit):
                out = out.clone()
                out[:, unit] += 3
                return out

            hook = network.get_submodule(layer.name).register_forward_hook(disturb)
            with torch.no_grad():
                moved = float((network(x) - want).abs().max())
            hook.remove()
            n_moved[bool(unread[layer.title][unit])].append(moved)
    assert len(n_moved[True]) >= 2 and max(n_moved[True]) == 0
    assert len(n_moved[False]) >= 8 and min(n_moved[False]) > 0


FURTHER = (
    *("resnet18", "alexnet", "squeezenet1_1", "densenet121", "inception_v3", "mobilenet_v2"),
    *("mobilenet_v3_small", "efficientnet_b0", "regnet_y_400mf", "shufflenet_v2_x0_5"),
    *("resnext50_32x4d", "convnext_tiny"),
)


@pytest.mark.parametrize("name", FURTHER)
def test_units_of_any_network_are_channels_of_its_layers(name):
    """One for each filter; after an activation they are what it makes of those before it."""
    torch.manual_seed(0)
    extra = {"init_weights": False} if name == "inception_v3" else {}
    network = get_model(name, weights=None, num_classes=5, **extra).double().eval()
    before = {layer.layer: layer for layer in unit_layers(network, "before_relu")}
    after = {layer.layer: layer for layer in unit_layers(network, "relu")}
    heads = {n for n, _ in network.named_modules() if n.startswith("AuxLogits.")}
    layers = {n for n, m in network.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))}
    assert set(before) == layers - heads and set(after) <= set(before)
    titles = [layer.title for layer in before.values()]
    assert len(set(titles)) == len(titles) and len({u.title for u in after.values()}) == len(after)
    names = [layer.name for layer in [*before.values(), *after.values()]]
    outputs, _ = watch(network, names, size=96 if name == "inception_v3" else 64)
    n_silenced = 0
    for layer, unit in after.items():
        raw = before[layer].through(outputs[before[layer].name].clone())
        seen = unit.through(outputs[unit.name].clone())
        filters = len(network.get_parameter(f"{layer}.weight"))
        assert raw.shape[:2] == seen.shape[:2] == (2, filters)
        if before[layer].silenced:
            ceiling = 6 if name == "mobilenet_v2" else float("inf")
            assert torch.equal(raw.relu().clamp(max=ceiling), seen)
            n_silenced += 1
    # Hardswish, SiLU and GELU silence nothing.
    assert n_silenced >= {"efficientnet_b0": 0, "convnext_tiny": 0}.get(name, 7)

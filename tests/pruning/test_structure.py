"""The structure of a network: against tables written by hand, and against what autograd sees."""

import pytest
import torch
import torch.nn.functional as F
from hand_tables import filter_sources
from narrow_networks import NARROW, images, narrow_network
from torch import nn
from torchvision.models import get_model

from benchmarks.networks import coverage
from pruning import Held, compact, structure_of, survivors_of, what_is_lost, with_followers

LAYERS = (nn.Conv2d, nn.Linear)
FURTHER = (
    *("alexnet", "resnet18", "resnet34", "resnext50_32x4d"),
    *("densenet121", "inception_v3", "squeezenet1_0", "squeezenet1_1", "mobilenet_v2"),
    *(
        "mobilenet_v3_small",
        "mobilenet_v3_large",
        "mnasnet0_5",
        "efficientnet_b0",
        "regnet_x_400mf",
        "regnet_y_400mf",
    ),
    *("shufflenet_v2_x0_5", "shufflenet_v2_x1_0"),
)


def sources_of(structure, number):
    """For each channel of a step the (layer, filter) that it depends on; None: not followed."""
    step = structure.steps[number]
    if step.width is None:
        return None
    if step.op == "layer":
        return [{(step.name, k)} for k in range(step.width)]
    given = [sources_of(structure, n) for n in step.inputs]
    if step.op in ("add", "multiply"):
        return [set().union(*channels) for channels in zip(*given, strict=True)]
    if step.op == "concat":
        return [channel for channels in given for channel in channels]
    return [given[0][k] for k in step.index] if step.op == "select" else given[0]


def inputs_of(structure, layer):
    step = structure.steps[structure.layers[layer]]
    return sources_of(structure, step.inputs[0]) if step.inputs else None


@pytest.mark.parametrize("name", NARROW)
def test_the_trace_says_what_the_tables_say(name):
    network = narrow_network(name)
    structure, width = structure_of(network), {}
    for layer, module in network.named_modules():
        if isinstance(module, LAYERS):
            width[layer] = len(module.weight)
    table = {}
    for reader, spans in filter_sources(network).items():
        table[reader] = [
            {(layer, k) for layer in span} for span in spans for k in range(width[span[0]])
        ]
    found = {layer: inputs_of(structure, layer) for layer in structure.layers}
    assert list(structure.layers) and set(structure.layers) == set(width)
    linear = {n for n, m in network.named_modules() if isinstance(m, nn.Linear)}
    assert {n: s for n, s in found.items() if n in table} == table
    assert {n for n, s in found.items() if s is not None} - set(table) <= linear
    assert structure.ends == ()


class Cut:
    """A forward pass in which the output of every layer is a leaf, so gradients go one layer back.

    What the layers put out is positive, and so is all that follows: every activation passes.
    """

    def __init__(self, network, pixels):
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.ones_(module.weight), nn.init.ones_(module.bias)
                nn.init.zeros_(module.running_mean)
        self.leaves, self.inputs = {}, {}
        for name, module in network.named_modules():
            if isinstance(module, LAYERS):
                module.register_forward_hook(self.note(name))
        # The auxiliary heads run in training only; BatchNorm stays as it is.
        network.training = True
        network(images(0, pixels))

    def note(self, name):
        def hook(_, given, output):
            self.inputs[name] = given[0]
            self.leaves[name] = torch.rand_like(output).requires_grad_()
            return self.leaves[name].clone()  # which an activation may overwrite

        return hook

    def reached(self, reader, columns):
        """(layer, channel) whose output these columns of the reader's input depend on."""
        leaves = {n: leaf for n, leaf in self.leaves.items() if n != reader}
        summed = self.inputs[reader][:, columns].sum()
        if not summed.requires_grad:
            return set()
        gradients = torch.autograd.grad(
            summed, list(leaves.values()), retain_graph=True, allow_unused=True
        )
        return {
            (name, channel)
            for name, gradient in zip(leaves, gradients, strict=True)
            if gradient is not None
            for channel in gradient.transpose(0, 1).flatten(1).any(1).nonzero()[:, 0].tolist()
        }


def further_network(name):
    """Of torchvision, with random weights and 5 classes; float64, in evaluation, no dropout."""
    torch.manual_seed(0)
    extra = {"init_weights": False, "aux_logits": False} if name == "inception_v3" else {}
    return get_model(name, weights=None, num_classes=5, **extra).double().eval()


@pytest.mark.parametrize("name", [*NARROW, *FURTHER])
def test_an_input_channel_depends_on_just_the_filters_that_are_named(name):
    network = narrow_network(name) if name in NARROW else further_network(name)
    structure = structure_of(network)
    cut = Cut(network, 96 if name == "inception_v3" else 64)
    readers = [layer for layer in structure.layers if inputs_of(structure, layer) is not None]
    assert len(readers) >= len(structure.layers) - 1  # all but the first
    for reader in [*readers[:: len(readers) // 8 + 1], readers[-1]]:
        wanted = inputs_of(structure, reader)
        each = cut.inputs[reader].shape[1] // len(wanted)
        assert each * len(wanted) == cut.inputs[reader].shape[1]
        for channel in (0, len(wanted) // 3, len(wanted) - 1):
            found = cut.reached(reader, slice(channel * each, (channel + 1) * each))
            assert found == wanted[channel], (reader, channel)


class Odd(nn.Module):
    """A first layer, something in between, a layer that reads it, and the classes."""

    def __init__(self, between, width=6):
        super().__init__()
        self.first, self.between = nn.Conv2d(3, 6, 3), between
        self.second, self.classes = nn.Conv2d(width, 4, 3), nn.Linear(4, 5)

    def forward(self, x):
        x = self.between(torch.relu(self.first(x)))
        return self.classes(torch.relu(self.second(x)).mean((2, 3)))


class TwoNumbers(nn.Module):
    def forward(self, x):
        return x if x.mean() > 0 else -x


class Sliced(nn.Module):
    def forward(self, x):
        return torch.cat([x[:, 2:], x[:, :2]], 1)


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(6, 6, 1)

    def forward(self, x):
        return self.layer(self.layer(x))


@pytest.mark.parametrize(
    ("between", "why"),
    [
        (nn.LocalResponseNorm(3), "LocalResponseNorm may mix channels"),
        (nn.GroupNorm(2, 6), "GroupNorm may mix channels"),
        (nn.InstanceNorm2d(6), "InstanceNorm2d may mix channels"),
        (nn.Softmax(1), "Softmax may mix channels"),
        (nn.Softmax2d(), "Softmax2d may mix channels"),
        (nn.PReLU(6), "PReLU may mix channels"),
        (nn.ConvTranspose2d(6, 6, 1), "ConvTranspose2d may mix channels"),
        (Sliced(), "getitem may mix channels"),
        (Twice(), "its weights are used more than once in a pass"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_may_mix_channels_ends_the_trace_by_name_and_nothing_before_it_goes(between, why):
    network = Odd(between).double().eval()
    structure = structure_of(network)
    assert why in {end.why for end in structure.ends}
    keep = {"first.weight": torch.ones(6, 3, 3, 3, dtype=torch.bool)}
    keep["first.weight"][1:4] = False
    keep = with_followers(network, keep, structure)
    Held(network, keep).apply()
    smaller = compact(network, survivors_of(network, keep, structure))
    assert len(smaller.first.weight) == 6
    x = images(1, 16)
    torch.testing.assert_close(smaller(x), network(x), rtol=0, atol=1e-12)


def test_a_network_that_cannot_be_traced_says_so_and_keeps_everything():
    network = Odd(TwoNumbers()).double().eval()
    structure = structure_of(network)
    assert structure.layers == {} and len(structure.ends) == 1
    assert what_is_lost(structure).startswith("the network Odd cannot be traced: ")
    assert structure.ends[0].name == "Odd" and "cannot be traced" in structure.ends[0].why
    keep = {"first.weight": torch.zeros(6, 3, 3, 3, dtype=torch.bool)}
    assert survivors_of(network, keep, structure) == {}


def test_what_is_lost_is_said_once_by_its_name():
    assert what_is_lost(structure_of(narrow_network("googlenet_with_heads"))) == ""
    odd = structure_of(Odd(nn.GroupNorm(2, 6)))
    assert what_is_lost(odd) == (
        "channels cannot be followed through between (GroupNorm may mix channels): filters that "
        "are read there are held at zero and not removed for real"
    )
    convnext = what_is_lost(structure_of(further_network("convnext_tiny")))
    assert "through permute (permute may mix channels) and 39 more: filters" in convnext


def test_a_mode_of_the_network_is_left_as_it_was():
    network = narrow_network("googlenet_with_heads").eval()
    structure_of(network)
    assert not any(module.training for module in network.modules())


EXACT = ("mobilenet_v3_small", "efficientnet_b0", "densenet121", "resnext50_32x4d")
EXACT += ("shufflenet_v2_x0_5", "regnet_y_400mf", "squeezenet1_1", "inception_v3")


@pytest.mark.slow
@pytest.mark.parametrize("name", EXACT)
def test_compacted_is_equal_and_smaller(name):
    """Random filters of all but depthwise layers; all networks: make bench NAME=networks."""
    row = coverage(name, ("filter",)).compacted["filter"]
    assert row.n_removed > 0.2 * row.n_empty > 0
    assert row.outputs < 1e-10 and row.gradients < 1e-8


def test_a_grouped_convolution_keeps_as_many_in_every_group():
    network = further_network("resnext50_32x4d")
    structure = structure_of(network)
    name = "layer1.0.conv2"
    keep = {f"{name}.weight": torch.ones(128, 4, 3, 3, dtype=torch.bool)}
    keep[f"{name}.weight"][:7] = False  # groups of 4: all of the first, three of the second
    kept = survivors_of(network, with_followers(network, keep, structure), structure)
    assert len(kept[f"{name}.weight"][0]) == 128
    keep[f"{name}.weight"][::4] = False
    kept = survivors_of(network, with_followers(network, keep, structure), structure)
    rows, columns = kept[f"{name}.weight"]
    assert len(rows) == 96 and (rows.reshape(32, 3) // 4 == torch.arange(32)[:, None]).all()
    assert columns.shape == (96, 4)


def test_a_depthwise_filter_goes_with_its_input_and_its_batchnorm():
    network = further_network("mobilenet_v2")
    structure = structure_of(network)
    name = "features.3.conv.0.0"  # expands; features.3.conv.1.0 is depthwise
    keep = {f"{name}.weight": torch.ones_like(network.get_parameter(f"{name}.weight")).bool()}
    keep[f"{name}.weight"][[0, 5]] = False
    extended = with_followers(network, keep, structure)
    gone = [0, 5]
    for follower in ("0.1.weight", "0.1.bias", "1.0.weight", "1.1.weight", "1.1.bias"):
        mask = extended[f"features.3.conv.{follower}"].flatten(1 - ("1.0" not in follower)).bool()
        rows = mask.reshape(len(mask), -1).any(1)
        assert (~rows).nonzero().flatten().tolist() == gone, follower
    kept = survivors_of(network, extended, structure)
    left = [k for k in range(144) if k not in gone]
    assert kept["features.3.conv.1.0.weight"][0].tolist() == left
    assert kept["features.3.conv.2.weight"][1].tolist() == left
    smaller = compact(network, kept)
    depthwise = smaller.features[3].conv[1][0]
    assert depthwise.groups == depthwise.in_channels == depthwise.out_channels == 142


class ByFunction(nn.Module):
    """Layers that call torch's functions on their own weights, as several of timm's do."""

    class Linear(nn.Linear):
        def forward(self, x):
            return F.linear(x, self.weight, bias=self.bias)

    class Conv(nn.Conv2d):
        def forward(self, x):
            return F.conv2d(x, self.weight, self.bias, (1, 1), (0, 0), (1, 1), self.groups)

    def __init__(self):
        super().__init__()
        self.one, self.two = self.Conv(3, 6, 3), self.Conv(6, 6, 1, groups=6)
        self.three, self.out = nn.Conv2d(6, 8, 1), self.Linear(8, 5)

    def forward(self, x):
        x = F.relu(self.three(F.relu(self.two(self.one(x)))))
        return self.out(F.adaptive_avg_pool2d(x, 1).flatten(1))


def test_layers_that_call_functions_are_followed():
    network = ByFunction().double()
    structure = structure_of(network)
    assert list(structure.layers) == ["one", "two", "three", "out"] and structure.ends == ()
    assert structure.outputs == {"out"}
    keep = {"one.weight": torch.ones(6, 3, 3, 3, dtype=torch.bool)}
    keep["one.weight"][1:4] = False
    keep["three.weight"] = torch.ones(8, 6, 1, 1, dtype=torch.bool)
    keep["three.weight"][::2] = False
    keep = with_followers(network, keep, structure)
    Held(network, keep).apply()
    smaller = compact(network, survivors_of(network, keep, structure))
    assert (smaller.one.out_channels, smaller.two.groups, smaller.out.in_features) == (3, 3, 4)
    images = torch.randn(2, 3, 9, 9, dtype=torch.float64)
    torch.testing.assert_close(smaller(images), network(images))


def test_a_function_on_weights_that_no_such_module_has_ends_the_trace():
    class Bare(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.weight = nn.Conv2d(3, 4, 1), nn.Parameter(torch.randn(5, 4))

        def forward(self, x):
            return F.linear(self.one(x).mean((2, 3)), self.weight)

    ends = structure_of(Bare()).ends
    assert [end.why for end in ends] == ["its weights are not those of a module of that kind"]


def test_weights_that_functions_use_twice_are_shared():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.shared = nn.Conv2d(3, 6, 1), ByFunction.Conv(6, 6, 1)
            self.norm, self.out = nn.BatchNorm2d(6), nn.Conv2d(6, 5, 1)

        def forward(self, x):
            x = self.shared(F.relu(self.shared(self.one(x))))
            norm = self.norm
            for _ in range(2):
                x = F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias)
            return self.out(x).mean((2, 3))

    structure = structure_of(Twice())
    assert "shared" not in structure.layers and "norm" not in structure.norms
    assert {end.why for end in structure.ends} == {"its weights are used more than once in a pass"}

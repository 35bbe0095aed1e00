"""Every criterion against its formula, in float64, one weight at a time."""

import pytest
import torch
import torch.nn.functional as F
from networks_for_tests import TinyConv, draw_batchnorms, tiny_inception
from torch import nn

from pruning import (
    CRITERIA,
    GRANULARITIES,
    criterion_class,
    granularity_of,
    importance_of_groups,
    prunable_weights,
    require_importance,
    structure_of,
)
from pruning.criteria import Subject


def of(network, criterion, granularity="filter", exclude=(), **more):
    names = list(prunable_weights(network, exclude, granularity=granularity))
    return importance_of_groups(network, criterion, granularity, names=names, **more)


def floats(weight):
    return weight.detach().double().tolist()


class Residual(nn.Module):
    """A residual sum, a concatenation, a split, a flattened map, and a map that two layers read."""

    def __init__(self):
        super().__init__()
        self.stem = TinyConv(3, 4, 3)
        self.main, self.side = TinyConv(4, 4, 3), TinyConv(4, 4, 1)
        self.deep = nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.left, self.right = nn.Conv2d(4, 2, 1), nn.Conv2d(4, 2, 1)
        self.last = nn.Conv2d(8, 3, 1)
        self.fc = nn.Linear(3 * 4, 5)

    def forward(self, x):
        x = self.stem(x)
        y = self.main(x) + self.side(x)
        a, b = y.chunk(2, 1)
        z = self.deep(torch.cat([a, b], 1))
        z = self.last(torch.cat([z, self.left(z), self.right(y)], 1))
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(z, 2), 1))


def residual():
    torch.manual_seed(0)
    network = Residual().double().eval()
    draw_batchnorms(network)
    return network


def test_outgoing_l1_is_the_mean_of_all_weights_that_read_a_filter():
    network = residual()
    found = of(network, "outgoing_l1")

    def reads(layer, channel):
        weight = network.get_submodule(layer).weight.detach()
        return weight[:, channel].abs().flatten().tolist()

    for k in range(4):
        of_sum = [*network.deep.weight[k].detach().abs().flatten().tolist(), *reads("right", k)]
        for name in ("main.conv", "side.conv"):
            mean = sum(of_sum) / len(of_sum)
            assert float(found[f"{name}.weight"][k]) == pytest.approx(mean, rel=1e-12)
        of_deep = [*reads("left", k), *reads("last", k)]
        mean = sum(of_deep) / len(of_deep)
        if "deep.weight" in found:
            assert float(found["deep.weight"][k]) == pytest.approx(mean, rel=1e-12)
    for k in range(2):
        for layer, first in (("left", 4), ("right", 6)):
            values = reads("last", first + k)
            mean = sum(values) / len(values)
            assert float(found[f"{layer}.weight"][k]) == pytest.approx(mean, rel=1e-12)
    for k in range(3):  # four positions each of the flattened map
        values = network.fc.weight.detach().abs()[:, 4 * k : 4 * k + 4].flatten().tolist()
        assert float(found["last.weight"][k]) == pytest.approx(sum(values) / 20, rel=1e-12)


def around(norm):
    return nn.Sequential(
        *(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), norm, nn.Conv2d(4, 4, 1)),
        *(nn.ReLU(), nn.Conv2d(4, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2)),
    )


def test_outgoing_l1_refuses_a_layer_whose_readers_it_does_not_see():
    network = around(nn.GroupNorm(2, 4))
    with pytest.raises(ValueError, match="filters of 1 cannot be followed .2: GroupNorm may mix"):
        require_importance(network, criterion_class("outgoing_l1")(), "filter")
    of(network, "outgoing_l1", exclude=["1"])


def test_outgoing_l1_passes_over_a_local_response_norm():
    network = around(nn.LocalResponseNorm(3))
    mean = network[3].weight.detach().double().abs().mean((0, 2, 3))
    torch.testing.assert_close(of(network, "outgoing_l1")["1.weight"], mean)


def test_bn_scale_is_the_weight_of_the_batchnorm_that_normalises_the_filter():
    network = tiny_inception(dtype=torch.float64)
    with torch.no_grad():
        network.one.bn.weight[1] *= -3
    for name, found in of(network, "bn_scale").items():
        norm = network.get_submodule(name.removesuffix(".conv.weight")).bn
        assert found.tolist() == [abs(v) for v in norm.weight.tolist()]


@pytest.mark.parametrize("norm", [nn.Identity(), nn.BatchNorm2d(4, affine=False)])
def test_bn_scale_refuses_layers_without_one_by_name(norm):
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), norm, nn.Conv2d(4, 4, 1))
    network += nn.Sequential(
        nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )
    criterion = criterion_class("bn_scale")()
    with pytest.raises(ValueError, match="that normalises each layer alone; 1 have none"):
        require_importance(network, criterion, "filter")
    require_importance(network, criterion, "filter", [])


def test_fpgm_is_the_sum_of_distances_to_the_other_filters():
    network = tiny_inception(dtype=torch.float64)
    with torch.no_grad():
        network.last.conv.weight[3] = network.last.conv.weight[5]  # distance 0
        network.last.conv.weight[7] = 0  # pruned before
    for name, found in of(network, "fpgm").items():
        filters = [f.flatten().tolist() for f in network.get_parameter(name).detach()]
        for i, one in enumerate(filters):
            others = [other for other in filters if any(other) and any(one)]
            slow = sum(
                sum((a - b) ** 2 for a, b in zip(one, o, strict=True)) ** 0.5 for o in others
            )
            assert float(found[i]) == pytest.approx(slow, rel=1e-7, abs=1e-12)


def test_lamp_divides_by_what_is_not_smaller():
    network = tiny_inception(dtype=torch.float64)
    with torch.no_grad():
        network.one.conv.weight.round_(decimals=1)  # ties, and zeros
    found = of(network, "lamp", "weight")
    for name in ("one.conv.weight", "three.0.conv.weight"):
        weight = network.get_parameter(name).detach().flatten().tolist()
        # Of equals the first is the larger: the order of the paper, from the smallest.
        order = sorted(range(len(weight)), key=lambda i: (abs(weight[i]), -i))
        for place, i in enumerate(order):
            rest = sum(weight[j] ** 2 for j in order[place:])
            slow = weight[i] ** 2 / rest if rest else 0.0
            assert float(found[name].flatten()[i]) == pytest.approx(slow, rel=1e-10)
    assert all(float(each.max()) == 1 for each in found.values())


@pytest.mark.parametrize("granularity", ["filter", "input_channel"])
def test_fisher_is_half_the_mean_square_of_the_change_of_each_sample(granularity):
    """By central differences: a gate on one map of one sample."""
    network = residual()
    images = torch.randn(3, 3, 6, 6, dtype=torch.float64)
    labels = torch.tensor([0, 3, 1])
    names = ["main.conv.weight", "last.weight"]
    batches = list(zip(images.split(2), labels.split(2), strict=True))
    apart = ["deep", "side", "left", "right"]
    found = of(network, "fisher", granularity, batches=batches, exclude=apart)
    modules = {"main.conv.weight": network.main.bn, "last.weight": network.last}
    if granularity == "input_channel":
        modules["main.conv.weight"] = network.main.conv
    for name in names:
        for channel in range(len(found[name])):
            slopes = []
            for gate in (1e-5, -1e-5):
                scale = torch.ones(1, len(found[name]), 1, 1, dtype=torch.float64)
                scale[0, channel] += gate
                if granularity == "filter":
                    hook = modules[name].register_forward_hook(lambda _, x, y, s=scale: y * s)
                else:
                    hook = modules[name].register_forward_pre_hook(lambda _, x, s=scale: x[0] * s)
                slopes.append(F.cross_entropy(network(images), labels, reduction="none").detach())
                hook.remove()
            slow = (((slopes[0] - slopes[1]) / 2e-5) ** 2).mean() / 2
            assert float(found[name][channel]) == pytest.approx(float(slow), rel=1e-4, abs=1e-10)


def test_chance_is_drawn_once_per_group():
    network = tiny_inception()
    for granularity in GRANULARITIES:
        generator = torch.Generator().manual_seed(3)
        found = of(network, "random", granularity, generator=generator)
        twin = torch.Generator().manual_seed(3)
        for name, weight in prunable_weights(network).items():
            shape = granularity_of(granularity).means(weight.detach()).shape
            assert torch.equal(found[name], torch.rand(shape, generator=twin, dtype=torch.float64))
    with pytest.raises(ValueError, match="'random' draws: a generator must be given, got None"):
        of(network, "random")


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("name", CRITERIA)
def test_a_granularity_that_a_criterion_does_not_know_is_refused(name, granularity):
    network, criterion = tiny_inception(), criterion_class(name)()
    if granularity_of(granularity).kind in criterion.knows:
        require_importance(network, criterion, granularity)
        return
    for ask in (require_importance, lambda n, c, g: of(n, c, g, batches=[])):
        with pytest.raises(
            ValueError, match=f"criterion '{name}' must go with .*, got '{granularity}'"
        ):
            ask(network, criterion, granularity)


def test_criteria_are_found_by_name_and_images_are_asked_for():
    with pytest.raises(ValueError, match="criterion must be one of l1, l2, .*, got 'snip'"):
        of(tiny_inception(), "snip")
    with pytest.raises(ValueError, match="'fisher' looks at images: .*; l1, l2, random, bn_scale"):
        of(tiny_inception(), "fisher")


@pytest.mark.parametrize("name", [n for n, c in CRITERIA.items() if "weight" in c.knows])
def test_biases_are_single_weights(name):
    network, granularity = around(nn.Identity()).double(), granularity_of("weight")
    batches = [(torch.randn(3, 3, 2, 2, dtype=torch.float64), torch.tensor([0, 1, 0]))]
    names = ["1.weight", "1.bias"]
    given = (network, structure_of(network), granularity, names, batches, torch.Generator())
    criterion = criterion_class(name)()
    if name == "lrp":
        with pytest.raises(ValueError, match="must be False, got 1.bias among 1"):
            criterion.require(Subject(*given))
        return
    found = criterion.importance(Subject(*given))
    assert found["1.bias"].shape == (4,) and found["1.bias"].max() > 0
    oracles = {"l1": lambda b: b.abs(), "l2": lambda b: b**2}
    if name in oracles:
        torch.testing.assert_close(found["1.bias"], oracles[name](network[1].bias.detach()))
    if name in ("gradient", "taylor"):
        (images, labels), *_ = batches
        network.zero_grad()
        F.cross_entropy(network(images), labels).backward()
        bias = network[1].bias
        slow = bias.grad * bias if name == "taylor" else bias.grad
        torch.testing.assert_close(found["1.bias"], slow.detach().abs())


@pytest.mark.parametrize("name", CRITERIA)
def test_linear_layers_have_importance_too(name):
    """Of the weights that it may be asked for, whatever is prunable."""
    torch.manual_seed(0)
    network = nn.Sequential(
        *(nn.Conv2d(3, 4, 1), nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 4)),
    ).double()
    criterion = criterion_class(name)()
    if name == "bn_scale":
        return
    for granularity in map(granularity_of, GRANULARITIES):
        if granularity.kind not in criterion.knows:
            continue
        batches = [(torch.randn(3, 3, 2, 2, dtype=torch.float64), torch.tensor([0, 1, 2]))]
        subject = Subject(
            network, structure_of(network), granularity, ["2.weight"], batches, torch.Generator()
        )
        found = criterion.importance(subject)["2.weight"]
        assert found.shape == granularity.means(network[2].weight.detach()).shape
        assert found.max() > 0


class Rows(nn.Module):
    """Linear layers of a flattened map, and of rows [sample, position, channel]."""

    def __init__(self):
        super().__init__()
        self.conv, self.mix = nn.Conv2d(3, 4, 1), nn.Linear(4, 5)
        self.hidden, self.fc = nn.Linear(5 * 4, 6), nn.Linear(6, 4)

    def forward(self, x):
        rows = torch.relu(self.mix(self.conv(x).flatten(2).transpose(1, 2)))
        return self.fc(torch.relu(self.hidden(rows.flatten(1))))


@pytest.mark.parametrize("granularity", ["filter", "input_channel"])
@pytest.mark.parametrize("name", ["taylor", "gradient", "fisher"])
def test_units_of_linear_layers_change_the_loss_so(name, granularity):
    """From the gradient of every value, one sample at a time."""
    torch.manual_seed(1)
    network = Rows().double()
    images, labels = torch.randn(3, 3, 2, 2, dtype=torch.float64), torch.tensor([0, 3, 1])
    names = ["mix.weight", "hidden.weight"]
    given = (network, structure_of(network), granularity_of(granularity), names)
    found = criterion_class(name)().importance(Subject(*given, [(images, labels)]))
    for weight in names:
        seen = []

        def keep(module, inputs, output, seen=seen):
            seen.append(output if granularity == "filter" else inputs[0])
            seen[-1].retain_grad()

        hook = network.get_submodule(weight.removesuffix(".weight")).register_forward_hook(keep)
        slow = 0
        for image, label in zip(images, labels, strict=True):
            F.cross_entropy(network(image[None]), label[None]).backward()
            products = seen[-1].grad * (1 if name == "gradient" else seen[-1].detach())
            change = products.reshape(-1, products.shape[-1]).sum(0)
            slow = slow + (change**2 / 2 if name == "fisher" else change.abs())
        hook.remove()
        torch.testing.assert_close(found[weight], slow / 3)

"""Rules beyond ReLU: the relevance of every filter against whole matrices of contributions."""

import pytest
import torch
from lrp_oracles import explain_stem
from networks_for_tests import draw_batchnorms
from torch import nn

from pruning import LrpRules, lrp_importance, require_rules

LABELS = torch.tensor([1, 0, 3])


def network_with(activation, pool, before):
    """Normalised after a convolution, before one, and pooled where values have signs."""
    torch.manual_seed(0)
    network = nn.Sequential(
        *(nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), activation()),
        *(nn.Conv2d(6, 8, 3, padding=1), pool, activation()),
        *(nn.BatchNorm2d(8) if before else nn.Identity(), nn.Conv2d(8, 6, 3), activation()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4, bias=False)),
    )
    draw_batchnorms(network)
    for module in network:
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, a=1)
    return network.double().eval()


def matrix_of(linear, shape):
    """[output, input] of a linear function of a map of this shape."""
    basis = torch.eye(shape.numel(), dtype=torch.float64).reshape(-1, *shape)
    return linear(basis).flatten(1).T


def without_bias(module):
    def linear(x):
        return module(x) - module(torch.zeros_like(x))

    return linear


def oracle(network, image, label):
    """Module -> relevance of its outputs, biases ignored, from the logit down.

    zplus: an output is shared by the positive products of input and weight; epsilon (Linear,
    average pooling, a BatchNorm by itself): by all. An activation passes on what it has. The first
    BatchNorm is one with its convolution.
    """
    values = [image]
    for module in network:
        values.append(module(values[-1]).detach())
    relevance = torch.zeros_like(values[-1])
    relevance[0, label] = 1
    found = {}
    for k in reversed(range(len(network))):
        module, given = network[k], values[k]
        found[k] = relevance
        if isinstance(module, (nn.Conv2d, nn.Linear, nn.AvgPool2d, nn.AdaptiveAvgPool2d)):
            both = nn.Sequential(module, network[1]) if k == 0 else module
            products = matrix_of(without_bias(both), given.shape[1:]) * given.flatten()
            products = products.clamp(min=0) if isinstance(module, nn.Conv2d) else products
            shares = products / products.sum(1, keepdim=True)
            relevance = (shares.nan_to_num() * relevance.reshape(-1, 1)).sum(0).reshape(given.shape)
        elif isinstance(module, nn.BatchNorm2d):
            relevance = torch.where(given == 0, 0, relevance)
        else:
            relevance = relevance.reshape(given.shape)
    return found


ACTIVATIONS = {
    "relu6": lambda: nn.ReLU6(inplace=True),
    "leaky_relu": lambda: nn.LeakyReLU(0.1),
    "hardtanh": lambda: nn.Hardtanh(-1, 2, inplace=True),
    "silu": nn.SiLU,
    "hardswish": nn.Hardswish,
    "gelu": nn.GELU,
    "lrn": lambda: nn.LocalResponseNorm(3, alpha=2, k=1.5),
}
POOLS = {
    "padded": nn.AvgPool2d(3, stride=1, padding=1),
    "of what is there": nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False),
    "ceiled": nn.AvgPool2d(2, ceil_mode=True),
    "adaptive": nn.AdaptiveAvgPool2d(4),
}


@pytest.mark.parametrize(
    ("activation", "pool"),
    [*((name, "padded") for name in ACTIVATIONS), *(("leaky_relu", name) for name in POOLS)],
)
@pytest.mark.parametrize("before", [False, True])
def test_relevance_agrees_with_shares_of_products(activation, pool, before):
    network = network_with(ACTIVATIONS[activation], POOLS[pool], before)
    images = 4 * torch.randn(3, 3, 7, 7, dtype=torch.float64)
    names = ["0.weight", "3.weight", "7.weight"]
    rules = LrpRules(reduce="abs_sample", stabilizer=1e-12)
    found = lrp_importance(network, [(images, LABELS)], "filter", names, rules)
    slow = [
        oracle(network, image[None], label) for image, label in zip(images, LABELS, strict=True)
    ]
    for name, place in zip(names, (1, 3, 7), strict=True):
        expected = torch.stack([one[place].sum((0, 2, 3)).abs() for one in slow]).mean(0)
        torch.testing.assert_close(found[name], expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_cut_carries_the_same_total(activation):
    """Of what is 0 nothing can carry relevance: no BatchNorm by itself behind a clipped map."""
    before = activation not in ("relu6", "hardswish")
    network = network_with(ACTIVATIONS[activation], POOLS["padded"], before)
    images = torch.randn(3, 3, 7, 7, dtype=torch.float64)
    names = ["0.weight", "3.weight", "7.weight"]
    rules = LrpRules(reduce="signed", stabilizer=1e-12)
    for granularity in ("filter", "input_channel", "weight"):
        found = lrp_importance(network, [(images, LABELS)], granularity, names, rules)
        for name in names:
            assert float(found[name].sum()) == pytest.approx(1, rel=1e-6)


def test_in_place_activations_write_what_others_read():
    class Written(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.act = nn.Conv2d(3, 4, 1), nn.ReLU6(inplace=True)
            self.fc = nn.Linear(4, 4)

        def forward(self, x):
            x = self.conv(x)
            y = self.act(x)
            return self.fc((x + y).mean((2, 3)))  # twice what it wrote

    torch.manual_seed(0)
    network = Written().double()
    images = 9 * torch.randn(3, 3, 4, 4, dtype=torch.float64)
    rules = LrpRules(reduce="signed", stabilizer=1e-12)
    found = lrp_importance(network, [(images, LABELS)], "filter", ["conv.weight"], rules)
    with torch.no_grad():
        maps = 2 * network.conv(images).clamp(0, 6).mean((2, 3))
        products = maps * network.fc.weight[LABELS]
        shares = products / products.sum(1, keepdim=True)
    torch.testing.assert_close(found["conv.weight"], shares.mean(0), rtol=1e-6, atol=1e-9)


class Calls(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.conv, self.fc, self.function = nn.Conv2d(3, 4, 1), nn.Linear(4, 4), function

    def forward(self, x):
        return self.fc(self.function(self.conv(2 * x + 1)).mean((2, 3)))


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (nn.functional.relu6, "relu6"),
        (nn.functional.silu, "silu"),
        (lambda x: x * torch.sigmoid(x), "sigmoid"),
        (lambda x: x + 1, "add"),
        (lambda x: x * x.tanh(), "tanh"),
        (lambda x: x * x.relu(), "mul"),
        (lambda x: x.softmax(1), "softmax"),
        (lambda x: nn.functional.local_response_norm(x, 3), "local_response_norm"),
        (lambda x: nn.functional.layer_norm(x.permute(0, 2, 3, 1), (4,)), "layer_norm"),
    ],
)
def test_functions_without_a_rule_are_refused_by_name(function, name):
    with pytest.raises(ValueError, match=f"must have a rule, there is none for {name}, which"):
        require_rules(Calls(function))


def test_functions_with_one_are_not():
    for function in (
        *(torch.relu, nn.functional.relu, lambda x: nn.functional.avg_pool2d(2 * x, 2)),
        lambda x: x.permute(0, 1, 3, 2).relu() * 3,
    ):
        require_rules(Calls(function))


class Stem(nn.Module):
    """The beginning of Caffe's GoogLeNet: one LocalResponseNorm, in two places."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 5, 3, padding=1)
        self.lrn, self.head = nn.LocalResponseNorm(5, 1.5, 0.75, 1.0), nn.Linear(5, 4)

    def forward(self, x):
        x = self.lrn(nn.functional.max_pool2d(torch.relu(self.first(x)), 2))
        x = nn.functional.max_pool2d(self.lrn(torch.relu(self.second(x))), 2)
        return self.head(x.mean((2, 3)))


@pytest.mark.parametrize("rule", ["zplus", "alpha2beta1"])
def test_relevance_passes_a_local_response_norm_unchanged(rule):
    """Against a loop over connections, with the formula of Krizhevsky et al. 2012 for its values:
    the neighbours that a value is divided by get nothing."""
    torch.manual_seed(3)
    network = Stem().double().eval()
    images = 2 * torch.randn(3, 3, 8, 8, dtype=torch.float64)
    rules = LrpRules(rule=rule, reduce="signed", stabilizer=1e-12)
    names = ["first.weight", "second.weight"]
    batches = [(images, LABELS)]
    filters, weights = (
        lrp_importance(network, batches, granularity, names, rules)
        for granularity in ("filter", "weight")
    )
    layers = {
        name: (layer.weight.tolist(), layer.bias.tolist())
        for name, layer in network.named_children()
        if name != "lrn"
    }
    found = [
        explain_stem(image.tolist(), layers, label, rules, network.lrn)
        for image, label in zip(images, LABELS.tolist(), strict=True)
    ]
    assert found[0]["logits"] == pytest.approx(network(images)[0].tolist(), rel=1e-9)
    for name in ("first", "second"):
        of_filters, of_weights = (
            torch.tensor([one[name][k] for one in found], dtype=torch.float64) for k in (0, 1)
        )
        mine = filters[f"{name}.weight"], weights[f"{name}.weight"]
        torch.testing.assert_close(mine[0], of_filters.sum((2, 3)).mean(0), rtol=1e-7, atol=1e-9)
        torch.testing.assert_close(mine[1], of_weights.mean(0), rtol=1e-7, atol=1e-9)


def test_a_response_norm_that_is_nothing_at_zero_is_refused():
    with pytest.raises(ValueError, match="none for LocalResponseNorm '1'"):
        require_rules(nn.Sequential(nn.Conv2d(3, 4, 1), nn.LocalResponseNorm(3, k=0)))


@pytest.mark.parametrize("kind", [nn.GroupNorm, nn.PReLU, nn.Sigmoid])
def test_modules_without_a_rule_are_refused_by_name(kind):
    module = kind(2, 4) if kind is nn.GroupNorm else kind()
    with pytest.raises(ValueError, match=f"there is none for {kind.__name__} '1'"):
        require_rules(nn.Sequential(nn.Conv2d(3, 4, 1), module))


@pytest.mark.parametrize("activation", ["leaky_relu", "silu", "gelu"])
def test_zennit_agrees(activation):
    """Its BatchNorms and activations pass relevance on; no convolution is folded here."""
    composites = pytest.importorskip("zennit.composites")
    torch.manual_seed(0)
    act = ACTIVATIONS[activation]
    network = nn.Sequential(
        *(nn.Conv2d(3, 6, 3), act(), nn.AvgPool2d(2), nn.BatchNorm2d(6), act()),
        *(nn.Conv2d(6, 8, 3), act(), nn.BatchNorm2d(8), nn.Conv2d(8, 6, 2), act()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4, bias=False)),
    )
    draw_batchnorms(network)
    network = network.double().eval()
    images = torch.randn(3, 3, 12, 12, dtype=torch.float64)
    names = ["0.weight", "5.weight", "8.weight"]
    rules = LrpRules(stabilizer=1e-12)
    mine = lrp_importance(network, [(images, LABELS)], "filter", names, rules)
    outputs = {}

    def keep(module, _, output):
        outputs[module] = output
        output.retain_grad()

    layers = [network.get_submodule(name.removesuffix(".weight")) for name in names]
    for layer in layers:
        layer.register_forward_hook(keep)
    made = composites.EpsilonPlus(epsilon=1e-12, stabilizer=1e-12, zero_params=["bias"])
    with made.context(network) as modified:
        logits = modified(images.clone().requires_grad_())
        logits.backward(nn.functional.one_hot(LABELS, 4).double())
    for name, layer in zip(names, layers, strict=True):
        expected = outputs[layer].grad.sum((2, 3)).abs().mean(0)
        torch.testing.assert_close(mine[name], expected, rtol=1e-4, atol=1e-6)

import copy

import pytest
import torch
from lrp_oracles import explain_block, with_batchnorm
from networks_for_tests import tiny_inception, with_small_head
from torch import nn
from torchvision.models import get_model, googlenet, resnet50, vgg16, vgg16_bn

from pruning import (
    LrpRules,
    choose_groups,
    lrp_importance,
    masks_of,
    prunable_weights,
    require_rules,
    structure_of,
)
from pruning.lrp.folded import AffineLayer, folded_copy

SIGNED = {"reduce": "signed"}
REDUCTIONS = ("abs_sample", "abs_element", "signed")


class Block(nn.Module):
    """Everything that a rule has to get right, small enough for an oracle of loops."""

    def __init__(self):
        super().__init__()
        self.stem, self.stem_bn = nn.Conv2d(3, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3)
        self.one, self.one_bn = nn.Conv2d(3, 2, 1, bias=False), nn.BatchNorm2d(2)
        self.three = nn.Conv2d(3, 2, 3, padding=1)
        self.main, self.main_bn = nn.Conv2d(4, 3, 3, padding=1), nn.BatchNorm2d(3)
        self.shortcut, self.shortcut_bn = nn.Conv2d(4, 3, 1, bias=False), nn.BatchNorm2d(3)
        self.relu = nn.ReLU(inplace=True)  # shared
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Linear(3, 4)

    def forward(self, x):
        x = self.relu(self.stem_bn(self.stem(x)))
        x = torch.cat([self.relu(self.one_bn(self.one(x))), torch.relu(self.three(x))], 1)
        y = self.main_bn(self.main(x))
        y += self.shortcut_bn(self.shortcut(x))
        return self.head(self.pool(self.relu(y)).mean((2, 3)))


CONVOLUTIONS = ("stem", "one", "three", "main", "shortcut")


def unsettled(network, seed=0):
    """BatchNorms with statistics, with an eps that matters, and with negative weights."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1e-3
            n = module.num_features
            signs = torch.where(torch.rand(n, generator=generator) < 0.3, -1.0, 1.0)
            with torch.no_grad():
                module.weight.copy_(signs * (0.5 + torch.rand(n, generator=generator)))
                module.bias.copy_(0.1 + 0.3 * torch.randn(n, generator=generator))
                module.running_mean.copy_(0.1 * torch.randn(n, generator=generator))
                module.running_var.copy_(0.02 + torch.rand(n, generator=generator))
    return network.eval()


def block(seed=0, dtype=torch.float64):
    torch.manual_seed(seed)
    return unsettled(Block(), seed).to(dtype)


def samples(n=3, pixels=6, seed=0, n_classes=4, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(n, 3, pixels, pixels, generator=generator, dtype=dtype)
    return images, torch.randint(n_classes, (n,), generator=generator)


def score(network, granularity, images, labels, names=None, sizes=None, **rules):
    sizes = sizes or [len(images)]
    batches = zip(images.split(sizes), labels.split(sizes), strict=True)
    names = names or [
        f"{name}.weight" for name, m in network.named_modules() if isinstance(m, nn.Conv2d)
    ]
    return lrp_importance(network, batches, granularity, names, named(rules))


def named(choice):
    """z+ for all granularities, unless another rule is named."""
    return LrpRules(**{"rule": "zplus", **choice})


# By hand: one sample, one position


def by_hand():
    network = nn.Sequential(
        nn.Conv2d(2, 3, 1, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(3, 1, bias=False)
    )
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[1.0, -1], [1, 2], [-1, 1]])[:, :, None, None])
        network[3].weight.copy_(torch.tensor([[3.0, -0.5, 1]]))
    return network, torch.tensor([2.0, 1]).view(1, 2, 1, 1), torch.tensor([0])


@pytest.mark.parametrize(
    ("head", "filters", "channels", "weights"),
    [
        ("epsilon", [3, -2, 0], [2, -1], [[3, 0], [-1, -1], [0, 0]]),
        ("zplus", [1, 0, 0], [1, 0], [[1, 0], [0, 0], [0, 0]]),
    ],
)
def test_the_numbers_worked_out_by_hand(head, filters, channels, weights):
    network, images, labels = by_hand()
    expected = {"filter": filters, "input_channel": channels, "weight": weights}
    for granularity, numbers in expected.items():
        found = score(network, granularity, images, labels, head=head, **SIGNED)["0.weight"]
        assert found.squeeze((2, 3) if granularity == "weight" else ()).tolist() == numbers


def test_signs_decide_which_filter_goes_first():
    network, images, labels = by_hand()
    signed = score(network, "filter", images, labels, **SIGNED)["0.weight"]
    absolute = score(network, "filter", images, labels)["0.weight"]
    assert absolute.tolist() == [3, 2, 0]
    assert (signed.argmin(), absolute.argmin()) == (1, 2)


# Against loops over connections


def reduced(maps_by_sample, reduce):
    """[sample][channel][row][column] -> [channel]"""
    totals = [0.0] * len(maps_by_sample[0])
    for maps in maps_by_sample:
        for channel, one in enumerate(maps):
            values = [v for row in one for v in row]
            if reduce == "abs_element":
                values = [abs(v) for v in values]
            totals[channel] += abs(sum(values)) if reduce == "abs_sample" else sum(values)
    return torch.tensor([t / len(maps_by_sample) for t in totals], dtype=torch.float64)


def folded_by_hand(network):
    layers = {"head": (network.head.weight.tolist(), network.head.bias.tolist())}
    for name in CONVOLUTIONS:
        convolution = network.get_submodule(name)
        bias = None if convolution.bias is None else convolution.bias.tolist()
        weight, norm = convolution.weight.tolist(), getattr(network, f"{name}_bn", None)
        if norm is not None:
            parts = (norm.weight, norm.bias, norm.running_mean, norm.running_var)
            weight, bias = with_batchnorm(weight, bias, *(p.tolist() for p in parts), norm.eps)
        layers[name] = (weight, bias, convolution.padding[0])
    return layers


CHOICES = [
    {},
    {"head": "zplus"},
    {"bias": "keep"},
    {"head": "zplus", "bias": "keep"},
    {"target": "argmax"},
    {"rule": "alpha2beta1"},
    {"rule": "alpha2beta1", "bias": "keep"},
    {"stabilizer": 0.3},
    {"rule": "alpha2beta1", "head": "zplus", "stabilizer": 0.3},
]


@pytest.mark.parametrize("choice", CHOICES, ids=lambda c: "-".join(map(str, c.values())))
def test_every_granularity_agrees_with_a_loop_over_connections(choice):
    network = block()
    with torch.no_grad():
        network.main.weight[0] = network.main.weight[0].abs()  # nothing speaks against it
        network.shortcut.weight[2] = (
            -network.shortcut.weight[2].abs() * network.shortcut_bn.weight[2].sign()
        )  # nor for it
    images, labels = samples()
    layers = folded_by_hand(network)
    slow = [
        explain_block(image.tolist(), layers, int(label), named(choice))
        for image, label in zip(images, labels, strict=True)
    ]
    for reduce in REDUCTIONS:
        found = {
            g: score(network, g, images, labels, **choice, reduce=reduce)
            for g in ("filter", "input_channel", "weight")
        }
        for name in CONVOLUTIONS:
            of_outputs, of_inputs, of_weight = zip(*(one[name] for one in slow), strict=True)
            weights = torch.tensor(of_weight, dtype=torch.float64).mean(0)
            expected = {
                "filter": reduced(of_outputs, reduce),
                "input_channel": reduced(of_inputs, reduce),
                "weight": weights if reduce == "signed" else weights.abs(),
            }
            for granularity, numbers in expected.items():
                mine = found[granularity][f"{name}.weight"]
                torch.testing.assert_close(mine, numbers, rtol=1e-8, atol=1e-11)


def test_the_network_of_the_oracle_has_signed_sums_and_negative_batchnorm_weights():
    network = block()
    weights = torch.cat([m.weight for m in network.modules() if isinstance(m, nn.BatchNorm2d)])
    assert (weights < 0).any() and (weights > 0).any()
    images, labels = samples()
    assert score(network, "filter", images, labels, **SIGNED)["main.weight"].min() < 0


# Conservation: every cut through the network carries the relevance it started with


def inception(name, last=(".conv", ".1.conv", ".1.conv", ".1.conv")):
    return [f"{name}.branch{k}{end}" for k, end in enumerate(last, start=1)]


INCEPTIONS = [f"inception{n}" for n in ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")]
NETWORKS = {
    "googlenet": (
        lambda: googlenet(weights=None, init_weights=False, aux_logits=False, num_classes=5),
        [["conv1.conv"], ["conv2.conv"], ["conv3.conv"], *map(inception, INCEPTIONS)],
    ),
    "googlenet_with_heads_and_transform": (
        lambda: googlenet(
            weights=None, init_weights=False, aux_logits=True, num_classes=5, transform_input=True
        ),
        [["conv1.conv"], ["conv2.conv"], *map(inception, INCEPTIONS[::4])],
    ),
    "resnet50": (
        lambda: resnet50(weights=None, num_classes=5),
        [["conv1"]] + [[f"layer{k}.0.conv3", f"layer{k}.0.downsample.0"] for k in (1, 2, 3, 4)],
    ),
    "vgg16": (
        lambda: with_small_head(vgg16),
        [[f"features.{k}"] for k in (0, 7, 17, 28)] + [["classifier.0"], ["classifier.3"]],
    ),
    "vgg16_bn": (
        lambda: with_small_head(vgg16_bn),
        [[f"features.{k}"] for k in (0, 10, 24, 40)],
    ),
}


@pytest.fixture(scope="module", params=NETWORKS)
def real(request):
    make, cuts = NETWORKS[request.param]
    torch.manual_seed(0)
    network = unsettled(make()).train()
    images, labels = samples(8, 32, n_classes=5, dtype=torch.float32)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None  # statistics of these images
        for module in network.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        if "heads" in request.param:
            network.aux_logits, aux1, aux2 = False, network.aux1, network.aux2
            network.aux1 = network.aux2 = None
            network(images)
            network.aux_logits, network.aux1, network.aux2 = True, aux1, aux2
        else:
            network(images)
    return network.eval(), cuts, images[:2], labels[:2]


@pytest.mark.parametrize(
    "choice", [{}, {"head": "zplus", "rule": "alpha2beta1"}], ids=["z+", "a2b1"]
)
def test_relevance_is_conserved_at_every_cut(real, choice):
    network, cuts, images, labels = real
    names = [f"{name}.weight" for cut in cuts for name in cut]
    scores = score(network, "filter", images, labels, names, **choice, **SIGNED)
    for cut in cuts:
        total = sum(scores[f"{name}.weight"].sum() for name in cut)
        assert total == pytest.approx(1, abs=1e-3), cut


def test_what_reaches_the_first_convolution_leaves_it_below(real):
    network, cuts, images, labels = real
    first = [f"{cuts[0][0]}.weight"]
    channels = score(network, "input_channel", images, labels, first, **SIGNED)[first[0]]
    assert channels.shape == (3,)
    assert channels.sum() == pytest.approx(1, abs=1e-3)


class Plain(AffineLayer):
    def respond(self, inputs):
        return self.affine.of(inputs, self.affine.weight, self.affine.bias)


def test_the_folded_copy_computes_what_the_network_does(real):
    network, _, images, _ = real
    with torch.no_grad():
        folded, own = folded_copy(network, Plain, structure_of(network))(images), network(images)
    torch.testing.assert_close(folded, own, rtol=1e-4, atol=1e-4 * own.abs().max().item())


# Sums


@pytest.mark.parametrize("rule", ["zplus", "alpha2beta1"])
def test_relevance_of_weights_adds_up_to_that_of_filters_and_input_channels(rule):
    # Layers that read much: an output without a contribution would keep what it got.
    names = ["three.1.conv.weight", "last.conv.weight"]
    network = unsettled(tiny_inception(dtype=torch.float64))
    images, labels = samples(4)
    weights, filters, channels = (
        score(network, g, images, labels, names, rule=rule, **SIGNED)
        for g in ("weight", "filter", "input_channel")
    )
    for name, of_weights in weights.items():
        torch.testing.assert_close(of_weights.sum((1, 2, 3)), filters[name], rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(of_weights.sum((0, 2, 3)), channels[name], rtol=1e-6, atol=1e-9)


def test_an_input_channel_with_one_reader_has_the_relevance_of_the_filter_that_writes_it():
    network = tiny_inception(dtype=torch.float64)
    images, labels = samples(4)
    filters, channels = (
        score(network, g, images, labels, head="zplus") for g in ("filter", "input_channel")
    )
    torch.testing.assert_close(
        channels["three.1.conv.weight"], filters["three.0.conv.weight"], rtol=1e-6, atol=1e-12
    )


def test_alpha1_beta0_gives_negative_weights_nothing_and_alpha2_beta1_does():
    network = unsettled(tiny_inception(dtype=torch.float64))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.abs_()
    images, labels = samples(4)
    names = ["last.conv.weight"]
    negative = network.last.conv.weight < 0
    for rule, share in (("zplus", 0.0), ("alpha2beta1", 0.5)):
        of_weights = score(network, "weight", images, labels, names, rule=rule)[names[0]]
        assert ((of_weights[negative] > 0).double().mean() >= share).item()
        assert (of_weights[negative] == 0).all() == (rule == "zplus")


def test_left_alone_the_rule_is_the_one_that_fits_the_granularity():
    network = unsettled(tiny_inception(dtype=torch.float64))
    images, labels = samples(3)
    fitting = {"filter": "zplus", "input_channel": "zplus", "weight": "alpha2beta1"}
    for granularity, rule in fitting.items():
        found, expected = (
            score(network, granularity, images, labels, rule=name) for name in ("auto", rule)
        )
        assert all(torch.equal(found[name], expected[name]) for name in found)
        assert LrpRules().of(granularity).rule == rule
        assert LrpRules(rule="zplus").of(granularity).rule == "zplus"


@pytest.mark.parametrize("granularity", ["filter", "input_channel", "weight"])
@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_two_half_batches_merge_to_the_whole(granularity, reduce):
    network = block()
    images, labels = samples(5)
    whole, parts = (
        score(network, granularity, images, labels, reduce=reduce, sizes=sizes)
        for sizes in ([5], [2, 3])
    )
    for name in whole:
        torch.testing.assert_close(parts[name], whole[name], rtol=1e-9, atol=1e-12)


def test_a_layer_scores_the_same_whatever_else_is_scored():
    network = block()
    images, labels = samples()
    for granularity in ("filter", "input_channel", "weight"):
        everything = score(network, granularity, images, labels)
        for name, numbers in everything.items():
            alone = score(network, granularity, images, labels, [name])
            torch.testing.assert_close(alone[name], numbers, rtol=1e-12, atol=1e-15)


def test_units_of_linear_layers_are_scored_by_the_rule_of_the_head():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Linear(2, 30), nn.ReLU(), nn.Linear(30, 20), nn.ReLU(), nn.Linear(20, 3)
    )
    points, labels = torch.randn(6, 2), torch.randint(3, (6,))
    names = ["0.weight", "2.weight"]
    for granularity, shape in (("filter", (20,)), ("input_channel", (30,)), ("weight", (20, 30))):
        scores = lrp_importance(
            network, [(points, labels)], granularity, names, LrpRules(head="zplus")
        )
        assert scores["2.weight"].shape == shape
        assert scores["2.weight"].sum() == pytest.approx(1, abs=1e-4)


# The network as it was, and as it is now


def fingerprint(network):
    return (
        {
            n: (id(t), t.detach().clone(), t._version)
            for n, t in network.state_dict(keep_vars=True).items()
        },
        {n: (p.requires_grad, p.grad) for n, p in network.named_parameters()},
        {n: (id(m), type(m), m.training) for n, m in network.named_modules()},
        {
            n: (*m._forward_hooks, *m._forward_pre_hooks, *m._backward_hooks)
            for n, m in network.named_modules()
        },
        torch.get_rng_state(),
    )


@pytest.mark.parametrize("granularity", ["filter", "input_channel", "weight"])
@pytest.mark.parametrize("train", [False, True])
def test_the_network_is_left_as_it_was(granularity, train):
    network = block(dtype=torch.float32).train(train)
    network.stem.weight.requires_grad_(False)
    network.one.weight.grad = torch.ones_like(network.one.weight)
    network.main.register_forward_hook(lambda *_: None)
    images, labels = samples(dtype=torch.float32)
    images.requires_grad_()
    before = fingerprint(network)
    with torch.no_grad(), torch.autocast("cpu"):
        scores = score(network, granularity, images, labels)
    after = fingerprint(network)
    assert all(s.dtype == torch.float64 and not s.requires_grad for s in scores.values())
    assert images.grad is None
    for name, (identity, value, version) in before[0].items():
        assert (identity, version) == (after[0][name][0], after[0][name][2])
        assert torch.equal(value, after[0][name][1])
    for name, (required, gradient) in before[1].items():
        assert required == after[1][name][0] and gradient is after[1][name][1]
    assert torch.equal(network.one.weight.grad, torch.ones_like(network.one.weight))
    assert before[2:4] == after[2:4]
    assert torch.equal(before[4], after[4])


def test_neither_mode_nor_autocast_changes_a_score():
    network = block(dtype=torch.float32)
    images, labels = samples(dtype=torch.float32)
    plain = score(network, "filter", images, labels)
    network.train()
    with torch.autocast("cpu", torch.bfloat16):
        other = score(network, "filter", images, labels)
    assert all(torch.equal(plain[name], other[name]) for name in plain)


def test_scores_follow_the_weights():
    network = block()
    images, labels = samples()
    before = score(network, "filter", images, labels)
    with torch.no_grad():
        network.one.weight[0] *= -1
    after = score(network, "filter", images, labels)
    assert not torch.allclose(before["one.weight"], after["one.weight"])


def test_pruned_filters_and_weights_have_no_relevance():
    network = tiny_inception(dtype=torch.float64)
    images, labels = samples(4)
    names = list(prunable_weights(network))
    for granularity in ("filter", "weight"):
        pruned = copy.deepcopy(network)
        scores = score(pruned, granularity, images, labels, names, rule="alpha2beta1")
        groups = choose_groups(scores, 0.4, granularity=granularity, scope="layer")
        keep = masks_of(pruned, groups, granularity, structure_of(pruned))
        with torch.no_grad():
            for name, mask in keep.items():
                pruned.get_parameter(name).mul_(mask)
        again = score(pruned, granularity, images, labels, names, rule="alpha2beta1")
        for name in names:
            gone = ~keep[name] if granularity == "weight" else ~keep[name].flatten(1).any(1)
            assert gone.any()
            assert (again[name][gone] == 0).all()


def test_a_network_with_nothing_left_has_scores_of_zero():
    network = block()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    for granularity in ("filter", "input_channel", "weight"):
        scores = score(network, granularity, *samples(), rule="alpha2beta1")
        assert all((s == 0).all() for s in scores.values())


def test_conservation_holds_where_no_weight_speaks_against_an_output():
    network = block()
    with torch.no_grad():
        for name in CONVOLUTIONS:
            layer, norm = network.get_submodule(name), getattr(network, f"{name}_bn", None)
            layer.weight.abs_()
            if norm is not None:
                norm.weight.abs_()
    images, labels = samples()
    scores = score(network, "filter", images.abs(), labels, rule="alpha2beta1", **SIGNED)
    assert scores["stem.weight"].sum() == pytest.approx(1, abs=1e-6)


# What is refused


class Reusing(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.body, self.head = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Linear(4, 4)

    def forward(self, x):
        return self.head(self.body(torch.relu(self.body(self.stem(x)))).mean((2, 3)))


def tied():
    network = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), nn.Conv2d(3, 3, 1))
    network[2].weight = network[0].weight
    return network


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.scale = nn.Conv2d(3, 4, 1), nn.Parameter(torch.ones(1))


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sigmoid()), "none for Sigmoid '1'; there is one for"),
        (nn.Sequential(nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4)), "none for GroupNorm '1'"),
        (nn.Sequential(nn.Conv2d(3, 4, 1), nn.Hardtanh(1, 2)), "none for Hardtanh '1'"),
        (
            nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, track_running_stats=False)),
            "none for BatchNorm2d '1'",
        ),
        (Scaled(), "none for Scaled"),
        (tied(), "must have one place, 2.weight is 0.weight again"),
        (nn.Sequential(*[nn.Conv2d(3, 3, 1)] * 2), "1.weight is 0.weight again"),
    ],
)
def test_a_network_without_rules_is_refused_before_any_pass(network, message):
    with pytest.raises(ValueError, match=message):
        require_rules(network)
    never = (pytest.fail("a batch was taken") for _ in range(1))
    with pytest.raises(ValueError, match=message):
        lrp_importance(network, never, "filter", ["0.weight"], LrpRules())


def test_a_network_without_convolution_is_refused():
    with pytest.raises(ValueError, match="must have a convolution"):
        require_rules(nn.Sequential(nn.Linear(2, 2)))


@pytest.mark.parametrize(
    "name",
    [
        *("googlenet", "resnet50", "vgg16_bn", "alexnet", "squeezenet1_1", "inception_v3"),
        *("mobilenet_v2", "mnasnet0_5", "densenet121", "shufflenet_v2_x0_5", "resnext50_32x4d"),
    ],
)
def test_networks_of_torchvision_have_rules(name):
    with torch.device("meta"):
        network = get_model(name, weights=None)
    require_rules(network)


@pytest.mark.parametrize(
    ("name", "module"),
    [("mobilenet_v3_small", "Hardsigmoid"), ("efficientnet_b0", "Sigmoid"), ("convnext_tiny", "L")],
)
def test_networks_that_gate_or_normalise_by_layer_have_none(name, module):
    with torch.device("meta"):
        network = get_model(name, weights=None)
    with pytest.raises(ValueError, match=f"there is none for {module}"):
        require_rules(network)


@pytest.mark.parametrize("name", ["mobilenet_v2", "densenet121", "shufflenet_v2_x0_5"])
def test_the_folded_copy_of_any_network_computes_what_it_does(name):
    torch.manual_seed(0)
    network = unsettled(get_model(name, weights=None, num_classes=4)).double()
    images = torch.randn(2, 3, 40, 40, dtype=torch.float64)
    folded = folded_copy(network, Plain, structure_of(network))
    torch.testing.assert_close(folded(images), network(images), rtol=1e-9, atol=1e-9)


def test_a_layer_that_runs_twice_is_refused():
    with pytest.raises(ValueError, match="must run once a pass, body runs again"):
        score(Reusing(), "filter", *samples(dtype=torch.float32))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"granularity": "block"}, "granularity must be one of"),
        ({"names": ["stem_bn.weight"]}, "'stem_bn.weight' is none"),
        ({"names": ["three.bias"]}, "'three.bias' is none"),
        ({"names": ["nowhere.weight"]}, "'nowhere.weight' is none"),
        ({"names": []}, "at least one weight"),
        ({"batches": []}, "at least one sample"),
    ],
)
def test_wrong_questions_are_refused(change, message):
    arguments = {
        "batches": [samples()],
        "granularity": "filter",
        "names": ["stem.weight"],
        **change,
    }
    with pytest.raises(ValueError, match=message):
        lrp_importance(block(), **arguments, rules=LrpRules())


@pytest.mark.parametrize("label", [-1, 4])
def test_a_label_without_logit_is_refused(label):
    images, _ = samples(1)
    with pytest.raises(ValueError, match=rf"must lie in \[0, 4\).*got {label}"):
        score(block(), "filter", images, torch.tensor([label]))


def test_layers_that_the_logits_do_not_depend_on_are_refused():
    with torch.device("meta"):
        network = googlenet(weights=None, init_weights=False, aux_logits=True, num_classes=4)
    network = network.to_empty(device="cpu")
    for tensor in network.state_dict().values():
        tensor.zero_()
    with pytest.raises(ValueError, match="on aux1.conv.conv.weight they do not"):
        score(network, "filter", *samples(1, 32, dtype=torch.float32), ["aux1.conv.conv.weight"])


def test_grouped_convolutions_have_filters_and_weights_but_no_input_channels():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 6, 1),
        nn.ReLU(),
        nn.Conv2d(6, 6, 3, groups=3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 4),
    ).double()
    filters, weights = (score(network, g, *samples(), **SIGNED) for g in ("filter", "weight"))
    torch.testing.assert_close(weights["2.weight"].sum((1, 2, 3)), filters["2.weight"])
    with pytest.raises(ValueError, match="must have 1 group, 2.weight is of 3"):
        score(network, "input_channel", *samples())


def test_what_is_not_finite_is_named():
    images, labels = samples()
    network = block()
    network.one_bn.running_var[0] = float("nan")
    with pytest.raises(FloatingPointError, match="those of one .its BatchNorm included. are not"):
        score(network, "filter", images, labels)
    with pytest.raises(FloatingPointError, match="logits must be finite"):
        score(block(), "filter", images * float("inf"), labels)


@pytest.mark.parametrize("granularity", ["filter", "input_channel", "weight"])
def test_relevance_that_overflows_names_the_layer_where_it_began(granularity):
    network = nn.Sequential(
        nn.Conv2d(3, 4, 1),
        nn.Conv2d(4, 4, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 4),
    )
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(1e-3)
        network[1].weight.fill_(1e-36)  # all of its outputs are bias
        network[4].weight.copy_(torch.eye(4))
        network[4].weight[0, 1] = -1 + 1e-7  # two summands of opposite sign
    images, labels = torch.ones(1, 3, 2, 2), torch.tensor([0])
    with pytest.raises(FloatingPointError, match="that of 1.weight is not"):
        score(network, granularity, images, labels, stabilizer=1e-45)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"rule": "gamma"}, "rule must be one of auto, zplus, alpha2beta1, got 'gamma'"),
        ({"reduce": "max"}, "reduce must be one of abs_sample, abs_element, signed"),
        ({"stabilizer": 0.0}, "stabilizer must be positive, got 0.0"),
        ({"stabilizer": float("nan")}, "stabilizer must be finite, got nan"),
        ({"stabilizer": True}, "stabilizer must be a float, got True"),
    ],
)
def test_rules_that_do_not_exist_are_refused(choice, message):
    with pytest.raises(ValueError, match=message):
        LrpRules(**choice)


# Against other people's code, where it is installed


def straight(seed=0):
    """Modules alone and no BatchNorm: what every library can do. Every output reads much: where
    nothing speaks against one, others give it 2 R by alpha2beta1, and we do not."""
    torch.manual_seed(seed)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 12, 3),
        nn.ReLU(),
        nn.Conv2d(12, 12, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(12, 4, bias=False),
    )
    for module in network:
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
    return network.double().eval()


def test_captum_agrees():
    attr = pytest.importorskip("captum.attr")
    rules = pytest.importorskip("captum.attr._utils.lrp_rules")
    network = straight()
    images, labels = samples(3, 10)
    names = ["3.weight", "5.weight"]
    other = copy.deepcopy(network)
    for module in other:
        if isinstance(module, nn.Conv2d):
            module.rule = rules.Alpha1_Beta0_Rule(set_bias_to_zero=True)
        elif isinstance(module, (nn.Linear, nn.Flatten, nn.AdaptiveAvgPool2d)):
            module.rule = rules.EpsilonRule(epsilon=1e-12)
    # It starts with the logit and not with 1.
    found = attr.LayerLRP(other, [other[3], other[5]]).attribute(images, target=labels)
    logits = network(images).gather(1, labels[:, None]).detach()
    mine = score(network, "filter", images, labels, names)
    for name, values in zip(names, found, strict=True):
        expected = (values.detach().sum((2, 3)) / logits).abs().mean(0)
        torch.testing.assert_close(mine[name], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("rule", "composite"), [("zplus", "EpsilonPlus"), ("alpha2beta1", "EpsilonAlpha2Beta1")]
)
def test_zennit_agrees(rule, composite):
    composites = pytest.importorskip("zennit.composites")
    network = straight()
    images, labels = samples(3, 10)
    names = ["0.weight", "3.weight", "5.weight"]
    other = copy.deepcopy(network)
    outputs = {}

    def keep(module, _, output):
        outputs[module] = output
        output.retain_grad()

    layers = [other.get_submodule(name.removesuffix(".weight")) for name in names]
    made = getattr(composites, composite)(epsilon=1e-12, stabilizer=1e-12, zero_params=["bias"])
    for layer in layers:
        layer.register_forward_hook(keep)
    with made.context(other) as modified:
        logits = modified(images.clone().requires_grad_())
        logits.backward(nn.functional.one_hot(labels, 4).double())
    mine = score(network, "filter", images, labels, names, rule=rule, stabilizer=1e-12)
    for name, layer in zip(names, layers, strict=True):
        expected = outputs[layer].grad.sum((2, 3)).abs().mean(0)
        torch.testing.assert_close(mine[name], expected, rtol=1e-4, atol=1e-6)

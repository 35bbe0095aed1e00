import copy

import pytest
import torch
import torch.nn.functional as F
from networks_for_tests import tiny_inception, with_small_head
from torch import nn
from torchvision.models import googlenet, resnet50, vgg16

from pruning import GRANULARITIES, gradient_importance, granularity_of, prunable_weights

CRITERIA = ("gradient", "taylor")


def samples(n=6, pixels=7, seed=0, n_classes=4):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(n, 3, pixels, pixels, generator=generator, dtype=torch.float64)
    return images, torch.randint(n_classes, (n,), generator=generator)


def score(network, criterion, granularity, images, labels, sizes=None, names=None):
    sizes = sizes or [len(images)]
    batches = zip(images.split(sizes), labels.split(sizes), strict=True)
    return gradient_importance(
        network, batches, criterion, granularity, names or weights_of(network)
    )


def weights_of(network):
    return list(prunable_weights(network))


def slow_scores(network, criterion, layer, side, images, labels):
    """Sample by sample and channel by channel: y and dL/dy are kept at the layer's side."""
    network = copy.deepcopy(network)
    totals = None
    for image, label in zip(images, labels, strict=True):
        seen = []

        def keep(value, seen=seen):
            value = value.clone()  # a reader's own
            value.retain_grad()
            seen.append(value)
            return value

        module = network.get_submodule(layer)
        if side == "input":
            hook = module.register_forward_pre_hook(lambda _, x, keep=keep: (keep(x[0]),))
        else:
            hook = module.register_forward_hook(lambda _, x, y, keep=keep: keep(y))
        logits = network(image[None])[0]
        hook.remove()
        (-torch.log(torch.exp(logits[label]) / torch.exp(logits).sum())).backward()
        (value,) = seen
        totals = totals or [0.0] * value.shape[1]
        _, channels, height, width = value.shape
        for c in range(channels):
            summed = 0.0
            for row in range(height):
                for column in range(width):
                    factor = value[0, c, row, column].item() if criterion == "taylor" else 1.0
                    summed += factor * value.grad[0, c, row, column].item()
            totals[c] += abs(summed)
    return torch.tensor([total / len(images) for total in totals], dtype=torch.float64)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_filters_agree_with_a_loop_over_samples_channels_and_positions(criterion):
    network = tiny_inception(dtype=torch.float64)
    images, labels = samples(3)
    scores = score(network, criterion, "filter", images, labels)
    for name in scores:
        batchnorm = name.replace("conv.weight", "bn")
        slow = slow_scores(network, criterion, batchnorm, "output", images, labels)
        torch.testing.assert_close(scores[name], slow, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_every_reader_of_a_concatenation_has_its_own_input_channels(criterion):
    network = tiny_inception(dtype=torch.float64)
    images, labels = samples(3)
    scores = score(network, criterion, "input_channel", images, labels)
    for name in scores:
        layer = name.removesuffix(".weight")
        slow = slow_scores(network, criterion, layer, "input", images, labels)
        torch.testing.assert_close(scores[name], slow, rtol=1e-9, atol=1e-15)
    readers = [scores[f"{n}.conv.weight"] for n in ("one", "three.0", "five.0")]
    assert all(reader.max() > 0 for reader in readers)
    assert not torch.allclose(readers[0], readers[1])
    assert not torch.allclose(readers[1], readers[2])


def test_taylor_is_the_slope_of_the_loss_as_a_filter_is_faded_out():
    """Central differences on a multiplicative gate, without autograd; after the ReLU or before."""
    network = tiny_inception(dtype=torch.float64)
    images, labels = samples(4)
    scores = score(network, "taylor", "filter", images, labels)

    def losses(layer, channel, gate):
        def fade(_, inputs, output):
            output = output.clone()
            output[:, channel] *= gate
            return output

        hook = network.get_submodule(layer).register_forward_hook(fade)
        with torch.no_grad():
            each = F.cross_entropy(network(images), labels, reduction="none")
        hook.remove()
        return each

    for name in ("one.conv.weight", "three.1.conv.weight", "last.conv.weight"):
        channel = int(scores[name].argmax())
        for place in ("bn", ""):
            layer = name.replace("conv.weight", place).rstrip(".")
            slope = (losses(layer, channel, 1 + 1e-6) - losses(layer, channel, 1 - 1e-6)) / 2e-6
            expected = slope.abs().mean()
            assert expected > 1e-6
            torch.testing.assert_close(scores[name][channel], expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("criterion", CRITERIA)
def test_the_split_into_batches_does_not_matter(criterion, granularity):
    network = tiny_inception(dtype=torch.float64)
    images, labels = samples(7)
    whole = score(network, criterion, granularity, images, labels)
    for sizes in ([1] * 7, [3, 4], [6, 1]):
        parts = score(network, criterion, granularity, images, labels, sizes)
        for name in whole:
            torch.testing.assert_close(parts[name], whole[name], rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_opposed_samples_do_not_cancel_in_filters(criterion):
    """Absolute for each sample, then the mean: so two samples score the mean of their scores."""
    network = tiny_inception(dtype=torch.float64)
    images, labels = samples(2)
    both = score(network, criterion, "filter", images, labels)
    alone = [
        score(network, criterion, "filter", images[i : i + 1], labels[i : i + 1]) for i in (0, 1)
    ]
    for name in both:
        torch.testing.assert_close(both[name], (alone[0][name] + alone[1][name]) / 2)


class InPlace(nn.Module):
    """What overwrites an output that was just read: ReLU, residual sum, both in place."""

    def __init__(self, in_place):
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.a, self.a_bn = nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.b, self.b_bn = nn.Conv2d(6, 6, 1), nn.BatchNorm2d(6)
        self.fc = nn.Linear(6, 4)
        self.in_place = in_place

    def forward(self, x):
        x = F.relu(self.first(x), inplace=self.in_place)
        y = F.relu(self.a_bn(self.a(x)), inplace=self.in_place)
        y = self.b_bn(self.b(y))
        if self.in_place:
            y += x
        else:
            y = y + x
        return self.fc(F.relu(y, inplace=self.in_place).mean((2, 3)))


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("criterion", CRITERIA)
def test_writing_in_place_changes_nothing(criterion, granularity):
    torch.manual_seed(0)
    networks = [InPlace(in_place).double().eval() for in_place in (True, False)]
    nn.init.normal_(networks[0].a_bn.bias), nn.init.normal_(networks[0].b_bn.bias)
    networks[1].load_state_dict(networks[0].state_dict())
    scores = [score(network, criterion, granularity, *samples()) for network in networks]
    for name in scores[0]:
        torch.testing.assert_close(scores[0][name], scores[1][name])


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("criterion", CRITERIA)
def test_the_network_is_left_as_it_was(criterion, granularity):
    network = tiny_inception(dtype=torch.float64).train()
    network.one.eval()
    network.one.conv.weight.requires_grad_(False)
    network.fc.weight.grad = torch.full_like(network.fc.weight, 3.0)
    network.last.register_forward_hook(lambda *_: None)

    def state():
        return {
            "tensors": [
                (n, id(t), t.clone()) for n, t in network.state_dict(keep_vars=True).items()
            ],
            "wanted": [(n, p.requires_grad, p.grad) for n, p in network.named_parameters()],
            "modes": [(n, m.training) for n, m in network.named_modules()],
            "hooks": [
                (list(m._forward_hooks), list(m._forward_pre_hooks), list(m._backward_hooks))
                for m in network.modules()
            ],
            "random": torch.get_rng_state(),
        }

    def assert_same(a, b):
        for (n, i, t), (m, j, u) in zip(a["tensors"], b["tensors"], strict=True):
            assert n == m and i == j and torch.equal(t, u)
        for one, other in zip(a["wanted"], b["wanted"], strict=True):
            assert one[:2] == other[:2] and one[2] is other[2]
        assert a["modes"] == b["modes"] and a["hooks"] == b["hooks"]
        assert torch.equal(a["random"], b["random"]) and (network.fc.weight.grad == 3).all()

    before = state()
    with torch.no_grad():  # a caller that wants no gradients
        scores = score(network, criterion, granularity, *samples())
    assert_same(before, state())
    assert (scores["one.conv.weight"] > 0).any(), "a frozen weight is scored, too"
    with pytest.raises(FloatingPointError):
        score(
            network,
            criterion,
            granularity,
            torch.full((1, 3, 7, 7), torch.nan).double(),
            torch.tensor([1]),
        )
    with pytest.raises(IndexError):
        score(network, criterion, granularity, samples()[0], torch.full((6,), 99))
    assert_same(before, state())


def test_scores_follow_the_weights():
    network = tiny_inception(dtype=torch.float64)
    first = score(network, "taylor", "filter", *samples())["last.conv.weight"]
    with torch.no_grad():
        network.last.bn.weight *= 2
    assert not torch.allclose(
        first, score(network, "taylor", "filter", *samples())["last.conv.weight"]
    )


@pytest.mark.parametrize("criterion", CRITERIA)
def test_what_is_dead_scores_zero(criterion):
    network = tiny_inception(dtype=torch.float64)
    name = "three.1.conv.weight"
    dead = int(score(network, criterion, "filter", *samples())[name].argmax())
    with torch.no_grad():
        network.three[1].conv.weight[dead] = 0
        network.three[1].bn.weight[dead] = network.three[1].bn.bias[dead] = 0
    filters = score(network, criterion, "filter", *samples())[name]
    weights = score(network, criterion, "weight", *samples())
    assert filters[dead] == 0 and filters.max() > 0
    assert (weights[name][dead] == 0).all() and weights[name].max() > 0
    if criterion == "taylor":  # what reads it has nothing to read, though the loss may want it
        channels = score(network, criterion, "input_channel", *samples())["last.conv.weight"]
        assert channels[6 + dead] == 0 and (weights["last.conv.weight"][:, 6 + dead] == 0).all()


def test_autocast_of_the_caller_is_left_out():
    network = tiny_inception()
    images, labels = samples()
    plain = score(network, "taylor", "filter", images.float(), labels)
    with torch.autocast("cpu", torch.bfloat16):
        within = score(network, "taylor", "filter", images.float(), labels)
    assert all(torch.equal(plain[n], within[n]) for n in plain)


NETWORKS = {
    "googlenet": lambda: googlenet(
        weights=None, num_classes=5, init_weights=False, aux_logits=False
    ),
    "resnet50": lambda: resnet50(weights=None, num_classes=5),
    "vgg16": lambda: with_small_head(vgg16),
}


@pytest.mark.slow
@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("network", NETWORKS)
def test_networks_of_torchvision(network, granularity):
    torch.manual_seed(0)
    network = NETWORKS[network]().train()
    images, labels = samples(2, 40, n_classes=5)
    for criterion in CRITERIA:
        scores = score(network, criterion, granularity, images.float(), labels, [1, 1])
        for name, weight in prunable_weights(network).items():
            assert scores[name].shape == granularity_of(granularity).means(weight.detach()).shape
            assert scores[name].dtype == torch.float64 and scores[name].device.type == "cpu"
            assert (scores[name] >= 0).all() and scores[name].max() > 0


def test_refuses():
    network = tiny_inception(dtype=torch.float64)
    images, labels = samples(2)
    with pytest.raises(
        ValueError, match="criterion must be one of gradient, taylor, fisher, got 'l1'"
    ):
        score(network, "l1", "filter", images, labels)
    with pytest.raises(
        ValueError, match="one of weight, filter, input_channel, 2:4, .*, got 'row'"
    ):
        score(network, "taylor", "row", images, labels)
    with pytest.raises(ValueError, match="target must be one of loss, logit, got 'argmax'"):
        batches = [(images, labels)]
        gradient_importance(network, batches, "taylor", "filter", weights_of(network), "argmax")
    with pytest.raises(ValueError, match="'one.bn.weight' is none"):
        score(network, "taylor", "filter", images, labels, names=["one.bn.weight"])
    with pytest.raises(ValueError, match="fisher cannot tell the importance of a weight"):
        score(network, "fisher", "weight", images, labels)
    with pytest.raises(ValueError, match="needs at least one sample, got none"):
        gradient_importance(network, [], "taylor", "filter", weights_of(network))
    with torch.no_grad():
        network.three[1].bn.bias[0] = torch.nan
    with pytest.raises(FloatingPointError, match="that of one.conv.weight is not"):
        score(network, "gradient", "filter", images, labels)


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_a_layer_that_does_not_run_in_eval_mode_is_refused_not_scored_zero(granularity):
    network = googlenet(weights=None, init_weights=False, aux_logits=True, num_classes=5)
    images, labels = samples(1, 32)
    with pytest.raises(ValueError, match=r"on aux1\.conv\.conv\.weight, aux2\S+ it does not"):
        score(network, "taylor", granularity, images.float(), labels)
    with pytest.raises(ValueError, match=r"on aux1\.conv\.conv\.weight it does not"):
        names = ["aux1.conv.conv.weight"]
        score(network, "taylor", granularity, images.float(), labels, names=names)


def test_grouped_convolutions_have_filters_but_no_input_channels_of_their_own():
    torch.manual_seed(0)
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4))
    network = nn.Sequential(nn.Conv2d(3, 6, 1), nn.Conv2d(6, 6, 3, groups=3), *head).double()
    assert score(network, "taylor", "filter", *samples())["1.weight"].shape == (6,)
    with pytest.raises(ValueError, match="must have 1 group, 1.weight is of 3"):
        score(network, "taylor", "input_channel", *samples())


def test_a_convolution_that_runs_twice_has_one_gate():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.shared = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)

        def forward(self, x):
            return self.shared(torch.relu(self.shared(self.first(x)))).mean((2, 3))

    torch.manual_seed(0)
    network = Twice().double()
    images, labels = samples(1)
    found = score(network, "taylor", "filter", images, labels)["shared.weight"]

    @torch.no_grad()
    def loss(gate):
        fade = gate * torch.tensor([0.0, 1, 0, 0], dtype=torch.float64)[:, None, None] + 1
        hook = network.shared.register_forward_hook(lambda _, x, y: y * fade)
        value = F.cross_entropy(network(images), labels)
        hook.remove()
        return value

    slope = (loss(1e-6) - loss(-1e-6)) / 2e-6
    torch.testing.assert_close(found[1], slope.abs(), rtol=1e-6, atol=0)

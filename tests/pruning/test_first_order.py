"""Taylor and gradient say by how much the loss changes: central differences in float64.

The oracle needs no autograd: it puts a gate on one map, moves it by a little, and evaluates.
A gate that multiplies is Taylor's, one that adds is the gradient's. All layers on one scale: the
raw scores, before anything normalises them, in a network whose maps differ in size.
"""

import pytest
import torch
import torch.nn.functional as F
from networks_for_tests import TinyConv, draw_batchnorms
from torch import nn

from pruning import gradient_importance, prunable_weights

STEP = 1e-5


class Narrowing(nn.Module):
    """Maps of 8 x 8, of 4 x 4 and of 2 x 2, two of them concatenated."""

    def __init__(self):
        super().__init__()
        self.stem, self.wide = TinyConv(3, 5, 3), TinyConv(5, 4, 3)
        self.one, self.three = TinyConv(4, 3, 1), TinyConv(4, 3, 3)
        self.last = TinyConv(6, 4, 1)
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        x = F.avg_pool2d(self.wide(self.stem(x)), 2)
        x = F.avg_pool2d(torch.cat([self.one(x), self.three(x)], 1), 2)
        return self.fc(self.last(x).mean((2, 3)))


@pytest.fixture(scope="module")
def setting():
    torch.manual_seed(3)
    network = Narrowing().double().eval()
    draw_batchnorms(network)
    return network, torch.randn(5, 3, 8, 8, dtype=torch.float64), torch.tensor([0, 1, 2, 1, 0])


def losses(network, images, labels, target):
    """What pruning must not change, of every sample: float64 [sample]."""
    logits = network(images)
    if target == "logit":
        return torch.stack([logits[i, label] for i, label in enumerate(labels)])
    return -torch.log(torch.stack([F.softmax(logits, 1)[i, c] for i, c in enumerate(labels)]))


def gated(network, module, at_input, channel, change):
    def gate(values):
        values = values.clone()
        values[:, channel] = change(values[:, channel])
        return values

    if at_input:
        return module.register_forward_pre_hook(lambda _, inputs: (gate(inputs[0]),))
    return module.register_forward_hook(lambda _, inputs, output: gate(output))


@torch.no_grad()
def by_differences(setting, criterion, granularity, target, name):
    """The mean over samples of |dL of the sample| for the gate of every channel."""
    network, images, labels = setting
    convolution = network.get_submodule(name.removesuffix(".weight"))
    at_input = granularity == "input_channel"
    after = network.get_submodule(name.removesuffix(".conv.weight")).bn
    module = convolution if at_input else after
    found = []
    for channel in range(convolution.in_channels if at_input else convolution.out_channels):
        sides = []
        for step in (STEP, -STEP):
            change = {"taylor": lambda y: y * (1 + step), "gradient": lambda y: y + step}  # noqa: B023
            hook = gated(network, module, at_input, channel, change[criterion])
            sides.append(losses(network, images, labels, target))
            hook.remove()
        found.append(((sides[0] - sides[1]) / (2 * STEP)).abs().mean())
    return torch.stack(found)


def scores_of(setting, criterion, granularity, target):
    network, images, labels = setting
    batches = zip(images.split([2, 3]), labels.split([2, 3]), strict=True)
    names = list(prunable_weights(network))
    return gradient_importance(network, batches, criterion, granularity, names, target)


@pytest.mark.parametrize("target", ["loss", "logit"])
@pytest.mark.parametrize("granularity", ["filter", "input_channel"])
@pytest.mark.parametrize("criterion", ["taylor", "gradient"])
def test_maps_are_scored_by_what_they_change_in_all_layers(setting, criterion, granularity, target):
    scores = scores_of(setting, criterion, granularity, target)
    assert len(scores) == 4
    for name, found in scores.items():
        slow = by_differences(setting, criterion, granularity, target, name)
        assert slow.max() > 1e-4
        torch.testing.assert_close(found, slow, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("target", ["loss", "logit"])
def test_weights_are_scored_by_what_they_change_of_the_mean(setting, target):
    network, images, labels = setting
    taylor, gradient = (scores_of(setting, c, "weight", target) for c in ("taylor", "gradient"))
    with torch.no_grad():
        for name, weight in prunable_weights(network).items():
            for place in range(0, weight.numel(), 7):
                value = weight.view(-1)[place].item()
                sides = []
                for step in (STEP, -STEP):
                    weight.view(-1)[place] = value + step
                    sides.append(losses(network, images, labels, target).mean())
                weight.view(-1)[place] = value
                slope = ((sides[0] - sides[1]) / (2 * STEP)).abs()
                found = gradient[name].view(-1)[place], taylor[name].view(-1)[place]
                torch.testing.assert_close(found[0], slope, rtol=1e-5, atol=1e-9)
                torch.testing.assert_close(found[1], slope * abs(value), rtol=1e-5, atol=1e-9)

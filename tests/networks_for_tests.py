"""Small networks with the traits that matter: branches, BatchNorm with live statistics."""

import torch
from torch import nn

from pruning import (
    choose_groups,
    groups_of,
    importance_of_groups,
    masks_of,
    prunable_weights,
    structure_of,
)


class TinyConv(nn.Module):
    def __init__(self, inputs, filters, size):
        super().__init__()
        self.conv = nn.Conv2d(inputs, filters, size, padding=size // 2, bias=False)
        self.bn = nn.BatchNorm2d(filters, eps=1e-3)

    def forward(self, x):
        return torch.relu(self.bn(self.conv(x)))


class TinyInception(nn.Module):
    """A stem, three branches that are concatenated, a head. 7 convolutions."""

    def __init__(self, n_classes=4):
        super().__init__()
        self.stem = TinyConv(3, 8, 3)
        self.one = TinyConv(8, 6, 1)
        self.three = nn.Sequential(TinyConv(8, 5, 1), TinyConv(5, 10, 3))
        self.five = nn.Sequential(TinyConv(8, 4, 1), TinyConv(4, 8, 3))
        self.last = TinyConv(24, 12, 3)
        self.fc = nn.Linear(12, n_classes)

    def forward(self, x):
        x = self.stem(x)
        x = torch.cat([self.one(x), self.three(x), self.five(x)], 1)
        return self.fc(self.last(x).mean((2, 3)))


def draw_batchnorms(network):
    """Away from their defaults: 1, 0, 0, 1 would hide every BatchNorm bug."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0.3)
            nn.init.normal_(module.running_mean, 0, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)


def tiny_inception(seed=0, dtype=torch.float32):
    torch.manual_seed(seed)
    network = TinyInception()
    draw_batchnorms(network)
    return network.to(dtype).eval()


def with_small_head(vgg, n_classes=5):
    """Its Linear layers 64 wide instead of 4096, which take seconds to make."""
    with torch.device("meta"):
        network = vgg(weights=None, num_classes=n_classes)
    for k, (inputs, outputs) in ((0, (25088, 64)), (3, (64, 64)), (6, (64, n_classes))):
        network.classifier[k] = nn.Linear(inputs, outputs)
    network.features.to_empty(device="cpu")
    for module in network.features:
        if isinstance(module, (nn.Conv2d, nn.BatchNorm2d)):
            module.reset_parameters()
    return network


def choose(network, rate, *, granularity, scope, criterion, generator=None, within=None, **more):
    """From importance to masks in one call: what a round of pruning does."""
    exclude, follows = more.pop("exclude", ()), more.pop("batchnorm_follows", True)
    generator = generator or torch.Generator().manual_seed(0)
    names = list(prunable_weights(network, exclude, granularity=granularity))
    importance = importance_of_groups(
        network, criterion, granularity, generator=generator, names=names
    )
    before = None if within is None else groups_of(within, names, granularity)
    groups = choose_groups(
        importance, rate, granularity=granularity, scope=scope, within=before, **more
    )
    return masks_of(network, groups, granularity, structure_of(network) if follows else None)

"""Small networks with the traits that matter: branches, BatchNorm with live statistics."""

import torch
from torch import nn


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


def tiny_inception(seed=0, dtype=torch.float32):
    """BatchNorm away from its defaults: 1, 0, 0, 1 would hide every BatchNorm bug."""
    torch.manual_seed(seed)
    network = TinyInception()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0.3)
            nn.init.normal_(module.running_mean, 0, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return network.to(dtype).eval()

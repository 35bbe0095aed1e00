"""torchvision's own classes, with fewer blocks and channels where they allow it."""

import torch
from torch import nn
from torchvision.models import GoogLeNet, ResNet
from torchvision.models.resnet import Bottleneck
from torchvision.models.vgg import VGG, make_layers

NARROW = ("googlenet", "googlenet_with_heads", "resnet", "vgg", "vgg_bn")


def narrow_network(name, seed=0, dtype=torch.float64):
    """BatchNorm and biases away from their defaults, which hide bugs; no dropout; 5 classes."""
    torch.manual_seed(seed)
    if name.startswith("googlenet"):
        heads = name == "googlenet_with_heads"
        dropout = {"dropout": 0.0, "dropout_aux": 0.0}
        network = GoogLeNet(5, aux_logits=heads, init_weights=False, **dropout)
    elif name == "resnet":
        network = ResNet(Bottleneck, [2, 2, 1, 2], num_classes=5, width_per_group=8)
    else:
        plan = [8, 8, "M", 12, 12, "M", 16, 16, 16, "M", 20, 20, 16]
        with torch.device("meta"):  # 120 million weights that are replaced at once
            network = VGG(nn.Sequential(), init_weights=False)
        network.features = make_layers(plan, batch_norm=name == "vgg_bn")
        network.classifier = nn.Sequential(
            *(nn.Linear(16 * 49, 11), nn.ReLU(True), nn.Dropout(0.0)),
            *(nn.Linear(11, 9), nn.ReLU(True), nn.Dropout(0.0)),
            nn.Linear(9, 5),
        )
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, -0.3, 1.5)
            nn.init.normal_(module.bias, 0.1, 0.3)
            nn.init.normal_(module.running_mean, 0, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
        if isinstance(module, nn.Conv2d) and module.bias is not None:
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.normal_(module.bias, 0, 0.2)
    return network.to(dtype).eval()


def calibrate(network):
    """Statistics of its own inputs: else a signal is lost in so many layers."""
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    before = [norm.momentum for norm in norms]
    dtype = next(network.parameters()).dtype
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        network.train()(images(99, 48, dtype))
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum = momentum
    return network.eval()


def images(seed, pixels, dtype=torch.float64):
    """Two, higher than wide."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 3, pixels + 3, pixels, generator=generator, dtype=dtype)

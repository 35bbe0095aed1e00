"""Where cells look: by arithmetic, against the centre of gravity of their gradients."""

import pytest
import torch
from narrow_networks import narrow_network
from small_studies import small_base
from torch import nn
from torchvision.models import get_model, googlenet, resnet50

from trainables.config import DissectionConfig
from trainables.networks import Centres, cell_centres
from trainables.scores.dissection import check_dissection

EXPECTED = {  # pixels from half-pixel resizing: of the first cell, beside half a step
    "googlenet": {
        "conv1.conv": (-0.5, 2),
        "conv3.conv": (0.5, 4),
        "inception3a.branch3.1.conv": (2.5, 8),
        "inception4e.branch2.0.conv": (6.5, 16),
        "inception5b.branch4.1.conv": (6.5, 32),
    },
    "resnet": {
        "conv1": (-0.5, 2),
        "layer1.2.conv3": (-1.5, 4),
        "layer2.0.conv2": (-3.5, 8),
        "layer2.0.downsample.0": (-3.5, 8),
        "layer3.5.conv1": (-7.5, 16),
        "layer4.2.conv3": (-15.5, 32),
    },
}


def network_of(name):
    if name == "googlenet":
        return googlenet(weights=None, aux_logits=False, init_weights=False, num_classes=5).eval()
    return resnet50(weights=None, num_classes=5).eval()


def transparent(network):
    """With equal weights and averages in place of maxima each gradient is where a cell looks."""
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.Conv2d):
            module.weight.data.fill_(1 / module.weight[0].numel())
        elif isinstance(module, nn.BatchNorm2d):
            network.set_submodule(name, nn.Identity())
        elif isinstance(module, nn.MaxPool2d):
            sizes = (module.kernel_size, module.stride, module.padding)
            network.set_submodule(name, nn.AvgPool2d(*sizes, ceil_mode=module.ceil_mode))
    return network.requires_grad_(False)


@pytest.mark.parametrize("name", ["googlenet", "resnet"])
def test_centres_are_those_of_gradients(name):
    network = network_of(name)
    centres = cell_centres(network)
    assert set(centres) == {n for n, m in network.named_modules() if isinstance(m, nn.Conv2d)}
    outputs = {}
    for layer in EXPECTED[name]:
        keep = lambda m, i, o, layer=layer: outputs.__setitem__(layer, o)  # noqa: E731
        transparent(network).get_submodule(layer).register_forward_hook(keep)
    image = torch.ones(1, 3, 32, 1536, requires_grad=True)  # wider than what any cell sees
    network(image)
    pixel = torch.arange(1536, dtype=torch.float64) + 0.5
    for layer, (moved, step) in EXPECTED[name].items():
        assert centres[layer] == Centres(step / 2 + moved, step)
        maps = outputs[layer]
        cell = maps.shape[3] // 2
        (gradient,) = torch.autograd.grad(maps[..., cell].sum(), image, retain_graph=True)
        seen = gradient.double().abs().sum((0, 1, 2))
        centre = float((seen * pixel).sum() / seen.sum())
        assert centre == pytest.approx(centres[layer].first + cell * step, abs=1e-3)


@pytest.mark.parametrize(
    "name", ["densenet121", "efficientnet_b0", "inception_v3", "shufflenet_v2_x0_5", "alexnet"]
)
def test_other_networks_have_them_too(name):
    """Windows of two sizes, pools that are functions, gates that scale a map."""
    extra = {"init_weights": False} if name == "inception_v3" else {}
    network = get_model(name, weights=None, num_classes=5, **extra).eval()
    centres = cell_centres(network)
    assert set(centres) == {n for n, m in network.named_modules() if isinstance(m, nn.Conv2d)}
    if name == "inception_v3":  # by hand: 3 and 3 at stride 2, a 3 after, a pool of 3 at 2
        assert centres["Conv2d_1a_3x3.conv"] == Centres(1.5, 2)
        assert centres["Conv2d_2a_3x3.conv"] == Centres(3.5, 2)
        assert centres["Conv2d_3b_1x1.conv"] == Centres(5.5, 4)


@pytest.mark.parametrize("name", ["googlenet_with_heads", "vgg", "vgg_bn"])
def test_every_network_has_centres(name):
    network = narrow_network(name)
    convolutions = {
        n
        for n, m in network.named_modules()
        if isinstance(m, nn.Conv2d) and not n.startswith("aux")  # which do not run in evaluation
    }
    centres = cell_centres(network)
    assert set(centres) >= convolutions
    if name.startswith("vgg"):  # whose pools halve what lies between their pixels
        assert all(at.first == at.step / 2 for at in centres.values())


class Crooked(nn.Module):
    def __init__(self, second):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), second

    def forward(self, x):
        return self.first(x) + self.second(x)


def test_paths_that_do_not_meet_and_oblong_windows_are_refused():
    with pytest.raises(ValueError, match="paths that meet must be centred alike, add joins"):
        cell_centres(Crooked(nn.Conv2d(3, 4, 2)))
    with pytest.raises(ValueError, match="window of second must be centred alike along both"):
        cell_centres(Crooked(nn.Conv2d(3, 4, (1, 3))))


class Unclear(nn.Module):
    """What it does depends on its values."""

    def __init__(self):
        super().__init__()
        self.first, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 20)

    def forward(self, x):
        x = self.first(x if x.mean() > 0 else -x)
        return self.fc(x.mean((2, 3)))


def test_a_network_that_cannot_be_traced_is_refused_before_it_is_dissected(tmp_path):
    """Not after its dense network was trained; with maps stretched over the picture it runs."""
    config = small_base(dissection=DissectionConfig(n_images=20))
    with pytest.raises(ValueError, match="cannot be traced: .* SET=dissection.aligned=False"):
        check_dissection(Unclear(), config, tmp_path)
    check_dissection(Unclear(), config.replace({"dissection.aligned": False}), tmp_path)

"""Maps of units on chosen images, against a plain forward pass."""

import numpy as np
import pytest
import torch
from torch import nn

from trainables.datasets.images import ArrayImages, normalise
from trainables.scores.unit_maps import MOST_CELLS, packed, unit_maps


class Small(nn.Module):
    def __init__(self, stride):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, stride=stride, padding=1)
        self.relu = nn.ReLU()
        self.second = nn.Conv2d(4, 5, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(5)
        self.act = nn.ReLU()
        self.head = nn.Linear(5, 3)

    def forward(self, x):
        x = self.act(self.norm(self.second(self.relu(self.first(x)))))
        return self.head(x.mean((2, 3)))


@pytest.fixture(params=[1, 2])
def network(request):
    torch.manual_seed(request.param)
    return Small(request.param).eval()


@pytest.fixture
def images():
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (150, 32, 32, 3), dtype=np.uint8)
    return ArrayImages(pixels, torch.zeros(150, dtype=torch.int64), "noise")


def wanted(n, k=3):
    random = np.random.default_rng(n)
    return np.stack([random.choice(150, k, replace=False) for _ in range(n)]).astype(np.int32)


def test_each_unit_gets_its_maps_of_its_own_images(network, images):
    asked = {"first": wanted(4), "norm": wanted(5), "head": wanted(3)}
    found = unit_maps(network, images, asked, 32)
    assert set(found) == {"first", "norm"}  # a Linear layer has no maps
    with torch.inference_mode():
        x = normalise(images.read(torch.arange(150)))
        first = network.relu(network.first(x))
        second = network.act(network.norm(network.second(first)))
    for name, maps in (("first", first), ("norm", second)):
        side = maps.shape[-1]
        if side > MOST_CELLS:  # means of equal blocks
            maps = maps.unfold(2, 2, 2).unfold(3, 2, 2).mean((4, 5))
        for unit, ids in enumerate(asked[name]):
            for place, image in enumerate(ids):
                theirs = maps[image, unit].numpy()
                assert np.allclose(found[name].maps[unit, place], theirs, atol=1e-5)


def test_cells_lie_where_their_receptive_fields_are_centred(network, images):
    found = unit_maps(network, images, {"first": wanted(4)}, 32)["first"]
    stride = network.first.stride[0]
    side = found.maps.shape[-1]
    cells = 32 // stride // side  # of the network in one
    centres = np.arange(32 // stride) * stride + 0.5  # in pixels, at stride 1 and padding 1
    pooled = centres.reshape(side, cells).mean(1) / 32
    assert np.allclose(found.first + found.step * np.arange(side), pooled)


def test_a_layer_of_other_width_is_left_out(network, images):
    assert unit_maps(network, images, {"first": wanted(3)}, 32) == {}


def test_cells_are_packed_two_a_byte():
    random = np.random.default_rng(1)
    maps = random.random((3, 5, 3, 3)).astype(np.float32)
    maps[2] = 0  # a unit that is active nowhere
    data = packed(maps)
    cells = np.stack([data & 15, data >> 4], 1).ravel()[: maps.size].reshape(maps.shape)
    assert data.dtype == np.uint8 and len(data) == -(-maps.size // 2)
    for unit in range(2):
        assert (cells[unit] == (maps[unit] / maps[unit].max() * 15).round()).all()
    assert (cells[2] == 0).all()

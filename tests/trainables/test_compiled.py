"""A compiled training step: the same numbers, the same names, masks that hold."""

import shutil

import numpy as np
import pytest
import torch
from networks_for_tests import choose
from torch import nn

from pruning import Held
from trainables.config import TrainConfig
from trainables.datasets.images import ArrayImages
from trainables.training.finetune import Training

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler"),
]
RECIPE = TrainConfig(epochs=2, batch_size=8, optimizer="sgd", lr=0.05)


def smallest(seed=0):
    """Two convolutions, BatchNorm between them: every kernel more takes g++ seconds."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.Conv2d(4, 4, 10),
        nn.Flatten(),
    )


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "compiled"))
    yield tmp_path / "compiled"
    torch.compiler.reset()


def trained(mode, seed=0, epochs=1):
    network = smallest(seed)
    held = Held(network, choose(network, 0.5, granularity="weight", scope="layer", criterion="l1"))
    held.apply()
    pixels = np.random.default_rng(0).integers(0, 256, (16, 12, 12, 3), dtype=np.uint8)
    images = ArrayImages(pixels, torch.arange(16) % 4, digest="d")
    training = Training(network, images, RECIPE, precision="fp32", held=held, compile=mode)
    draws = [torch.Generator().manual_seed(epoch) for epoch in range(epochs)]
    return training, [training.epoch(draw)["train/loss"] for draw in draws]


def test_it_trains_to_the_same_network(cache):
    """Two networks of the same shapes after each other."""
    for seed in (0, 1):
        plain, wanted = trained("off", seed, epochs=2)
        compiled, losses = trained("default", seed, epochs=2)
        assert losses == pytest.approx(wanted, rel=1e-4)
        assert compiled.held.revived() == []
        left, right = compiled.network.state_dict(), plain.network.state_dict()
        assert list(left) == list(right)
        for name, tensor in right.items():
            torch.testing.assert_close(left[name], tensor, rtol=1e-3, atol=1e-5, msg=name)
    # What the first network was compiled to served the second: found by its shapes.
    assert any(cache.rglob("*.so"))
    assert torch._dynamo.utils.counters["inductor"]["fxgraph_cache_hit"] >= 1

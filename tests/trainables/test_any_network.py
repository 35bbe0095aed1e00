"""Trials of other networks than GoogLeNet, from the dense one to MIS, dissection and artifact."""

import dataclasses
import importlib.util
import json

import pandas as pd
import pytest
import torch
from small_studies import small_base

from trainables.artifacts import CHECKPOINT, COMPACTED, DISSECTION
from trainables.config import DissectionConfig, NetworkConfig, TrainConfig
from trainables.contents import with_contents
from trainables.datasets.loading import load_data
from trainables.networks import load_compacted, rebuild, require_pixels
from trainables.training.dense import train_dense
from trainables.trial import run_trial
from trainables.workspace import Workspace

OWN = """
import torch
from torch import nn

class Block(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.one, self.norm = nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels)
        self.two = nn.Conv2d(channels, channels, 1)

    def forward(self, x):
        return torch.relu(x + self.two(torch.relu(self.norm(self.one(x)))))

def make(num_classes):
    return nn.Sequential(
        nn.Conv2d(3, 16, 5, stride=2, padding=2), nn.ReLU(), Block(16), Block(16),
        nn.Conv2d(16, 24, 3, padding=1), nn.Hardswish(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, num_classes),
    )
"""
QUICK = ("resnet18", "own_network:make")
LONG = (
    *("alexnet", "mobilenet_v3_small", "efficientnet_b0", "densenet121", "timm:resnet18"),
    "shufflenet_v2_x0_5",
)
METHODS = {
    "structured": {"prune.granularity": "filter", "prune.scope": "layer"},
    "connection": {"prune.granularity": "input_channel", "prune.scope": "layer"},
    "unstructured": {"prune.granularity": "weight", "prune.scope": "global"},
}


@pytest.fixture
def stand(tmp_path, monkeypatch):
    """Where the user stands: a folder outside the repository, with a module of one's own."""
    (tmp_path / "own_network.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names():
    return [*QUICK, *(pytest.param(name, marks=pytest.mark.long) for name in LONG)]


@pytest.mark.slow
@pytest.mark.parametrize("name", names())
def test_a_trial_goes_from_dense_to_its_scores_and_its_artifact(name, stand):
    if name.startswith("timm:") and importlib.util.find_spec("timm") is None:
        pytest.skip("make timm")
    workspace = Workspace(stand / "results")
    network = NetworkConfig(name=name, recipe=TrainConfig(epochs=1, batch_size=32))
    base = small_base(network=network, dissection=DissectionConfig(n_images=40, quantile=0.05))
    data = dataclasses.replace(base.data, pixels=64 if name == "alexnet" else 32)
    base = with_contents(base.replace({"data": data}), workspace.root)
    require_pixels(base.network, data.pixels)
    images = load_data(base.data, workspace.cache)
    train_dense(base, images, workspace.cache)
    for method, fields in METHODS.items():
        if name == "resnet18" and method != "structured":  # it is in every run of the tests
            continue
        result = run_trial(base.replace(fields), workspace)
        assert result.outcome == "completed", method
        _require_whole(result, base, images.n_classes)
        if method == "structured":
            assert result.metrics["cost/params"] < 0.8 * result.metrics["cost/params_dense"]
            assert result.metrics["cost/macs"] < 0.8 * result.metrics["cost/macs_dense"]
            assert result.metrics["mis/n_dead"] > 0


def _require_whole(result, base, n_classes):
    """Numbers, tables, and a compacted network that is equal to the checkpoint."""
    assert result.metrics["prune/sparsity"] == pytest.approx(0.5, abs=0.06)
    scored = result.units[result.units["mis"].notna()]
    assert len(scored) > 30 and scored["mis"].between(0, 1).all()
    assert len(pd.read_parquet(result.folder / DISSECTION)) > 30
    arguments = json.loads((result.folder / "network.json").read_text())
    assert arguments["name"] == base.network.name and arguments["num_classes"] == n_classes
    whole = rebuild(arguments).eval()
    whole.load_state_dict(torch.load(result.folder / CHECKPOINT, weights_only=True))
    if not (result.folder / COMPACTED).exists():
        return
    smaller = load_compacted(result.folder / COMPACTED)
    images = torch.randn(4, 3, base.data.pixels, base.data.pixels)
    with torch.no_grad():
        want, got = whole(images), smaller(images)
    assert (want - got).abs().max() < 1e-4 * want.abs().max()

"""A sweep of a user's own network, whose module is on no worker's path: Ray, MLflow, the report."""

import io
import re
import sys

import pytest
import ray
from rich.console import Console
from small_studies import small_base

import sweeps.__main__ as cli
from sweeps.plan.planner import make_plan
from sweeps.plan.sweep import Grid, Sweep, axis, methods
from sweeps.run import run_sweep
from sweeps.tracking.tracker import Tracker
from trainables.config import DissectionConfig, NetworkConfig, TrainConfig
from trainables.networks import load_compacted

pytestmark = pytest.mark.slow

MODULE = """
from torch import nn
from own_parts.block import block

def make(num_classes):
    return nn.Sequential(
        block(3, 12), block(12, 16), block(16, 20), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(20, num_classes),
    )
"""
HELPER = """
from torch import nn

def block(a, b):
    return nn.Sequential(nn.Conv2d(a, b, 3, stride=2), nn.BatchNorm2d(b), nn.ReLU())
"""


@pytest.fixture
def stand(tmp_path, monkeypatch):
    """A folder outside the repository where the user stands, with a module and its helper."""
    (tmp_path / "own_sweep_net.py").write_text(MODULE)
    (tmp_path / "own_parts").mkdir()
    (tmp_path / "own_parts" / "block.py").write_text(HELPER)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    ray.shutdown()


def study():
    recipe = TrainConfig(epochs=1, batch_size=32)
    network = NetworkConfig(name="own_sweep_net:make", recipe=recipe)
    return Sweep(
        name="own",
        purpose="A network of one's own.",
        base=small_base(network=network, dissection=DissectionConfig(n_images=60, quantile=0.05)),
        grids=(
            Grid(
                {
                    "method": methods("structured"),
                    "rate": axis("prune.rate", (0.5,)),
                }
            ),
        ),
        recalibrate_images=64,
    )


@pytest.mark.ray
def test_a_sweep_of_ones_own_network_goes_all_the_way(stand):
    results, text = stand / "results", io.StringIO()
    plan = make_plan(study())
    codes = {config.network.code for config in plan.configs}
    assert len(codes) == 1 and "" not in codes
    code = run_sweep(plan, results, Console(file=text, width=200))
    assert code == 0, text.getvalue()
    kept = results / "code" / codes.pop()
    files = sorted(p.relative_to(kept).as_posix() for p in kept.rglob("*.py"))
    assert files == ["own_parts/block.py", "own_sweep_net.py"]
    tracker = Tracker("own", results)
    runs = tracker.finished()
    assert set(runs) >= set(plan.keys)
    for run in runs.values():
        assert run.data.params["network.code"] == kept.name
        assert 0 < run.data.metrics["mis/mean"] <= 1
    structured = next(
        key
        for key, config in zip(plan.keys, plan.configs, strict=True)
        if config.method == "structured" and config.prune.criterion == "l1"
    )
    run_id = runs[structured].info.run_id
    names = {file.path for file in tracker.client.list_artifacts(run_id)}
    assert {"compacted.pt", "dissection.parquet"} <= names
    artifact = tracker.client.download_artifacts(run_id, "compacted.pt", str(stand))
    smaller = load_compacted(artifact, results)
    n_left = sum(p.numel() for p in smaller.parameters())
    assert n_left == runs[structured].data.metrics["cost/params"]
    # The module is edited: other trials, from other code.
    (stand / "own_parts" / "block.py").write_text(HELPER.replace("stride=2", "stride=1"))
    assert set(make_plan(study()).keys).isdisjoint(plan.keys)


TOKENS = """
from torch import nn

class Tokens(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 8, 3, 2))
        self.mix, self.fc = nn.Linear(8, 8), nn.Linear(8, num_classes)

    def forward(self, x):
        return self.fc(self.mix(self.body(x).flatten(2).transpose(1, 2)).mean(1))

def make(num_classes):
    return Tokens(num_classes)
"""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "own_tokens:make",
            "own_tokens:make' cannot be read: layer 'mix' must give .*, got .1, 49, ",
        ),
        ("resnet19", "network.name must be .*'resnet19'; close to it: resnet18"),
        ("own_sweep_net:mak", "must name a function, own_sweep_net has none of that name; .*make"),
        ("own_nowhere:make", "own_nowhere of network.name='own_nowhere:make' must be a module in "),
        ("alexnet", "data.pixels must be at least 63 for alexnet, got 32"),
    ],
)
def test_what_is_wrong_is_refused_when_it_is_planned(stand, capsys, name, message):
    (stand / "own_tokens.py").write_text(TOKENS)
    words = ["--study=demo", f"--set=network.name={name}", "--set=data.pixels=32"]
    assert cli.main(["plan", f"--results={stand}", *words, "--speed=9,9"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert re.search(message, said), said
    assert not (stand / "code").exists()

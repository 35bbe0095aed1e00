"""The wheel in a folder of its own, used from outside the repository with nothing but a study of
the user's: its criterion, its network, its images; here, and on a cluster of three nodes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

ROOT, TESTS = Path(__file__).parents[1], Path(__file__).parent
UV = ROOT / ".tools" / "bin" / "uv"
pytestmark = [
    pytest.mark.long,
    pytest.mark.ray,
    pytest.mark.skipif(not UV.exists(), reason="uv, which `make` sets up, builds the wheel"),
]

STUDY = '''
"""Mine.

Asked     Does the MIS of the same units change with sparsity, in networks that were retrained?
"""
import sweeps
from sweeps.plan.sweep import Grid, Sweep, axis, methods
from trainables.config import DataConfig, NetworkConfig, PruneConfig, ScoreConfig, TrainConfig
from trainables.config import ComputeConfig, TrialConfig

assert "/site/" in sweeps.__file__, sweeps.__file__
STUDY = Sweep(
    name="mine",
    purpose=__doc__,
    base=TrialConfig(
        data=DataConfig(name="own_things:Stripes", pixels=32),
        network=NetworkConfig(name="own_things:small", recipe=TrainConfig(epochs=2, batch_size=16)),
        prune=PruneConfig(criterion="own_things:Largest"),
        finetune=TrainConfig(epochs=1, batch_size=16),
        score=ScoreConfig(n_tasks=2, n_explanations=2),
        compute=ComputeConfig(device="cpu", threads=1),
    ),
    grids=[Grid({"method": methods("structured"), "rate": axis("prune.rate", (0.5,))})],
    recalibrate_images=16,
)
'''
THINGS = """
from dataclasses import dataclass

import torch
from torch import nn

from own_layers.blocks import block
from pruning import OfWeights


@dataclass(frozen=True, kw_only=True)
class Largest(OfWeights):
    def of_weight(self, weight):
        return weight.double().abs() ** 3


def small(num_classes):
    return nn.Sequential(
        block(3, 8), block(8, 12), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, num_classes)
    )


class Stripes:
    classes = ["across", "down"]

    def __init__(self, split):
        self.targets = [i % 2 for i in range(48 if split == "train" else 24)]

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, i):
        wave = ((torch.arange(40) + i) // 4 % 2 * 200).to(torch.uint8).repeat(3, 40, 1)
        return (wave if self.targets[i] else wave.mT), self.targets[i]
"""
BLOCKS = """
from torch import nn


def block(a, b):
    return nn.Sequential(nn.Conv2d(a, b, 3, stride=2), nn.BatchNorm2d(b), nn.ReLU())
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder with what the wheel installs and nothing else of ours."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [str(UV), "build", "--wheel", "--quiet", "-o", str(folder), str(ROOT)]
    subprocess.run(build, check=True)
    (wheel,) = folder.glob("*.whl")
    target = ["--quiet", "--no-deps", "--python", sys.executable, "--target", str(folder / "site")]
    subprocess.run([str(UV), "pip", "install", *target, str(wheel)], check=True)
    return folder / "site"


@pytest.fixture
def user(tmp_path):
    """A folder of the user's, outside the repository."""
    (tmp_path / "mine.py").write_text(STUDY)
    (tmp_path / "own_things.py").write_text(THINGS)
    (tmp_path / "own_layers").mkdir()
    (tmp_path / "own_layers" / "blocks.py").write_text(BLOCKS)
    (tmp_path / "elsewhere").mkdir()
    return tmp_path


def secateur(site, folder, *words, **environment):
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "MLFLOW_"))}
    return subprocess.run(
        [str(site / "bin" / "secateur"), *words],
        cwd=folder,
        env={**inherited, "PYTHONPATH": str(site), "COLUMNS": "200", **environment},
        capture_output=True,
        text=True,
        timeout=800,
    )


def swept(site, user, **environment):
    """Sweep the study from a folder that is not its own; all runs of trials in MLflow."""
    words = ["sweep", "--study", "../mine.py", "--results", "../results"]
    done = secateur(site, user / "elsewhere", *words, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    client = MlflowClient(f"sqlite:///{user}/results/mlflow.db")
    experiment = client.get_experiment_by_name("mine")
    runs = client.search_runs([experiment.experiment_id], "tags.kind = 'trial'")
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert {"own_things:Largest", "random"} <= {r.data.params.get("prune.criterion") for r in runs}
    assert (user / "results" / "report" / "mine" / "report.html").stat().st_size > 10_000
    return runs


def test_the_command_is_there_with_all_that_it_needs(site, user):
    said = secateur(site, user, "--help")
    assert said.returncode == 0 and said.stdout.startswith("usage: secateur")
    assert secateur(site, user, "new", "first.py").returncode == 0
    planned = secateur(site, user, "plan", "--study", "first.py", "--speed", "9,9")
    assert planned.returncode == 0, planned.stderr
    published = secateur(site, user, "report", "--study", "published")
    assert published.returncode == 0, published.stderr
    assert (user / "results/report/published/report.html").exists()


def test_a_study_of_ones_own_runs_to_its_report(site, user):
    assert len(swept(site, user)) >= 5
    done = secateur(site, user, "sweep", "--study", "mine.py")
    assert (
        done.returncode == 0
        and "nothing to run" in done.stdout + done.stderr
        or (" 0 to run" in done.stdout)
    ), done.stdout


def test_and_on_a_cluster_of_three_nodes(site, user):
    (user / "token").write_text("a" * 64)
    token = {"RAY_AUTH_TOKEN_PATH": str(user / "token"), "RAY_AUTH_MODE": "token"}
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    cluster = subprocess.Popen(
        [sys.executable, str(TESTS / "nodes.py"), str(user)],
        cwd=user,
        env={**inherited, **token, "RAY_worker_niceness": "0", "PYTHONPATH": ""},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        address = next(line.split()[1] for line in cluster.stdout if line.startswith("address"))
        assert len(swept(site, user, RAY_ADDRESS=address, **token)) >= 5
    finally:
        cluster.stdin.close()
        try:
            cluster.wait(60)
        finally:
            cluster.kill()

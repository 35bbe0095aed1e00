"""The study of the paper on an ImageNet-shaped folder, from the command line, cut down.

What a user with internet has is made here: a folder of 1,000 classes, and a checkpoint in
torchvision's format where torchvision looks for its own.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models import GoogLeNet_Weights, googlenet

from sweeps.tracking.tracker import Tracker

pytestmark = [pytest.mark.slow, pytest.mark.ray]

CUT_DOWN = (
    *("--grid", "method=structured", "--grid", "rate=0.8", "--grid", "rounds="),
    *("--grid", "recipe="),
    *("--grid", "recalibrate_images=64", "--set", "recalibrate_images=64"),
    *("--set", "data.pixels=64", "--set", "data.workers=0"),
    *("--set", "data.train_images=64", "--set", "data.val_images=32"),
    *(
        "--set",
        "data.probe_images=48",
        "--set",
        "score.n_tasks=4",
        "--set",
        "score.n_explanations=3",
    ),
    *("--set", "score.similarity=efficientnet_lite0"),
    *("--set", "finetune.epochs=1", "--set", "finetune.batch_size=32"),
)


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory):
    """A folder with train/ and val/ of 1,000 classes, one small JPEG each."""
    root = tmp_path_factory.mktemp("imagenet")
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for c in range(1_000):
            folder = root / split / f"n{c:08d}"
            folder.mkdir(parents=True)
            picture = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
            Image.fromarray(picture).resize((80, 72)).save(folder / "a.JPEG")
    return root


@pytest.fixture(scope="module")
def torch_home(tmp_path_factory):
    """Where torchvision finds a checkpoint of its own format: with auxiliary heads, by its name."""
    home = tmp_path_factory.mktemp("torch")
    torch.manual_seed(0)
    network = googlenet(weights=None, init_weights=False, aux_logits=True)
    name = Path(GoogLeNet_Weights.IMAGENET1K_V1.url).name
    (home / "hub" / "checkpoints").mkdir(parents=True)
    torch.save(network.state_dict(), home / "hub" / "checkpoints" / name)
    return home


def sweeps(verb, results, home, *options):
    """`python -m sweeps` as make calls it."""
    environment = {**os.environ, "TORCH_HOME": str(home), "OMP_NUM_THREADS": "1"}
    for name in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS"):
        environment.pop(name, None)
    command = [sys.executable, "-m", "sweeps", verb, "--results", str(results), *options]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=800)


def test_the_real_code_path_runs_and_is_logged(imagenet, torch_home, tmp_path):
    options = ("--study", "paper", "--data", str(imagenet), *CUT_DOWN)
    done = sweeps("sweep", tmp_path, torch_home, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    runs = Tracker("paper", tmp_path).finished().values()
    names = {run.info.run_name for run in runs}
    assert names >= {"dense", "dense retrained", "structured 0.8 one_shot"}
    assert "structured 0.8 one_shot random" in names
    trial = next(run for run in runs if run.info.run_name == "structured 0.8 one_shot")
    assert trial.data.params["finetune.lr"] == "0.01"
    assert trial.data.params["network.weights"] == "imagenet"
    assert trial.data.metrics["mis/n_units"] > 0
    # Filters of conv2, conv3 and the auxiliary heads are left alone, as in the paper.
    assert 0.75 < trial.data.metrics["prune/sparsity"] < 0.8
    again = sweeps("plan", tmp_path, torch_home, *options)
    assert f"; 0 of {len(runs)} trials to run" in again.stdout


REFUSED = {
    "no folder": (("--study", "paper"), "needs data.path, a folder with train/ and val/"),
    "wrong folder": (("--study", "paper", "--data", "/no/such"), "data folder must exist"),
    "wrong study": (
        ("--study", "papre"),
        "STUDY must be one of demo, dissecting, folder, local, paper, photographs, released",
    ),
    "wrong rate": (("--grid", "rate=1.2"), "rate must lie in (0, 1), got 1.2"),
    "wrong field": (("--set", "finetune.epoch=2"), "TrainConfig has no field 'epoch'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_gets_one_sentence_and_launches_nothing(case, torch_home, tmp_path):
    options, sentence = REFUSED[case]
    done = sweeps("sweep", tmp_path / "results", torch_home, *options)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "results" / "ray").exists()


def test_a_truncated_image_is_named_before_anything_starts(imagenet, torch_home, tmp_path):
    broken = imagenet / "train" / "n00000007" / "cut.JPEG"
    whole = (imagenet / "train" / "n00000007" / "a.JPEG").read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])
    try:
        # What is not drawn is not read: here all are taken.
        all_taken = [o.replace("data.train_images=64", "data.train_images=None") for o in CUT_DOWN]
        options = ("--study", "paper", "--data", str(imagenet), *all_taken)
        done = sweeps("sweep", tmp_path, torch_home, *options)
        assert done.returncode == 2
        assert "n00000007/cut.JPEG" in done.stderr.replace("\n", "")
        assert "data.broken_images='skip'" in done.stderr
    finally:
        broken.unlink()

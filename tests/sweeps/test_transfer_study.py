"""The study `transfer`, tiny, from a checkpoint of other classes to the page."""

import io

import numpy as np
import pandas as pd
import pytest
import ray
import torch
from PIL import Image
from rich.console import Console
from torchvision.models import squeezenet1_1

from sweeps.plan.planner import make_plan
from sweeps.run import run_sweep
from sweeps.studies import load_study

GRID = {
    **{"plain": ["squeezenet1_1"], "residual": [], "weights": [], "seed": [0]},
    **{"criterion": ["lrp"], "within": ["within_lrp"]},
}
SET = {
    **{"data.pixels": 32, "data.packed": 37, "data.probe_images": 12},
    **{"network.weights": "file", "network.recipe.epochs": 1, "network.recipe.head_epochs": 0},
    **{"network.recipe.body_lr": None},
    **{"prune.rounds": 2, "prune.rate": 0.4, "prune.samples_per_class": 2},
    **{"finetune.epochs": 1, "finetune.last_epochs": 1, "finetune.batch_size": 6},
    **{"score.n_tasks": 2, "score.n_explanations": 2, "compute.device": "cpu"},
}


@pytest.fixture
def given(tmp_path, monkeypatch):
    """A folder of photographs of two classes, and weights of five others."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    random = np.random.default_rng(0)
    for split, n in (("train", 8), ("val", 4)):
        for label in ("cat", "dog"):
            folder = tmp_path / "photos" / split / label
            folder.mkdir(parents=True)
            for i in range(n):
                pixels = random.integers(0, 256, (40, 44, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    torch.manual_seed(0)
    torch.save(squeezenet1_1(num_classes=5).state_dict(), tmp_path / "five.pt")
    yield tmp_path
    ray.shutdown()


def planned(given):
    checkpoint = {"network.checkpoint": str(given / "five.pt")}
    photos, study = str(given / "photos"), load_study("transfer")
    return make_plan(study, data=photos, grid=GRID, settings=SET | checkpoint)


@pytest.mark.slow
@pytest.mark.ray
def test_transfer_goes_from_other_weights_to_a_figure_of_every_round(given):
    plan, text = planned(given), io.StringIO()
    code = run_sweep(plan, given / "results", Console(file=text, width=200))
    assert code == 0, text.getvalue()
    report = given / "results" / "report" / "transfer"
    assert (report / "accuracy_over_rounds.png").exists()
    table = pd.read_csv(report / "accuracy_over_rounds.csv")
    means = table[table["kind"] == "mean"]
    assert set(means["arm"]) == {"own", "within"} and set(means["name"]) == {"lrp"}
    assert set(means["retraining"]) == {"none", "finetune"}
    kept = means[means["of"] == "kept"].groupby("round")["left"].agg(["min", "max"])
    assert kept.to_numpy() == pytest.approx(np.array([[0.8, 0.8], [0.6, 0.6]]), abs=1e-3)
    first = means[(means["round"] == 1) & (means["of"] == "macs")].set_index(["retraining", "arm"])
    assert first["left"].between(0.2, 0.99).all()


def test_both_scenarios_start_from_the_same_new_head(given):
    plan = planned(given)
    pruned = [config for config in plan.configs if config.prune]
    assert len(pruned) == 4
    assert {c.retraining: c.n_epochs for c in pruned} == {"finetune": 3, "none": 0}
    assert {c.network.head for c in plan.configs if c.network.weights == "file"} == {"new"}
    assert len({c.network for c in pruned}) == 1
    assert {c.prune.normalise for c in pruned} == {"l1"}  # of VGG and AlexNet
    (control,) = [c for c in plan.configs if c.method == "dense" and c.finetune is not None]
    assert control.n_epochs == 3


def test_the_steps_and_the_norms_are_theirs():
    configs = [c for c in load_study("transfer").with_data("/x").expand() if c.prune]
    rates = {c.prune.rates_of_rounds(c.prune.rate) for c in configs}
    assert [round(rate, 2) for rate in rates.pop()] == [round(0.05 * k, 2) for k in range(1, 20)]
    assert not rates
    trained = {(c.network.name, c.n_epochs) for c in configs if c.finetune is not None}
    assert trained == {("vgg16", 205), ("alexnet", 205), ("resnet18", 200), ("resnet50", 200)}
    norms = {
        (c.network.name.startswith("resnet"), c.prune.criterion, c.prune.norm)
        for c in configs
        if c.method == "structured_global" and c.prune.criterion != "random"
    }
    shared = {("taylor", "l2"), ("gradient", "l2"), ("l1", "l1")}
    assert norms == {
        *((residual, *each) for residual in (True, False) for each in shared),
        *((False, "lrp", "l1"), (True, "lrp", "none")),
    }

"""What a sweep refuses before it launches, a plan refuses, in the same words."""

import io
import sys

import pytest
from rich.console import Console
from small_studies import small_base

from sweeps.plan.check import check
from sweeps.plan.planner import make_plan
from sweeps.plan.sweep import Grid, Sweep, axis
from sweeps.studies import load_study
from trainables.config import DissectionConfig
from trainables.contents import with_contents

FILTERS = {"prune.granularity": "filter", "prune.scope": "global"}
STUDY = Sweep(
    "one", "", small_base(), grids=(Grid({"seed": axis("seed", (0,))}),), recalibrate_images=8
)
LRP = {"prune.criterion": "lrp", "prune.samples_per_class": 4}
NETS = """
import torch
from torch import nn

class Net(nn.Sequential):
    def __init__(self, n, layer):
        super().__init__(nn.Conv2d(3, 8, 3), nn.ReLU(), layer, nn.ReLU(),
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, n))

def good(num_classes): return Net(num_classes, nn.Conv2d(8, 8, 3))
def narrow(num_classes): return Net(num_classes + 1, nn.Conv2d(8, 8, 3))
def frozen(num_classes): return good(num_classes).requires_grad_(False)
def seeded(num_classes):
    torch.manual_seed(0)
    return good(num_classes)
def deep(num_classes): return Net(num_classes, nn.Conv2d(8, 8, 60))
def colours(device): return 7
def early(rate, done): return 2 * rate
class Loud: pass
"""
REFUSED = {
    "too few images for MIS": {"score.n_tasks": 40},
    "samples of a class": {"prune.criterion": "taylor", "prune.samples_per_class": 90},
    "recalibration": {"recalibrate_images": 97},
    "images to dissect": {"dissection": DissectionConfig(n_images=61)},
    "a layer to dissect": {"dissection": DissectionConfig(layers=("inception9z",))},
    "a quantile": {"dissection": DissectionConfig(quantile=1e-9)},
    "pixels": {"data.pixels": 8},
    "pixels of what is drawn": {"data.pixels": 20},
    "a batch of one": {"finetune.batch_size": 1},
    "an empty layer": {**FILTERS, "prune.rate": 0.9999},
    "a relevance without rules": {**LRP, "network.name": "efficientnet_b0"},
    "a budget out of reach": {**FILTERS, "prune.rate": None, "prune.target": "params=0.0001"},
    "logits": {"network.name": "own_refused:narrow"},
    "frozen weights": {"network.name": "own_refused:frozen"},
    "one seed for all": {"network.name": "own_refused:seeded"},
    "a kernel larger than the picture": {"network.name": "own_refused:deep"},
    "a similarity": {"score.similarity": "own_refused:colours"},
    "a schedule": {"prune.schedule": "own_refused:early", "prune.rounds": 2},
    "a criterion that is a function": {"prune.criterion": "own_refused:good"},
    "a score that is none": {"scores": ("mis", "own_refused:Loud")},
    "probe images of a class": {"scores": ("mis", "selectivity")},
    "a network that is not there": {"network.name": "own_refused:absent"},
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "own_refused.py").write_text(NETS)
    return tmp_path


def sentence_of(action):
    try:
        action()
    except (ValueError, OSError) as error:
        return str(error)
    return "nothing is refused"


@pytest.mark.slow
@pytest.mark.parametrize("what", REFUSED)
def test_a_plan_refuses_what_a_sweep_does_in_the_same_words(here, what):
    settings = REFUSED[what]
    planned = sentence_of(lambda: make_plan(STUDY, settings=settings))

    def sweep():
        """Without the planner's own look."""
        configs = [with_contents(c, here / "results") for c in STUDY.expand(settings)]
        check(configs, here / "results", Console(file=io.StringIO()))

    refused = sentence_of(sweep)
    assert refused != "nothing is refused" and "\n" not in refused
    assert planned == refused


def test_what_is_legal_is_refused_by_neither(here):
    for settings in ({}, {"network.name": "own_refused:good"}, {"finetune.batch_size": 7}):
        make_plan(STUDY, settings=settings)
        configs = [with_contents(c, here / "r") for c in STUDY.expand(settings)]
        check(configs, here / "r", Console(file=io.StringIO()))


@pytest.mark.parametrize("name", ["photographs", "transfer", "paper"])
def test_a_study_of_a_folder_is_refused_for_want_of_one_and_of_nothing_else(name, tmp_path):
    """Of the classes' images, or the disk, that it needs nothing is known before."""
    configs = load_study(name).expand()
    with pytest.raises(ValueError, match="needs data.path, a folder with train/ and val/"):
        check(configs[:3], tmp_path, Console(file=io.StringIO()))


def test_a_study_of_a_folder_is_planned_without_one():
    assert make_plan(load_study("photographs")).configs

"""`python -m sweeps score`: its plan, its refusals, and what a report says of unpaired changes."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from sweeps import __main__ as cli
from sweeps.plan.preview import plan_table
from sweeps.report.checks.all import checks
from sweeps.report.read.same_units import with_dense
from sweeps.score import score_plan
from trainables.config import NetworkConfig
from trainables.networks import build_network

SMALL = {"data.pixels": 64, "score.n_tasks": 1, "score.n_explanations": 1}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder of two classes; a dense network, zeros in it, and a whole module."""
    folder = tmp_path_factory.mktemp("score")
    draw = np.random.default_rng(0)
    for split, n in (("train", 12), ("val", 4)):
        for name in ("cat", "dog"):
            (folder / "data" / split / name).mkdir(parents=True)
            for i in range(n):
                pixels = draw.integers(0, 256, (64, 64, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / "data" / split / name / f"{i}.png")
    torch.manual_seed(0)
    network = build_network(NetworkConfig(name="resnet18", weights="random"), 2)
    torch.save(network.state_dict(), folder / "dense.pt")
    torch.save(network, folder / "whole.pt")
    torch.nn.init.zeros_(network.layer4[1].conv2.weight)
    torch.save(network.state_dict(), folder / "my pruned.pt")
    return folder


def test_its_plan_is_the_pruned_network_and_its_controls(files):
    pruned, dense, data = (str(files / name) for name in ("my pruned.pt", "dense.pt", "data"))
    plan = score_plan(pruned, "resnet18", dense, data, SMALL)
    assert plan.sweep.name == "score-my-pruned"
    methods = ["dense", "given", "rotated", "untrained"]
    assert sorted(config.method for config in plan.configs) == methods
    (given,) = [config for config in plan.configs if config.given is not None]
    assert given.given.digest and given.network.checkpoint == dense
    (said,) = [note for note in plan.inputs.notes if pruned in note]
    assert "of the parameters are zero, all shapes are those of resnet18" in said
    assert plan_table(plan, ()).row_count == 4
    again = score_plan(pruned, "resnet18", dense, data, SMALL)
    assert again.keys == plan.keys


REFUSED = {
    "whole": ({"pruned": "whole.pt"}, "torch.save(model.state_dict(), 'weights.pt')"),
    "not there": ({"pruned": "none.pt"}, "the checkpoint must be a file"),
    "another network": ({"network": "resnet34"}, "dense.pt is a checkpoint of another network"),
    "no network": ({"network": "resnet19"}, "network.name must be a convolutional classification"),
    "dense is whole": ({"against": "whole.pt"}, "torch.save(model.state_dict(), 'weights.pt')"),
    "classes": ({"against": "imagenet"}, "ImageNet weights have 1,000 classes, the data has 2"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_refuses_in_one_sentence_before_anything_runs(files, tmp_path, capsys, name):
    changes, sentence = REFUSED[name]
    given = {"pruned": "my pruned.pt", "network": "resnet18", "against": "dense.pt"} | changes
    pruned = str(files / given["pruned"])
    against = given["against"] if given["against"] == "imagenet" else str(files / given["against"])
    results = tmp_path / "results"
    words = ["score", pruned, "--network", given["network"], "--against", against]
    words += ["--data", str(files / "data"), "--results", str(results)]
    assert cli.main([*words, "--set", "data.pixels=64"]) == 2
    printed = capsys.readouterr()
    assert sentence in (printed.out + printed.err).replace("\n", " ")
    assert not results.exists()


def trials_of(**more):
    names = ["dense", "given"]
    rows = {"key": ["d", "g"], "seed": [0, 0], "method": names, "label": names}
    return pd.DataFrame({**rows, "retraining": ["none", "none"], **more})


def test_a_report_pairs_no_units_whose_channels_are_not_known():
    units = pd.DataFrame(
        {
            "key": ["d", "d", "g"],
            "layer": ["a", "a", "a"],
            "channel": [0, 1, 0],
            "mis": [0.6, 0.7, 0.8],
            "dense_mis": [0.6, 0.7, np.nan],
        }
    )
    known = with_dense(units, trials_of())
    assert known["dense_mis"].tolist() == [0.6, 0.7, 0.6]
    unknown = with_dense(units, trials_of(**{"mis/change_unpaired": [np.nan, 0.1]}))
    assert unknown["dense_mis"].isna().tolist() == [False, False, True]


def test_a_report_says_that_a_change_is_not_of_the_same_units():
    more = {"mis/change_unpaired": [np.nan, 0.125], "mis/change_unpaired_error": [np.nan, 0.5]}
    (found,) = [c for c in checks(trials_of(**more)) if c.name == "same units compared"]
    assert found.status == "failed" and "given +0.125 (standard error 0.500)" in found.said
    assert not [c for c in checks(trials_of()) if c.name == "same units compared"]

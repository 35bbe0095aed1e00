"""Each layer pruned alone: what is measured, what of it a layer bears, and the rates of a file."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from narrow_networks import images, narrow_network
from small_studies import small_base
from torch import nn
from torchvision import models

from pruning import choose_groups, importance_of_groups, masks_of, prunable_weights, structure_of
from sweeps.plan.planner import make_plan
from sweeps.plan.sweep import Grid, Sweep
from trainables.artifacts import SENSITIVITY
from trainables.config import PruneConfig, SensitivityConfig, TrainConfig, TrialConfig
from trainables.datasets.images import normalise
from trainables.datasets.loading import load_data
from trainables.randomness import generator
from trainables.rates_file import read_rates, tolerable_rates
from trainables.rounds.sensitivity import measure_sensitivity
from trainables.training.again import Again
from trainables.training.dense import load_dense
from trainables.trial import Trial, run_trial

RATES = (0.3, 0.8)
LEFT = tuple(f"inception{block}" for block in ("3b", "4a", "4b", "4c", "4d", "4e", "5a"))
AS_DENSE = {"prune": None, "finetune": None}


def asked(**changes):
    config = SensitivityConfig(rates=RATES, n_images=40, exclude=LEFT, **changes)
    return small_base(**AS_DENSE, sensitivity=config)


@pytest.mark.parametrize("granularity", ["weight", "filter"])
def test_a_curve_is_what_pruning_one_layer_of_a_copy_gives(workspace, granularity):
    """The slow way: a network anew for every point, pruned by what every trial is pruned by."""
    config = asked(granularity=granularity)
    data = load_data(config.data, workspace.cache)
    network = load_dense(config, data, workspace.cache).eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    rows = measure_sensitivity(network, config, data, workspace.cache, "fp32")
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    weights = list(prunable_weights(network, LEFT, granularity=granularity))
    assert [(r["layer"], r["rate"]) for r in rows] == [
        (name.removesuffix(".weight"), rate) for name in weights for rate in RATES
    ]
    chosen = [r for k, r in enumerate(rows) if k % 9 == 0]
    draw = generator(config.seed, "sensitivity")
    ids = torch.randperm(len(data.val), generator=draw)[:40]
    (_, pixels, labels) = next(data.val.batches(ids, 40))
    structure = structure_of(network)
    for row in chosen:
        copy = load_dense(config, data, workspace.cache).eval()
        name = f"{row['layer']}.weight"
        importance = importance_of_groups(copy, "l1", granularity, names=[name])
        how = {"granularity": granularity, "scope": "layer"}
        groups = choose_groups(importance, row["rate"], **how)
        for part, mask in masks_of(copy, groups, granularity, structure).items():
            copy.get_parameter(part).data.mul_(mask)
        with torch.no_grad():
            right = (copy(normalise(pixels)).argmax(1) == labels).double().mean().item()
        assert row["top1"] == pytest.approx(right, abs=1e-12)


NETWORKS = ("googlenet", "resnet", "vgg_bn")


@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_run_again_gives_what_the_whole_network_gives(name):
    check_again(narrow_network(name), images(0, 64))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["mobilenet_v2", "densenet121", "shufflenet_v2_x0_5", "efficientnet_b0", "squeezenet1_1"],
)
def test_what_is_run_again_of_any_network_gives_what_the_whole_gives(name):
    torch.manual_seed(0)
    check_again(models.get_model(name, num_classes=5).eval(), images(0, 64, torch.float32))


def check_again(network, x):
    """Networks of torchvision work in place in many spots, which must not reach the next pass."""
    again, draw = Again(network), torch.Generator().manual_seed(0)
    assert again._run is not None
    layers = [n for n, m in network.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    with torch.inference_mode():
        whole = network(x)
        assert torch.equal(again.whole(x), whole)
        for layer in layers[::3]:
            weight = network.get_parameter(f"{layer}.weight")
            kept = weight.clone()
            weight.mul_(torch.rand(weight.shape, generator=draw) > 0.5)
            assert torch.equal(again.after([layer]), network(x)), layer
            weight.copy_(kept)
        assert torch.equal(again.after(layers[:1]), whole)


class LooksAtItsNumbers(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 5)

    def forward(self, x):
        x = self.conv(x).mean((2, 3))
        return self.fc(x if x.sum() > 0 else -x)


def test_a_network_that_cannot_be_followed_is_run_as_a_whole():
    network, x = LooksAtItsNumbers(), images(0, 16, torch.float32)
    again = Again(network)
    assert again._run is None and torch.equal(again.whole(x), network(x))
    with torch.no_grad():
        network.fc.weight.mul_(0)
    assert torch.equal(again.after(["fc"]), network(x))


def test_a_trial_leaves_its_curves_and_a_plan_reads_rates_from_a_file(workspace, tmp_path):
    result = run_trial(asked(), workspace)
    table = pd.read_parquet(result.folder / SENSITIVITY)
    assert len(table) == 14 * len(RATES) and set(table["n_images"]) == {40}
    assert table["dense"].nunique() == 1 and table["top1"].between(0, 1).all()
    path = tmp_path / "curves.csv"
    kept = table.assign(kind="layer").rename(columns={"top1": "value"})
    kept.to_csv(path, index=False)
    base = small_base(**{"prune.scope": "layer", "prune.rate": None, "prune.rates": f"{path}@0.5"})
    base = base.replace({"prune.rates_factor": 0.5})
    plan = make_plan(Sweep("x", "", base, (Grid({}),)))
    config, chance = (
        next(c for c in plan.configs if c.prune and c.prune.criterion == by)
        for by in ("l1", "random")
    )
    assert len(config.prune.rates) == 14 and config.prune.rates == chance.prune.rates
    assert config.key != base.key and "14 rates of layers x 0.5" in config.label
    trial = Trial(config, workspace)
    trial.begin_round()
    numbers = trial.pruned.numbers()
    rates = dict(entry.split("=") for entry in config.prune.rates)
    for name, (kept, n) in numbers.items():
        rate = float(rates.get(name.removesuffix(".weight"), 0))
        assert n - kept == math.floor(rate * 0.5 * n + 1e-9 * n), name
    gone = sum(n - kept for kept, n in numbers.values())
    assert 0 < trial.evaluate()["prune/rate"] == gone / sum(n for _, n in numbers.values())


def test_a_layer_bears_the_rate_at_which_its_curve_falls_below_the_threshold():
    curves = {
        "never": [(0.5, 0.8), (0.9, 0.79)],
        "between": [(0.5, 0.8), (0.9, 0.6)],
        "at once": [(0.5, 0.4), (0.9, 0.8)],  # what comes later does not count
        "exactly": [(0.5, 0.72), (0.9, 0.0)],
    }
    found = tolerable_rates(curves, dense=0.8, keeps=0.9)
    for name, curve in curves.items():
        x, y = zip((0.0, 0.8), *curve, strict=True)
        fine = np.linspace(0, 0.9, 900_001)
        below = fine[np.interp(fine, x, y) < 0.72 - 1e-12]
        wanted = below[0] if len(below) else 0.9
        assert found[name] == pytest.approx(wanted, abs=1.1e-4) and found[name] <= wanted + 1e-6


CURVES = "kind,granularity,criterion,layer,rate,dense,value\n"


@pytest.mark.parametrize(
    ("text", "said", "message"),
    [
        (None, "{}", "cannot be read .FileNotFoundError.; make sweep STUDY=sensitivity writes"),
        ("a,b\n1,2\n", "{}", "must have the columns layer and rate"),
        ("layer,rate\n", "{}", "must have the columns layer and rate, and rows"),
        ("layer,rate\nconv2,x\n", "{}", "must have numbers as rate, of conv2 it has 'x'"),
        ("layer,rate\nconv2,0.5\n", "{}@0.9", "must be a path alone, .* has no curves"),
        (
            CURVES + "layer,filter,l1,conv2,0.5,0.8,0.7\n",
            "{}",
            "granularity weight by l1, it has filter by l1",
        ),
        (
            CURVES + "layer,weight,l1,conv2,0.5,0.8,0.7\n",
            "{}@1.5",
            "share of accuracy that is kept",
        ),
        (
            "pair," + CURVES + "a,layer,weight,l1,c,0.5,0.8,0.7\nb,layer,weight,l1,c,0.5,0.8,0.7\n",
            "{}",
            "curves of one network, it has those of 'a', 'b': keep the rows of one `pair`",
        ),
    ],
)
def test_a_file_that_holds_no_rates_is_refused_in_one_sentence(tmp_path, text, said, message):
    path = tmp_path / "t.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        read_rates(said.format(path), "weight", "l1")
    assert "\n" not in str(error.value)


def test_a_file_by_hand_names_layers_and_their_rates(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("layer,rate\nconv2,0.5\ninception3*,0.25\nfc,5e-05\nconv1,0\n")
    found = read_rates(str(path), "weight", "l1")
    assert found == ("conv2=0.5", "inception3*=0.25", "fc=0.00005", "conv1=0")
    assert PruneConfig(rate=None, rates=found).rates == found


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        (("nowhere=0.5",), "'nowhere' does not: it names none; there are conv2.conv, "),
        (("conv2=0.5",), "'conv2' does not: it names none"),  # a module, not its layer: conv2*
        (("*=0.5", "conv2*=0.1"), "'conv2.' does not: all 1 of its layers are named before it"),
    ],
)
def test_names_that_name_nothing_are_refused_when_a_study_is_planned(rates, message):
    base = small_base(**{"prune.scope": "layer", "prune.rate": None, "prune.rates": rates})
    with pytest.raises(ValueError, match=message):
        make_plan(Sweep("x", "", base, (Grid({}),)))


def test_layers_that_are_not_there_are_refused_when_planned():
    """Else the trial fails once the dense network is trained."""
    base = asked().replace({"sensitivity.exclude": ("inception9",)})
    with pytest.raises(ValueError, match="must hold a convolution, 'inception9' does not"):
        make_plan(Sweep("x", "", base, (Grid({}),)))


def test_only_a_dense_network_is_measured():
    for changes in ({"prune": PruneConfig()}, {"finetune": TrainConfig()}):
        with pytest.raises(ValueError, match="sensitivity must be measured on the dense network"):
            TrialConfig(sensitivity=SensitivityConfig(), **changes)
    for rates in ((), (0.5, 0.4), (0.0, 0.5), (0.5, 1.0)):
        with pytest.raises(ValueError, match="rates must rise, each in .0, 1."):
            SensitivityConfig(rates=rates)

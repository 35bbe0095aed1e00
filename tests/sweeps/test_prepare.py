"""What is wrong with how trials prune is said before anything is launched."""

import io
from dataclasses import replace

import pytest
from PIL import Image
from rich.console import Console
from small_studies import small_base, small_sweep
from torch import nn

import sweeps.plan.check
from sweeps.plan.check import check, refuser
from sweeps.plan.planner import make_plan
from sweeps.plan.prepare import prepare
from sweeps.plan.sweep import Grid, methods
from sweeps.values import value_of
from trainables.config import DissectionConfig
from trainables.rounds.outlined import require_prunable_outline

FILTERS = {"prune.granularity": "filter", "prune.scope": "global"}
RELEVANCE = {**FILTERS, "prune.criterion": "lrp", "prune.samples_per_class": 2}


@pytest.fixture(scope="module")
def refuse(tmp_path_factory):
    return refuser(small_base(), tmp_path_factory.mktemp("results"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {**FILTERS, "prune.rate": 0.9999},
            "leave at least one filter per layer: 0.9999 of 7216 leaves 1 for 56 layers",
        ),
        (
            {"prune.granularity": "input_channel", "prune.rate": 0.999},
            r"at least one input channel per layer: 0.999 of \d+ leaves \d+ for 56 layers",
        ),
        ({"prune.exclude": ("conv9",)}, "must hold a convolution, 'conv9' does not; there are"),
        (
            {"prune.criterion": "taylor", "prune.samples_per_class": 7},
            r"samples_per_class must be at most the training images of a class: .*, got 7",
        ),
        ({"recalibrate_images": 97, "finetune": None}, "at most the 96 training images, got 97"),
    ],
)
def test_what_cannot_be_pruned_so_is_refused_in_one_sentence(refuse, changes, message):
    with pytest.raises(ValueError, match=message) as refusal:
        refuse(small_base(**changes))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"prune.criterion": "taylor", "prune.samples_per_class": 7},
            r"of a class: class \d+ has 4, got 7; SET=prune.samples_per_class=4, or other",
        ),
        (
            {"dissection": DissectionConfig(n_images=61)},
            "n_images must be at most the 60 images with concept maps, got 61$",
        ),
        ({"recalibrate_images": 97}, "at most the 96 training images, got 97; SET="),
    ],
)
def test_a_plan_refuses_numbers_that_are_larger_than_the_data_as_a_sweep_does(
    tmp_path, monkeypatch, settings, sentence
):
    monkeypatch.setattr(sweeps.plan.check, "require_batches", lambda *_: None)
    configs = small_sweep().expand(settings)
    with pytest.raises(ValueError, match=sentence) as planned:
        make_plan(small_sweep(), settings=settings)
    with pytest.raises(ValueError) as refused:
        check(configs, tmp_path, Console(file=io.StringIO()))
    assert str(planned.value) == str(refused.value)


def test_a_plan_counts_the_classes_of_a_folder(tmp_path):
    for split, name, n in (("train", "a", 3), ("train", "b", 5), ("val", "a", 1), ("val", "b", 1)):
        for i in range(n):
            path = tmp_path / split / name / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (40, 40), (i, n, 0)).save(path)
    counts = dict.fromkeys(("train_images", "val_images", "probe_images"))
    data = replace(small_base().data, name="image_folder", path=str(tmp_path), **counts)
    few = {"score.n_tasks": 1, "score.n_explanations": 1}
    study = replace(small_sweep(), base=small_base(data=data, **few), recalibrate_images=8)
    asked = {"prune.criterion": "taylor", "prune.samples_per_class": 3}
    make_plan(study, settings=asked)
    with pytest.raises(ValueError, match="class 0 has 3, got 4; SET=prune.samples_per_class=3"):
        make_plan(study, settings={**asked, "prune.samples_per_class": 4})


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        (
            {
                "prune.granularity": "2:4",
                "prune.scope": "layer",
                "prune.exclude": ("conv5",),
                "network.name": "shufflenet_v2_x1_0",
            },
            r"blocks of 4, .* have not: prune.exclude must name them, SET=\"prune.exclude=\(",
        ),
        (
            {**FILTERS, "prune.criterion": "bn_scale", "network.name": "alexnet"},
            r"have none: prune.exclude must name them, SET=\"prune.exclude=\(",
        ),
    ],
)
def test_layers_that_must_be_left_out_are_given_as_a_setting_that_does_it(changes, names):
    config = small_base(**changes, **{"data.pixels": 64})
    with pytest.raises(ValueError, match=names) as refused:
        require_prunable_outline(config.network, config.prune)
    name, text = str(refused.value).partition('SET="')[2].rstrip('"').split("=", 1)
    assert set(value_of(text)) > set(config.prune.exclude)
    try:
        require_prunable_outline(config.network, config.replace({name: value_of(text)}).prune)
    except ValueError as error:
        assert "nothing is left to prune" in str(error)


def test_a_setting_that_does_nothing_says_why():
    filters = replace(small_sweep(), grids=(Grid({"method": methods("structured")}),))
    with pytest.raises(ValueError, match="has a prune.biases to set: biases are single weights, o"):
        make_plan(filters, settings={"prune.biases": True})
    with pytest.raises(ValueError, match="has a prune.change_of to set: of the criteria only"):
        make_plan(filters, settings={"prune.change_of": "logit"})
    with pytest.raises(ValueError, match="has a dissection.iou to set$"):
        make_plan(filters, settings={"dissection.iou": 0.1})


@pytest.mark.parametrize("changes", [FILTERS, RELEVANCE])
def test_what_can_be_is_let_through(refuse, changes):
    refuse(small_base(**changes, **{"prune.rate": 0.9}))


def test_a_module_without_a_rule_is_refused_where_relevance_is_asked_for(tmp_path, monkeypatch):
    def with_sigmoid(*arguments):
        network = build(*arguments)
        network.inception3a.branch1.add_module("gate", nn.Sigmoid())
        return network

    build = sweeps.plan.check.build_network
    monkeypatch.setattr(sweeps.plan.check, "build_network", with_sigmoid)
    refuse = refuser(small_base(), tmp_path)
    refuse(small_base(**FILTERS))
    with pytest.raises(ValueError, match="there is none for Sigmoid 'inception3a.branch1.gate'"):
        refuse(small_base(**RELEVANCE))


def test_a_check_grows_with_what_differs_and_not_with_the_square_of_the_seeds(
    tmp_path, monkeypatch
):
    """Networks built, and prunings checked, of 1 and of 6 seeds of six trials each."""
    counts = []

    def counted(name):
        real = getattr(sweeps.plan.check, name)

        def call(*arguments, **more):
            counts[-1][name] = counts[-1].get(name, 0) + 1
            return real(*arguments, **more)

        monkeypatch.setattr(sweeps.plan.check, name, call)

    for name in ("build_network", "structure_of", "_check_pruning", "similarity_of"):
        counted(name)
    counted("require_prunable")  # which asks for the rate
    rates = [{**FILTERS, "prune.rate": rate / 10} for rate in range(1, 7)]
    for n in (1, 6):
        counts.append({})
        configs = [small_base(**rate, seed=seed) for seed in range(n) for rate in rates]
        sweeps.plan.check.check(configs, tmp_path, Console(quiet=True))
    assert counts[0] == counts[1]
    assert counts[0]["build_network"] == counts[0]["structure_of"] == 1
    assert counts[0]["require_prunable"] == 6


@pytest.mark.slow
@pytest.mark.parametrize("at", [0, 7, 17])
def test_what_is_checked_once_is_checked_wherever_it_stands(tmp_path, at):
    configs = [small_base(**FILTERS, seed=seed) for seed in range(18)]
    configs[at] = configs[at].replace({"prune.rate": 0.9999})
    with pytest.raises(ValueError, match="leave at least one filter per layer"):
        sweeps.plan.check.check(configs, tmp_path, Console(quiet=True))


def test_graphs_without_a_gpu_are_refused_before_anything_is_trained(tmp_path):
    config = small_base(**{"compute.compile": "graphs"})
    with pytest.raises(ValueError, match="compute.compile='graphs' needs a CUDA GPU, this trial"):
        prepare([config], tmp_path, None, None)
    assert not list(tmp_path.rglob("*.pt"))

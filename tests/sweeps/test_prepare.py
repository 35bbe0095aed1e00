"""What is wrong with how trials prune is said before anything is launched."""

import pytest
from rich.console import Console
from small_studies import small_base
from torch import nn

import sweeps.plan.check
from sweeps.plan.check import refuser
from sweeps.plan.prepare import prepare

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
            "leave at least one filter a layer: 0.9999 of 7216 leaves 1 for 56 layers",
        ),
        (
            {"prune.granularity": "input_channel", "prune.rate": 0.999},
            r"at least one input channel a layer: 0.999 of \d+ leaves \d+ for 56 layers",
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

    for name in ("build_network", "structure_of", "_check_pruning", "load_similarity"):
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


@pytest.mark.parametrize("at", [0, 7, 17])
def test_what_is_checked_once_is_checked_wherever_it_stands(tmp_path, at):
    configs = [small_base(**FILTERS, seed=seed) for seed in range(18)]
    configs[at] = configs[at].replace({"prune.rate": 0.9999})
    with pytest.raises(ValueError, match="leave at least one filter a layer"):
        sweeps.plan.check.check(configs, tmp_path, Console(quiet=True))


def test_graphs_without_a_gpu_are_refused_before_anything_is_trained(tmp_path):
    config = small_base(**{"compute.compile": "graphs"})
    with pytest.raises(ValueError, match="compute.compile='graphs' needs a CUDA GPU, this trial"):
        prepare([config], tmp_path, None, None)
    assert not list(tmp_path.rglob("*.pt"))

"""What is wrong with how trials prune is said before anything is launched."""

import pytest
from small_studies import small_base
from torch import nn

import sweeps.prepare
from sweeps.prepare import refuser

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

    build = sweeps.prepare.build_network
    monkeypatch.setattr(sweeps.prepare, "build_network", with_sigmoid)
    refuse = refuser(small_base(), tmp_path)
    refuse(small_base(**FILTERS))
    with pytest.raises(ValueError, match="there is none for Sigmoid 'inception3a.branch1.gate'"):
        refuse(small_base(**RELEVANCE))

"""Channels in multiples: of the network that is compacted, never fewer, and no layer lost."""

import pytest
import torch
from torch import nn
from torchvision import models

from pruning import (
    choose_groups,
    choose_within,
    compact,
    counts,
    masks_of,
    prunable_weights,
    rounded_up,
    structure_of,
    survivors_of,
)
from tests.narrow_networks import images
from tests.networks_for_tests import tiny_inception
from trainables.networks import positions_of


class Case:
    def __init__(self, name, seed=0):
        torch.manual_seed(seed)
        more = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
        if name == "tiny":
            self.network = tiny_inception()
        else:
            self.network = models.get_model(name, num_classes=10, **more).eval()
        self.structure = structure_of(self.network)
        weights = prunable_weights(self.network, granularity="filter", structure=self.structure)
        self.importance = {name: torch.rand(len(w)) for name, w in weights.items()}

    def chosen(self, rate, scope="layer", within=None):
        how = {"granularity": "filter", "scope": scope, "within": within}
        return choose_groups(self.importance, rate, **how)

    def rounded(self, groups, multiple, within=None):
        return rounded_up(
            *(groups, self.importance, self.network, self.structure, multiple), within=within
        )

    def smaller(self, groups):
        keep = masks_of(self.network, groups, "filter", self.structure)
        return compact(self.network, survivors_of(self.network, keep, self.structure))

    def widths(self, network):
        return {
            name: (len(module.weight), getattr(module, "groups", 1))
            for name, module in network.named_modules()
            if isinstance(module, nn.Conv2d)
        }


NETWORKS = [
    "googlenet",
    "tiny",
    *(
        pytest.param(name, marks=pytest.mark.slow)
        for name in ("resnet18", "mobilenet_v2", "shufflenet_v2_x1_0", "resnext50_32x4d")
    ),
]


@pytest.mark.parametrize("name", NETWORKS)
def test_every_layer_that_is_left_has_a_multiple_of_channels_or_all(name):
    case = Case(name)
    multiple = 4 if name == "tiny" else 8
    whole = case.widths(case.network)
    for rate, scope in ((0.35, "layer"), (0.6, "global")):
        groups = case.chosen(rate, scope)
        rounded = case.rounded(groups, multiple)
        smaller = case.smaller(rounded)
        left = case.widths(smaller)
        for layer, (n, parts) in left.items():
            assert n % multiple == 0 or n == whole[layer][0], (layer, n, whole[layer])
            assert n % parts == 0
        assert any(n < whole[layer][0] for layer, (n, _) in left.items())
        assert all((rounded[layer] >= groups[layer]).all() for layer in groups)  # up, never down
        before = case.widths(case.smaller(groups))
        assert all(left[layer][0] - n < 64 for layer, (n, _) in before.items())
        smaller(images(0, 64, torch.float32))  # its shapes fit


def test_the_most_important_come_back_up_to_the_next_multiple():
    """No layers are summed here: each is its own, counted slowly."""
    case = Case("tiny")
    rounded = case.rounded(case.chosen(0.5), 4)
    for name, importance in case.importance.items():
        n = len(importance)
        left = n - int(0.5 * n)
        wanted = min(-(-left // 4) * 4, n)
        best = set(importance.argsort(descending=True)[:wanted].tolist())
        assert set(rounded[name].nonzero().flatten().tolist()) == best
    assert all(
        torch.equal(a, b)
        for a, b in zip(case.rounded(rounded, 4).values(), rounded.values(), strict=True)
    )
    one = case.chosen(0.5)
    assert all(torch.equal(case.rounded(one, 1)[name], one[name]) for name in one)


def test_a_layer_that_a_ranking_emptied_gets_channels_back():
    case = Case("tiny")
    case.importance["last.conv.weight"] *= 1e-6
    groups = case.chosen(0.4, "global")
    assert not groups["last.conv.weight"].any()
    assert case.rounded(groups, 4)["last.conv.weight"].sum() == 4


def test_what_a_round_before_has_pruned_does_not_come_back():
    case = Case("tiny")
    first = case.rounded(case.chosen(0.3), 4)
    later = case.rounded(case.chosen(0.6, within=first), 4, within=first)
    assert all((later[name] <= first[name]).all() for name in first)
    left = case.widths(case.smaller(later))
    whole = case.widths(case.network)
    assert all(n % 4 == 0 or n == whole[layer][0] for layer, (n, _) in left.items())


def test_a_budget_counts_what_is_rounded():
    case = Case("tiny")
    positions = positions_of(case.network, 32)
    whole = counts(case.network, {}, positions)["macs"]

    def cost(groups):
        keep = masks_of(case.network, groups, "filter", case.structure)
        survivors = survivors_of(case.network, keep, case.structure)
        return counts(case.network, survivors, positions)["macs"]

    for scope in ("global", "layer"):
        groups = choose_within(
            *(cost, 0.5 * whole, case.importance),
            **{"granularity": "filter", "scope": scope},
            finish=lambda groups: case.rounded(groups, 4),
        )
        assert cost(groups) <= 0.5 * whole
        left = case.widths(case.smaller(groups))
        assert all(n % 4 == 0 or n == case.widths(case.network)[x][0] for x, (n, _) in left.items())


@pytest.mark.parametrize("multiple", [1, 8])
def test_no_layer_of_a_residual_network_is_left_without_a_filter(multiple):
    """Its channels may live on in the sum by another layer's filters; nothing would read what comes
    before it."""
    case = Case("resnet18")
    bare = "layer4.1.conv2.weight"
    groups = case.chosen(0.5)
    groups[bare] = torch.zeros_like(groups[bare])
    found = case.rounded(groups, multiple)
    best = int(case.importance[bare].argmax())
    assert found[bare][best] and all(each.any() for each in found.values())
    widths = case.widths(case.smaller(found))
    assert all(width % multiple == 0 and width > 1 for width, _ in widths.values())

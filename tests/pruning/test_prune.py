import copy

import pytest
import torch
from networks_for_tests import tiny_inception
from pruning_oracles import released_connection_l1, structured_l1
from torch import nn
from torchvision.models import googlenet

from pruning import (
    CRITERIA,
    GRANULARITIES,
    SCOPES,
    Held,
    choose_keep,
    measure_sparsity,
    n_pruned,
    prunable_weights,
)
from pruning.masks import batchnorm_of


def choose(network, rate, granularity, scope="layer", criterion="l1", seed=0, **more):
    return choose_keep(
        network,
        rate,
        granularity=granularity,
        scope=scope,
        criterion=criterion,
        generator=torch.Generator().manual_seed(seed),
        **more,
    )


def n_groups(weight, granularity):
    return {"weight": weight.numel(), "filter": len(weight), "input_channel": weight.shape[1]}[
        granularity
    ]


@pytest.mark.parametrize("rate", [0.2, 0.5, 0.77])
def test_structured_and_connection_agree_with_the_papers(rate):
    network = tiny_inception()
    filters = choose(network, rate, "filter")
    channels = choose(network, rate, "input_channel")
    for name, weight in prunable_weights(network).items():
        assert torch.equal(filters[name], structured_l1(weight, rate))
        assert torch.equal(channels[name], released_connection_l1(weight, rate))


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("criterion", CRITERIA)
def test_every_combination_counts_exactly(criterion, granularity, scope):
    network = tiny_inception()
    keep = choose(network, 0.4, granularity, scope, criterion)
    pruned, asked, pool = 0, 0, 0
    for name, weight in prunable_weights(network).items():
        n = n_groups(weight, granularity)
        whole = keep[name]
        if granularity != "weight":
            other = (1, 2, 3) if granularity == "filter" else (0, 2, 3)
            assert torch.equal(whole.amax(other), whole.amin(other)), "a group is kept in part"
            whole = whole.amax(other)
        pruned += int((~whole).sum())
        asked += n_pruned(0.4, n)
        pool += n
    assert pruned == (asked if scope == "layer" else n_pruned(0.4, pool))


def test_the_first_convolution_is_never_pruned_and_exclusions_hold():
    network = tiny_inception()
    assert "stem.conv.weight" not in prunable_weights(network)
    assert "three.0.conv.weight" not in prunable_weights(network, ["three"])
    with pytest.raises(ValueError, match="'thre' does not; there are stem.conv, one.conv"):
        prunable_weights(network, ["thre"])
    with pytest.raises(ValueError, match="nothing is left to prune"):
        prunable_weights(network, ["one", "three", "five", "last"])


def test_random_filters_are_drawn_by_group_not_by_size():
    """A mean over many draws is narrow: global random pruning would take small filters first."""
    network = nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.Conv2d(4, 100, 1), nn.Conv2d(100, 100, 5), nn.Flatten()
    )
    shares = []
    for seed in range(20):
        keep = choose(network, 0.3, "filter", "global", "random", seed)
        small = (~keep["1.weight"].flatten(1).any(1)).sum()
        large = (~keep["2.weight"].flatten(1).any(1)).sum()
        shares.append(float(small / (small + large)))
    assert 0.4 < sum(shares) / len(shares) < 0.6


def test_googlenet_pairs_every_convolution_with_its_batchnorm():
    network = googlenet(weights=None, init_weights=False, aux_logits=False, num_classes=10)
    pairs = batchnorm_of(network)
    assert len(pairs) == 57
    assert all(bn == conv.removesuffix("conv") + "bn" for conv, bn in pairs.items())


def test_a_pruned_filter_is_silent_only_with_its_batchnorm():
    network = tiny_inception(dtype=torch.float64)
    x = torch.randn(2, 3, 9, 9, dtype=torch.float64)
    for follows in (True, False):
        pruned = copy.deepcopy(network)
        keep = choose(pruned, 0.5, "filter", batchnorm_follows=follows)
        Held(pruned, keep).apply()
        emitted = pruned.one(pruned.stem(x))[:, ~keep["one.conv.weight"].flatten(1).any(1)]
        assert (emitted.abs().max() == 0) == follows


def test_an_unstructured_mask_that_empties_a_filter_takes_its_batchnorm_too():
    network = tiny_inception()
    with torch.no_grad():
        network.one.conv.weight[2] = 1e-6
    keep = choose(network, 0.3, "weight", "global")
    assert not keep["one.conv.weight"][2].any()
    assert keep["one.bn.weight"].tolist() == [True, True, False, True, True, True]


OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=1e-2),
    "nesterov": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=1e-2, nesterov=True),
    "adamw": lambda p: torch.optim.AdamW(p, 1e-2, weight_decay=1e-1),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_zero_stays_zero(optimizer, granularity):
    network = tiny_inception().train()
    keep = choose(network, 0.6, granularity)
    held = Held(network, keep)
    assert held.revived(), "before it is applied, the mask must disagree with the weights"
    held.apply()
    steps = OPTIMIZERS[optimizer](network.parameters())
    for step in range(5):
        x = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(step))
        steps.zero_grad()
        network(x).square().sum().backward()
        held.mask_gradients()
        for name, mask in keep.items():
            assert (network.get_parameter(name).grad[~mask] == 0).all()
        steps.step()
        held.apply()
    assert held.revived() == []
    before = measure_sparsity(network)
    assert before.n_zero == sum(int((~keep[n]).sum()) for n in prunable_weights(network)), (
        "the zeros are the masked ones and no others"
    )


def test_without_holding_the_weights_regrow():
    """The released connection sparsity multiplied once: this is what happened to it."""
    network = tiny_inception().train()
    held = Held(network, choose(network, 0.6, "input_channel"))
    held.apply()
    steps = OPTIMIZERS["sgd"](network.parameters())
    network(torch.randn(8, 3, 8, 8)).square().sum().backward()
    steps.step()
    assert held.revived()


def test_rounds_nest():
    network = tiny_inception()
    first = choose(network, 0.3, "filter")
    Held(network, first).apply()
    with torch.no_grad():  # training changes the ranking
        for weight in prunable_weights(network).values():
            weight.mul_(torch.rand(len(weight), 1, 1, 1))
    second = choose(network, 0.6, "filter", within=first)
    for name in prunable_weights(network):
        assert (second[name] <= first[name]).all()
        assert (second[name] < first[name]).any()


def test_sparsity_names_collapsed_layers_and_both_denominators():
    network = tiny_inception()
    with torch.no_grad():
        network.one.conv.weight.zero_()
    sparsity = measure_sparsity(network)
    assert sparsity.collapsed == ("one.conv",)
    assert sparsity.n_zero == 48
    assert sparsity.n_prunable == 48 + 40 + 450 + 32 + 288 + 2592
    assert sparsity.n_network == sum(p.numel() for p in network.parameters())
    assert sparsity.network < sparsity.prunable < 1


def test_nan_weights_are_refused():
    network = tiny_inception()
    with torch.no_grad():
        network.one.conv.weight[0, 0] = float("nan")
    with pytest.raises(ValueError, match="one.conv.weight holds NaN"):
        choose(network, 0.5, "weight")

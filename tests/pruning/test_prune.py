import copy
import itertools

import numpy as np
import pytest
import torch
from networks_for_tests import choose as choose_whole
from networks_for_tests import tiny_inception
from pruning_oracles import keep_lowest_pruned, released_connection_l1, structured_l1
from torch import nn
from torchvision.models import googlenet

from pruning import (
    CRITERIA,
    GRANULARITIES,
    SCHEDULES,
    SCOPES,
    Held,
    choose_groups,
    cumulative_rates,
    granularity_of,
    groups_of,
    importance_of_groups,
    masks_of,
    measure_sparsity,
    n_pruned,
    prunable_weights,
    require_rate,
    structure_of,
)


def choose(network, rate, granularity, scope="layer", criterion="l1", seed=0, **more):
    return choose_whole(
        network,
        rate,
        granularity=granularity,
        scope=scope,
        criterion=criterion,
        generator=torch.Generator().manual_seed(seed),
        **more,
    )


@pytest.mark.parametrize("rate", [0.2, 0.5, 0.77])
def test_structured_and_connection_agree_with_the_papers(rate):
    network = tiny_inception()
    filters = choose(network, rate, "filter")
    channels = choose(network, rate, "input_channel")
    for name, weight in prunable_weights(network).items():
        assert torch.equal(filters[name], structured_l1(weight, rate))
        assert torch.equal(channels[name], released_connection_l1(weight, rate))


def few_levels(scores):
    """The same ranking but for ties, within layers and between them."""
    return {
        name: (4 * score / score.abs().max().clamp(min=1e-30)).round()
        for name, score in scores.items()
    }


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize(
    ("criterion", "granularity"),
    [
        (name, each)
        for name, criterion in CRITERIA.items()
        for each, granularity in GRANULARITIES.items()
        if granularity.kind in criterion.knows
    ],
)
def test_every_combination_counts_exactly_with_ties_and_nests(criterion, granularity, schedule):
    """In every round against an oracle that sorts; with all scopes that there are."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, 3, 5, 5, generator=generator)
    how = {"generator": generator, "batches": [(images, torch.tensor([0, 3]))]}
    groups = granularity_of(granularity)
    without = WITHOUT_BLOCKS if groups.m else ()
    how["names"] = list(prunable_weights(tiny_inception(), without, granularity=granularity))
    rates = cumulative_rates(schedule, groups.rate or 0.7, 1 if schedule == "one_shot" else 3)
    for scope in SCOPES if groups.m is None else ["layer"]:
        network, before = tiny_inception(), None
        for rate in rates:
            importance = few_levels(importance_of_groups(network, criterion, granularity, **how))
            where = {"granularity": granularity, "scope": scope}
            kept = choose_groups(importance, rate, within=before, **where)
            keep = masks_of(network, kept, granularity, structure_of(network))
            again = groups_of(keep, kept, granularity)
            assert all(torch.equal(again[name], kept[name]) for name in kept)
            pools = pools_of(importance, groups.m)
            if before is not None:  # what is pruned goes first
                gone = {n: ~before[n].flatten() for n in importance}
                pools = [[(-99 if gone[k[0]][k[1]] else s, k) for s, k in pool] for pool in pools]
                assert all((kept[name] <= before[name]).all() for name in importance)
            pools = [sum(pools, [])] if scope == "global" else pools
            pruned = {(n, i) for n, m in kept.items() for i, k in enumerate(m.flatten()) if not k}
            if criterion != "bn_scale":  # has a number per filter, and hardly two that are equal
                assert any(len({s for s, _ in pool}) < len(pool) for pool in pools), (
                    "there are ties"
                )
            assert pruned == keep_lowest_pruned(pools, rate)
            assert len(pruned) == sum(n_pruned(rate, len(pool)) for pool in pools)
            before = kept
            Held(network, keep).apply()


WITHOUT_BLOCKS = ("three.1",)  # whose 5 input channels are no fours


def pools_of(importance, m):
    """[(importance, (layer, place)), …] of every pool: a layer, or m input channels that follow one
    another."""
    pools = []
    for name, each in importance.items():
        listed = [(s, (name, i)) for i, s in enumerate(each.flatten().tolist())]
        if m is None:
            pools.append(listed)
            continue
        filters, channels, height, width = each.shape
        for f, y, x in itertools.product(range(filters), range(height), range(width)):
            for first in range(0, channels, m):
                block = [(f, c, y, x) for c in range(first, first + m)]
                pools.append([listed[np.ravel_multi_index(p, each.shape)] for p in block])
    return pools


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize(("criterion", "of_weight"), [("l1", abs), ("l2", lambda w: w * w)])
def test_magnitudes_agree_with_a_loop_over_weights(criterion, of_weight, granularity):
    network = tiny_inception(dtype=torch.float64)
    scores = importance_of_groups(network, criterion, granularity, generator=torch.Generator())
    for name, weight in prunable_weights(network).items():
        groups = {}
        for place in itertools.product(*map(range, weight.shape)):
            of = {"filter": place[:1], "input_channel": place[1:2]}
            key = of.get(granularity, place)
            groups.setdefault(key, []).append(of_weight(weight[place].item()))
        for key, values in groups.items():
            assert float(scores[name][key]) == pytest.approx(sum(values) / len(values), rel=1e-12)


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
        *(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 100, 1), nn.Conv2d(100, 100, 5)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(100, 2)),
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
    pairs = structure_of(network).norm_of
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
    sparsity = measure_sparsity(network, prunable_weights(network))
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


def test_channels_that_do_not_come_in_blocks_are_refused_by_name():
    weights = prunable_weights(tiny_inception())
    with pytest.raises(
        ValueError, match=r"blocks of 4, which three.1.conv \(5\) have not: prune.ex"
    ):
        require_rate(weights, 0.5, granularity="2:4", scope="layer")
    with pytest.raises(
        ValueError, match=r"blocks of 3, which one.conv \(8\), .*, five.1.conv \(4\)"
    ):
        require_rate(weights, 1 / 3, granularity="2:3", scope="layer")
    require_rate(
        prunable_weights(tiny_inception(), WITHOUT_BLOCKS), 0.5, granularity="2:4", scope="layer"
    )


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_a_rate_that_takes_nothing_is_refused(scope):
    """Its trial would be called pruned, and be the dense network."""
    weights = prunable_weights(tiny_inception())
    numbers = [len(weight) for weight in weights.values()]
    least = 1 / (sum(numbers) if scope == "global" else max(numbers))
    require_rate(weights, least, granularity="filter", scope=scope)
    with pytest.raises(ValueError, match="must take at least one filter: .*, takes none$"):
        require_rate(weights, 0.99 * least, granularity="filter", scope=scope)


def test_linear_layers_have_blocks_too():
    """Two of four inputs that follow one another, of each unit."""
    weight = torch.tensor([[1.0, -4, 2, 3, 0, 0, 0, 0], [8, 7, 6, 5, 1, 2, 3, 4]])
    keep = choose_groups({"fc": weight.abs()}, 0.5, granularity="2:4", scope="layer")["fc"]
    assert keep.int().tolist() == [[0, 1, 0, 1, 1, 1, 0, 0], [1, 1, 0, 0, 0, 0, 1, 1]]
    with pytest.raises(ValueError, match="scope must be layer where a layer has pools within"):
        choose_groups({"fc": weight}, 0.5, granularity="2:4", scope="global")
    within = {"fc": torch.tensor([[True, False, False, False] * 2] * 2)}
    with pytest.raises(ValueError, match="a pool has 1 groups left, fewer than the 2 asked for"):
        choose_groups({"fc": weight}, 0.5, granularity="2:4", scope="layer", within=within)

import copy

import pytest
import torch
from networks_for_tests import choose, tiny_inception
from torch import nn

from pruning import (
    Held,
    compact,
    copy_back,
    masks_of,
    prunable_weights,
    structure_of,
    survivors_of,
)


def masked(rate=0.5, seed=0, batchnorm_follows=True):
    """A network with random filters pruned, and what is left of it."""
    network = tiny_inception(seed, torch.float64)
    keep = choose(
        network,
        rate,
        granularity="filter",
        scope="layer",
        criterion="random",
        generator=torch.Generator().manual_seed(seed),
        batchnorm_follows=batchnorm_follows,
    )
    Held(network, keep).apply()
    return network, survivors_of(network, keep, structure_of(network))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("rate", [0.2, 0.5, 0.8])
def test_outputs_are_equal(rate, seed):
    network, kept = masked(rate, seed)
    smaller = compact(network, kept)
    x = torch.randn(3, 3, 11, 9, dtype=torch.float64)
    assert sum(p.numel() for p in smaller.parameters()) < sum(
        p.numel() for p in network.parameters()
    )
    torch.testing.assert_close(smaller(x), network(x), rtol=0, atol=1e-12)
    network.train(), smaller.train()
    torch.testing.assert_close(smaller(x), network(x), rtol=0, atol=1e-12)


def test_a_filter_that_still_emits_a_constant_stays():
    """Masks of convolutions alone leave constants behind: such filters make a difference."""
    network, kept = masked(batchnorm_follows=False)
    x = torch.randn(3, 3, 11, 9, dtype=torch.float64)
    smaller = compact(network, kept)
    assert len(smaller.one.conv.weight) == len(network.one.conv.weight)
    torch.testing.assert_close(smaller(x), network(x), rtol=0, atol=1e-12)
    # The negative control: dropped all the same, they would be missed.
    _, dropped = masked()
    assert (compact(network, dropped)(x) - network(x)).abs().max() > 1e-3


def test_gradients_of_what_is_left_are_equal():
    network, kept = masked()
    smaller = compact(network.train(), kept)
    x = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    for each in (network, smaller):
        each(x).square().sum().backward()
    for name, parameter in smaller.named_parameters():
        whole = network.get_parameter(name).grad
        indices = kept.get(name)
        if indices is not None:
            grid = torch.meshgrid(*indices, indexing="ij") if len(indices) > 1 else indices
            whole = whole[grid]
        torch.testing.assert_close(parameter.grad, whole, rtol=1e-10, atol=1e-12)


def test_copying_back_gives_the_network_that_was_trained_and_keeps_zeros():
    network, kept = masked()
    smaller = compact(network, kept)
    zeros = {n: p == 0 for n, p in network.named_parameters()}
    optimizer = torch.optim.SGD(smaller.parameters(), 0.05, momentum=0.9, weight_decay=1e-2)
    smaller.train()
    for step in range(3):
        optimizer.zero_grad()
        x = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(step)).double()
        smaller(x).square().sum().backward()
        optimizer.step()
    before = network(x)
    copy_back(smaller, network, kept)
    x = torch.randn(3, 3, 11, 9, dtype=torch.float64)
    torch.testing.assert_close(network.eval()(x), smaller.eval()(x), rtol=0, atol=1e-12)
    assert not torch.equal(before, network(x)[: len(before)])
    for name in prunable_weights(network):
        assert (network.get_parameter(name)[zeros[name]] == 0).all()
    # Compacting again gives back what was copied, to the bit: a resumed trial depends on it.
    again = compact(network, kept)
    for name, tensor in smaller.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor)


def test_training_it_is_training_the_masked_network():
    network, kept = masked()
    keep = {n: network.get_parameter(n) != 0 for n in prunable_weights(network)}
    held = Held(network, keep)
    smaller = compact(network, kept)
    for each, masks in ((network, held), (smaller, None)):
        each.train()
        optimizer = torch.optim.AdamW(each.parameters(), 1e-2)
        for step in range(3):
            optimizer.zero_grad()
            x = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(step)).double()
            each(x).square().sum().backward()
            optimizer.step()
            if masks is not None:
                masks.apply()
    copied = copy.deepcopy(network)
    copy_back(smaller, copied, kept)
    x = torch.randn(3, 3, 11, 9, dtype=torch.float64)
    torch.testing.assert_close(copied.eval()(x), network.eval()(x), rtol=1e-9, atol=1e-9)


def test_the_network_itself_is_not_changed():
    network, kept = masked()
    before = copy.deepcopy(network.state_dict())
    compact(network, kept)
    assert all(torch.equal(before[n], t) for n, t in network.state_dict().items())


def test_a_batchnorm_without_weights_is_as_wide_as_its_statistics():
    for tracks in (True, False):
        network = nn.Sequential(
            nn.Conv2d(3, 8, 3),
            nn.BatchNorm2d(8, affine=False, track_running_stats=tracks),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8, 4),
        ).eval()
        structure = structure_of(network)
        groups = {"3.weight": torch.arange(8) % 2 == 0, "0.weight": torch.arange(8) > 2}
        keep = masks_of(network, groups, "filter", structure)
        with torch.no_grad():
            for name, mask in keep.items():
                network.get_parameter(name).mul_(mask)
        smaller = compact(network, survivors_of(network, keep, structure))
        assert smaller[3].out_channels == 4 and smaller[1].num_features == 8
        x = torch.randn(4, 3, 12, 12)
        torch.testing.assert_close(smaller(x), network(x))

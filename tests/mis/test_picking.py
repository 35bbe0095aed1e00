"""What numpy picks on a CPU is what torch picks."""

import pytest
import torch

from mis.picking import above, grouping, largest, true_positions


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# Fewer units than numpy should see in a row, a number that does not divide it, as many, and more.
@pytest.mark.parametrize("units", [1, 3, 1000, 4096, 5000])
@pytest.mark.parametrize("shape", [(0,), (1,), (2, 3, 3), (3, 7, 5)])
def test_values_above_limits(units, shape):
    values = torch.randn(*shape, units, generator=generator()).mul(2).round()
    limits = torch.randn(units, generator=generator(1)).mul(2).round()  # half of them are met
    limits[0] = -0.0
    found = above(values, limits)
    assert found.dtype == torch.bool and torch.equal(found, values > limits)
    assert values.numel() < 100 or 0 < found.sum() < (values >= limits).sum()


def test_values_in_any_order_of_memory():
    maps = torch.randn(4, 6, 3, 5, generator=generator())
    limits = torch.zeros(6)
    for given in (
        maps.permute(0, 2, 3, 1),  # not contiguous
        maps.contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1),
        maps.permute(0, 2, 3, 1)[::2, 1:, ::2],
        maps.transpose(0, 2).permute(0, 2, 3, 1),
    ):
        expected = given > limits
        mask = above(given, limits)
        assert torch.equal(mask, expected)
        positions = expected.flatten().nonzero().squeeze(1)
        assert torch.equal(true_positions(mask), positions)
        assert torch.equal(true_positions(expected), positions)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 1.0])
@pytest.mark.parametrize("shape", [(0,), (1,), (16,), (5, 7), (3, 8, 11)])
def test_positions_of_true(shape, share):
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(0)) < share
    assert torch.equal(true_positions(mask), mask.flatten().nonzero().squeeze(1))


def test_limits_that_nothing_and_everything_exceeds():
    values = torch.tensor([[1.0, 1.0, 1.0], [2.0, -2.0, 0.0]])
    limits = torch.tensor([torch.inf, -torch.inf, torch.finfo(torch.float32).max])
    assert above(values, limits).tolist() == [[False, True, False]] * 2


@pytest.mark.parametrize("n,k", [(1, 1), (7, 7), (50, 1), (50, 20), (50, 49)])
@pytest.mark.parametrize("ties", [False, True])
def test_the_largest_of_rows(n, k, ties):
    values = torch.randn(9, n, generator=generator())
    values = values.round() if ties else values
    for given in (values, values.T.contiguous().T):
        found = largest(given, k)
        assert torch.equal(found.sort(dim=1).values, values.sort(dim=1).values[:, n - k :])
        # Nothing but them stays in memory.
        assert found.untyped_storage().nbytes() == 4 * found.numel()


@pytest.mark.parametrize("n", [1, 255, 256, 65_535, 65_536, 70_000])
def test_numbers_are_grouped(n):
    numbers = torch.randint(0, n, (3000,), generator=generator())
    numbers[:2] = torch.tensor([n - 1, 0])
    order = grouping(numbers, n)
    assert order.dtype == torch.int64 and torch.equal(numbers[order], numbers.sort().values)
    assert torch.equal(order.sort().values, torch.arange(3000))
    assert len(grouping(numbers[:0], n)) == 0

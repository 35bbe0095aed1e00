"""Units of two networks beside each other: against loops, and units whose fate is known."""

import math
import statistics

import pytest
import torch

from mis import twins

N = 60


def drawn(units, seed=0):
    return torch.randn(N, units, generator=torch.Generator().manual_seed(seed))


def by_loops(own, other):
    """Correlation of every pair, NaN of units that are constant."""
    found = []
    for a in own.double().T.tolist():
        row = []
        for b in other.double().T.tolist():
            constant = max(a) == min(a) or max(b) == min(b)
            row.append(math.nan if constant else statistics.correlation(a, b))
        found.append(row)
    return found


def test_correlations_and_best_matches_are_those_of_loops_within_layers():
    own, other = drawn(9), 0.6 * drawn(9) + 0.8 * drawn(9, seed=1)
    layer_of = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1, 1])
    found = twins(own, other, layer_of)
    for units in ((0, 1, 2, 3), (4, 5, 6, 7, 8)):
        table = by_loops(own[:, units], other[:, units])
        for place, unit in enumerate(units):
            assert float(found.twin[unit]) == pytest.approx(table[place][place], rel=1e-10)
            assert float(found.match[unit]) == pytest.approx(max(table[place]), rel=1e-10)
            assert int(found.match_channel[unit]) == table[place].index(max(table[place]))


def test_units_that_were_permuted_are_found_and_the_same_correlate_with_1():
    own = drawn(20)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(3))
    same = twins(3 * own + 2, own, torch.zeros(20, dtype=torch.int64))
    torch.testing.assert_close(same.twin, torch.ones(20, dtype=torch.float64))
    assert torch.equal(same.match_channel, torch.arange(20))
    moved = twins(own[:, order], own, torch.zeros(20, dtype=torch.int64))
    assert torch.equal(moved.match_channel, order)
    torch.testing.assert_close(moved.match, torch.ones(20, dtype=torch.float64))
    assert (moved.twin[order != torch.arange(20)] < 0.6).all()
    assert (twins(-own, own, torch.zeros(20, dtype=torch.int64)).twin < -0.99999).all()


def test_dead_and_constant_units_have_none_and_are_nobodys_match():
    own, other = drawn(4), drawn(4).clone()
    own[:, 1], other[:, 2] = 0, 0.3
    found = twins(own, other, torch.zeros(4, dtype=torch.int64))
    assert found.twin.isnan().tolist() == [False, True, True, False]
    assert found.match.isnan().tolist() == [False, True, False, False]
    assert found.match_channel[1] == -1 and 2 not in found.match_channel
    gone = twins(own, torch.zeros(N, 4), torch.zeros(4, dtype=torch.int64))
    assert gone.match.isnan().all() and (gone.match_channel == -1).all()


def test_units_that_are_alike_are_their_own_match():
    own = drawn(1).expand(-1, 5)
    found = twins(own, own, torch.zeros(5, dtype=torch.int64))
    assert torch.equal(found.match_channel, torch.arange(5))


@pytest.mark.parametrize("shape", [((2, 3), (2, 3), 3), ((5, 3), (5, 2), 3), ((5, 3), (5, 3), 2)])
def test_what_cannot_be_compared_is_refused(shape):
    own, other, n = shape
    with pytest.raises(ValueError, match="the same three images or more"):
        twins(torch.ones(own), torch.ones(other), torch.zeros(n, dtype=torch.int64))

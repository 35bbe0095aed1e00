import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pruning_oracles import keep_lowest_pruned

from pruning import keep_top, n_pruned

small_scores = st.lists(
    st.lists(st.integers(-3, 3), min_size=1, max_size=12), min_size=1, max_size=4
)


@given(small_scores, st.floats(0, 0.99), st.sampled_from(["global", "layer"]))
def test_agrees_with_sorting_and_counts_exactly_ties_included(layers, rate, scope):
    scores = {f"l{i}": torch.tensor(layer, dtype=torch.float64) for i, layer in enumerate(layers)}
    keep = keep_top(scores, rate, scope=scope)
    keyed = [[(s, (f"l{i}", j)) for j, s in enumerate(layer)] for i, layer in enumerate(layers)]
    pools = [sum(keyed, [])] if scope == "global" else keyed
    pruned = {(n, j) for n, k in keep.items() for j in range(len(k)) if not k[j]}
    assert pruned == keep_lowest_pruned(pools, rate)
    assert len(pruned) == sum(n_pruned(rate, len(pool)) for pool in pools)


@given(small_scores, st.floats(0, 0.9), st.floats(0, 1), st.sampled_from(["global", "layer"]))
def test_masks_nest_even_when_scores_change(layers, rate, step, scope):
    scores = {f"l{i}": torch.tensor(layer, dtype=torch.float64) for i, layer in enumerate(layers)}
    first = keep_top(scores, rate, scope=scope)
    changed = {n: -s for n, s in scores.items()}
    later = rate + step * (0.99 - rate)
    second = keep_top(changed, later, scope=scope, within=first)
    assert all((second[n] <= first[n]).all() for n in scores)
    n = sum(int((~k).sum()) for k in second.values())
    pools = [sum(map(len, layers))] if scope == "global" else list(map(len, layers))
    assert n == sum(n_pruned(later, size) for size in pools)


@pytest.mark.parametrize(
    ("rate", "n", "expected"), [(0.29, 100, 29), (0.3, 10, 3), (0.5, 3, 1), (0.999, 5, 4)]
)
def test_floor_forgives_rounding_only(rate, n, expected):
    assert n_pruned(rate, n) == expected


def test_ten_equal_weights_lose_exactly_two_and_the_last_ones():
    keep = keep_top({"a": torch.ones(10)}, 0.2, scope="global")["a"]
    assert keep.tolist() == [True] * 8 + [False] * 2


def test_refuses_what_it_cannot_rank():
    with pytest.raises(ValueError, match=r"rate must lie in \[0, 1\), got 1"):
        keep_top({"a": torch.ones(2)}, 1.0, scope="layer")
    with pytest.raises(ValueError, match="scope must be one of global, layer, got 'net'"):
        keep_top({"a": torch.ones(2)}, 0.5, scope="net")
    with pytest.raises(ValueError, match="those of a are"):
        keep_top({"a": torch.tensor([1.0, float("nan")])}, 0.5, scope="layer")
    with pytest.raises(ValueError, match="must nest"):
        sparser = {"a": torch.tensor([False, False, True])}
        keep_top({"a": torch.ones(3)}, 0.4, scope="layer", within=sparser)

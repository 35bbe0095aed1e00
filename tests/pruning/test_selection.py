import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pruning_oracles import keep_lowest_pruned

from pruning import keep_numbers, keep_top, n_pruned

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


@given(
    small_scores,
    st.floats(0, 0.99),
    st.floats(0, 1),
    st.sampled_from(["global", "layer"]),
    st.sampled_from([torch.float32, torch.float64, torch.int64, torch.bfloat16]),
    st.randoms(use_true_random=False),
)
def test_agrees_with_sorting_within_a_mask(layers, rate, part, scope, dtype, rng):
    """The mask may be uneven, as long as no pool has lost more than is asked for."""
    keyed = [[(s, (f"l{i}", j)) for j, s in enumerate(layer)] for i, layer in enumerate(layers)]
    pools = [sum(keyed, [])] if scope == "global" else keyed
    before = set()
    for pool in pools:
        n_before = int(part * n_pruned(rate, len(pool)))
        before |= {key for _, key in rng.sample(pool, n_before)}
    scores = {f"l{i}": torch.tensor(layer, dtype=dtype) for i, layer in enumerate(layers)}
    within = {
        name: torch.tensor([(name, j) not in before for j in range(len(score))])
        for name, score in scores.items()
    }
    keep = keep_top(scores, rate, scope=scope, within=within)
    pruned = {(n, j) for n, k in keep.items() for j in range(len(k)) if not k[j]}
    first = [[(-99 if key in before else s, key) for s, key in pool] for pool in pools]
    assert pruned == keep_lowest_pruned(first, rate) and before <= pruned


@given(small_scores, st.floats(0, 0.99), st.sampled_from(["global", "layer"]))
def test_only_the_order_of_scores_matters(layers, rate, scope):
    scores = {f"l{i}": torch.tensor(layer).double() for i, layer in enumerate(layers)}
    keep = keep_top(scores, rate, scope=scope)
    for other in (lambda s: (s / 7).float(), torch.exp):
        again = keep_top({n: other(s) for n, s in scores.items()}, rate, scope=scope)
        assert all(torch.equal(keep[n], again[n]) for n in scores)


def test_what_is_pruned_goes_before_what_scores_minus_infinity():
    scores = {"a": torch.tensor([1.0, 2.0, -torch.inf, -torch.inf])}
    before = {"a": torch.tensor([False, True, True, True])}
    keep = keep_top(scores, 0.5, scope="global", within=before)["a"]
    assert keep.tolist() == [False, True, True, False]


def test_equal_scores_are_ranked_in_the_order_of_dimensions_not_of_memory():
    plain = torch.arange(2 * 3 * 4 * 4).reshape(2, 3, 4, 4) % 5 * 1.0
    last = plain.to(memory_format=torch.channels_last)
    kept = [keep_top({"a": s}, 0.37, scope="layer")["a"] for s in (plain, last)]
    assert kept[0].shape == plain.shape and torch.equal(kept[0], kept[1])


@pytest.mark.parametrize("rate", [0.0, 0.3, 0.5, 0.99])
def test_scores_are_not_changed(rate):
    scores = {"a": torch.randn(7, 3), "b": torch.randn(5, dtype=torch.float64)}
    copies = {n: s.clone() for n, s in scores.items()}
    keep_top(scores, rate, scope="global")
    assert all(torch.equal(scores[n], copies[n]) for n in scores)


@given(st.integers(1, 10**6), st.floats(0, 0.999), st.floats(0, 0.999))
def test_more_is_pruned_at_a_higher_rate_and_never_all(n, one, other):
    low, high = sorted((n_pruned(one, n), n_pruned(other, n)))
    assert 0 <= low <= high < n
    assert (one <= other) or n_pruned(one, n) >= n_pruned(other, n)


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
    with pytest.raises(ValueError, match="that of a is"):
        keep_top({"a": torch.tensor([1.0, float("nan")])}, 0.5, scope="layer")
    with pytest.raises(ValueError, match="that of b is"):
        keep_top({"a": torch.ones(2), "b": torch.tensor([[1.0], [torch.nan]])}, 0.5, scope="global")
    with pytest.raises(ValueError, match="b has none"):
        keep_top({"a": torch.ones(2), "b": torch.ones(0)}, 0.5, scope="global")
    with pytest.raises(ValueError, match="at least one layer"):
        keep_top({}, 0.5, scope="global")
    with pytest.raises(ValueError, match="must nest"):
        sparser = {"a": torch.tensor([False, False, True])}
        keep_top({"a": torch.ones(3)}, 0.4, scope="layer", within=sparser)


def test_so_many_of_each_layer_are_kept_the_highest_first():
    scores = {"a": torch.tensor([3.0, 1.0, 2.0, 1.0]), "b": torch.tensor([[5.0], [4.0]])}
    kept = keep_numbers(scores, {"a": 3, "b": 0})
    assert kept["a"].tolist() == [True, True, True, False] and not kept["b"].any()
    assert kept["b"].shape == (2, 1)
    within = {"a": torch.tensor([False, True, True, True]), "b": torch.ones(2, 1).bool()}
    kept = keep_numbers(scores, {"a": 2, "b": 1}, within)
    assert kept["a"].tolist() == [False, True, True, False] and kept["b"].sum() == 1
    with pytest.raises(ValueError, match="as it still has, a has 3, got 4"):
        keep_numbers(scores, {"a": 4, "b": 1}, within)

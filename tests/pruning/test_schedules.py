import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pruning import (
    SCHEDULES,
    SCOPES,
    cumulative_rates,
    keep_top,
    n_pruned,
)

in_rounds = sorted(set(SCHEDULES) - {"one_shot"})


@given(st.sampled_from(in_rounds), st.floats(1e-9, 1 - 1e-6), st.integers(2, 40))
def test_reaches_its_rate_and_never_goes_back(schedule, rate, rounds):
    rates = cumulative_rates(schedule, rate, rounds)
    assert len(rates) == rounds and rates[-1] == rate
    assert all(0 < a < b < 1 for a, b in zip(rates, rates[1:], strict=False))


@given(st.floats(1e-6, 1 - 1e-6))
def test_one_shot_is_its_rate(rate):
    assert cumulative_rates("one_shot", rate, 1) == (rate,)


@given(st.floats(0.01, 0.7), st.integers(2, 12))
def test_iterative_prunes_a_fixed_fraction_of_what_remains(fraction, rounds):
    remaining, expected = 1.0, []
    for _ in range(rounds):
        remaining -= fraction * remaining
        expected.append(1 - remaining)
    rates = cumulative_rates("iterative", expected[-1], rounds)
    assert rates == pytest.approx(expected, rel=1e-9)


@given(st.floats(0.01, 0.99), st.integers(2, 12))
def test_linear_prunes_the_same_each_round(rate, rounds):
    assert cumulative_rates("linear", rate, rounds) == pytest.approx(
        [sum([rate / rounds] * r) for r in range(1, rounds + 1)], rel=1e-9
    )


def test_known_values():
    # Five rounds of 40 % of the rest (von Rad & Seuffert 2024): 1 - 0.6^r.
    assert cumulative_rates("iterative", 1 - 0.6**5, 5) == pytest.approx(
        [0.4, 0.64, 0.784, 0.8704, 0.92224]
    )
    assert cumulative_rates("linear", 0.9, 3) == pytest.approx([0.3, 0.6, 0.9])
    assert cumulative_rates("cubic", 0.8, 2) == pytest.approx([0.8 * (1 - 0.5**3), 0.8])


layers_of_scores = st.lists(
    st.lists(st.integers(-2, 2), min_size=1, max_size=15), min_size=1, max_size=4
)


@given(
    layers_of_scores,
    st.sampled_from(in_rounds),
    st.floats(0.01, 0.99),
    st.integers(2, 6),
    st.sampled_from(SCOPES),
    st.randoms(use_true_random=False),
)
def test_masks_nest_and_count_exactly_in_every_round(layers, schedule, rate, rounds, scope, rng):
    scores = {f"l{i}": torch.tensor(layer, dtype=torch.float64) for i, layer in enumerate(layers)}
    before = None
    for reached in cumulative_rates(schedule, rate, rounds):
        keep = keep_top(scores, reached, scope=scope, within=before)
        pruned = [int((~keep[name]).sum()) for name in scores]
        sizes = [len(layer) for layer in layers]
        if scope == "global":
            pruned, sizes = [sum(pruned)], [sum(sizes)]
        assert pruned == [n_pruned(reached, size) for size in sizes]
        if before is not None:
            assert all((keep[name] <= before[name]).all() for name in scores)
        before = keep
        # Training changes every score, also of what is pruned already.
        scores = {
            n: torch.tensor([rng.randint(-2, 2) for _ in s]).double() for n, s in scores.items()
        }


NEVER_THERE = {
    "falls": lambda rate, done: rate * (1.5 - done) if done < 1 else rate,
    "overshoots": lambda rate, done: 1.5 * rate if 0.4 < done < 1 else rate * done,
    "starts below zero": lambda rate, done: rate * (2 * done - 1),
    "starts at zero": lambda rate, done: 0.0 if done < 1 else rate,
    "passes one": lambda rate, done: 1.2 if done < 1 else rate,
    "stops early": lambda rate, done: 0.9 * rate * done,
    "goes beyond": lambda rate, done: 1.1 * rate * done,
    "is not a number": lambda rate, done: math.nan if done < 1 else rate,
    "ends in no number": lambda rate, done: rate * done if done < 1 else math.nan,
}


@pytest.mark.parametrize("fault", NEVER_THERE)
def test_a_schedule_that_does_not_rise_to_its_rate_is_refused(fault, monkeypatch):
    monkeypatch.setitem(SCHEDULES, "mine", NEVER_THERE[fault])
    with pytest.raises(
        ValueError, match="never exceed it, mine with rate 0.5 goes [^,]+, "
    ) as raised:
        cumulative_rates("mine", 0.5, 4)
    assert "\n" not in str(raised.value)


def test_a_schedule_of_ones_own_may_pause_and_ends_at_exactly_its_rate(monkeypatch):
    monkeypatch.setitem(SCHEDULES, "mine", lambda rate, done: rate * min(1, 2 * done))
    assert cumulative_rates("mine", 0.3, 4) == (0.15, 0.3, 0.3, 0.3)


def test_refuses():
    with pytest.raises(ValueError, match="one_shot schedule has exactly 1 round, got 3"):
        cumulative_rates("one_shot", 0.5, 3)
    with pytest.raises(ValueError, match="linear must have at least 2 rounds, got 1"):
        cumulative_rates("linear", 0.5, 1)
    with pytest.raises(ValueError, match=r"rate must lie in \(0, 1\), got 0"):
        cumulative_rates("linear", 0, 3)
    with pytest.raises(ValueError, match="one of one_shot, .*, got 'agp'"):
        cumulative_rates("agp", 0.5, 3)
    with pytest.raises(ValueError, match="rounds must be at least 1"):
        cumulative_rates("linear", 0.5, 0)

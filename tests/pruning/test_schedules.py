import pytest

from pruning import SCHEDULES, cumulative_rates


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_reaches_its_rate_and_never_goes_back(schedule):
    rounds = 1 if schedule == "one_shot" else 5
    rates = cumulative_rates(schedule, 0.8, rounds)
    assert len(rates) == rounds and rates[-1] == 0.8
    assert all(0 < a < b for a, b in zip(rates, rates[1:], strict=False))


def test_known_values():
    # Five rounds of 40 % of the rest (facts 1.3): 1 - 0.6^r.
    assert cumulative_rates("iterative", 1 - 0.6**5, 5) == pytest.approx(
        [0.4, 0.64, 0.784, 0.8704, 0.92224]
    )
    assert cumulative_rates("linear", 0.9, 3) == pytest.approx([0.3, 0.6, 0.9])
    assert cumulative_rates("cubic", 0.8, 2) == pytest.approx([0.8 * (1 - 0.5**3), 0.8])


def test_refuses():
    with pytest.raises(ValueError, match="one_shot schedule has exactly 1 round, got 3"):
        cumulative_rates("one_shot", 0.5, 3)
    with pytest.raises(ValueError, match="linear must have at least 2 rounds, got 1"):
        cumulative_rates("linear", 0.5, 1)
    with pytest.raises(ValueError, match=r"rate must lie in \(0, 1\), got 0"):
        cumulative_rates("linear", 0, 3)
    with pytest.raises(ValueError, match="one of one_shot, iterative, linear, cubic, got 'agp'"):
        cumulative_rates("agp", 0.5, 3)
    with pytest.raises(ValueError, match="rounds must be at least 1"):
        cumulative_rates("linear", 0.5, 0)

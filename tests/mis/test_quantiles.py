"""Streaming thresholds against a plain sort."""

import pytest
import torch
from dissection_oracles import threshold

from mis.dissection.quantiles import UpperQuantile, values_above, values_needed


def draw(kind, n, units, seed=0):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(n, units, generator=generator)
    match kind:
        case "tied":
            return values.mul(2).round()
        case "zero":
            return torch.zeros(n, units)
        case "drifting":
            return values + torch.linspace(0, 50, n)[:, None]
        case "rectified":
            return (values - 2).relu()  # above 0 for fewer than the quantile asks for, or about
        case "one_busy_unit":
            values[:, 0] = torch.arange(n)
            return values
    return values


def stream(values, quantile, size):
    found = UpperQuantile(len(values), quantile)
    for part in values.split(size):
        found.add(part)
    return found


@pytest.mark.parametrize("size", [7, 64, 2000])
@pytest.mark.parametrize("quantile", [0.001, 0.02, 0.3, 0.99])
@pytest.mark.parametrize(
    "kind", ["random", "tied", "zero", "drifting", "rectified", "one_busy_unit"]
)
def test_thresholds_equal_a_sort(kind, quantile, size):
    values = draw(kind, 2000, 5)
    found = stream(values, quantile, size)
    k = values_above(2000, quantile)
    thresholds = found.result()
    assert thresholds.dtype == torch.float32
    assert torch.equal(found.maximum(), values.amax(0))
    for unit in range(5):
        assert thresholds[unit].item() == pytest.approx(threshold(values[:, unit], k), rel=1e-6)
        n_above = int((values[:, unit] > thresholds[unit]).sum())
        assert n_above <= k
        if kind in ("random", "drifting"):
            assert n_above == k


@pytest.mark.parametrize("size", [7, 64, 700, 2000])
@pytest.mark.parametrize("kind", ["random", "tied", "zero", "drifting", "rectified"])
def test_positions_of_all_that_may_be_above(kind, size):
    """None but at first; more than are above in the end, but few more as values come in."""
    values = draw(kind, 2000, 5)
    found, positions, bounds = UpperQuantile(2000, 0.02), [], []
    for part in values.split(size):
        positions.append(found.add(part))
        bounds.append(found.lower_bound())
    thresholds = found.result()
    assert all((bound <= thresholds).all() for bound in bounds)
    assert all(p is None for p in positions[: len([p for p in positions if p is None])])
    for part, chosen in zip(values.split(size), positions, strict=True):
        above = (part > thresholds).flatten().nonzero().squeeze(1).tolist()
        assert chosen is None or set(above) <= set(chosen.tolist())
    known = [len(chosen) for chosen in positions if chosen is not None]
    if kind == "random":
        assert sum(known[-len(known) // 2 :]) <= 3 * 5 * 40


def test_positions_of_a_large_batch_after_a_small_one():
    """Its first values are kept, its last sifted: the positions are those of all of it."""
    values, found = draw("random", 2000, 5), UpperQuantile(2000, 0.02)
    small, large, rest = values.split([30, 1040, 930])
    assert found.add(small) is None
    chosen = found.add(large)
    found.add(rest)
    above = (large > found.result()).flatten().nonzero().squeeze(1).tolist()
    assert above and set(above) <= set(chosen.tolist())


def test_order_and_batches_do_not_matter():
    values = draw("random", 3000, 4)
    mixed = values[torch.randperm(3000, generator=torch.Generator().manual_seed(1))]
    assert torch.equal(stream(values, 0.01, 3000).result(), stream(mixed, 0.01, 33).result())


def test_the_threshold_lies_below_the_upper_of_two_neighbouring_floats():
    low = torch.tensor(1.0)
    high = torch.nextafter(low, torch.tensor(2.0))
    found = UpperQuantile(4, 0.25)
    found.add(torch.stack([low, high, low, low])[:, None])
    assert found.result() == low


def test_only_what_may_matter_is_kept():
    found = UpperQuantile(100_000, 0.001)
    for part in draw("random", 100_000, 3).split(1000):
        found.add(part)
        kept = 0 if found.kept is None else found.kept.untyped_storage().nbytes() // 4
        assert kept + sum(len(units) for units, _ in found.pending) <= 3 * (2 * 101 + 1000)


def test_counts_are_those_of_the_decimal_number():
    assert values_above(100, 0.29) == 29  # 0.29 * 100 is 28.999999999999996
    assert values_above(199, 0.005) == 0 and values_above(200, 0.005) == 1
    assert values_needed(0.005) == 200 and values_needed(0.3) == 4


def test_too_few_values_for_the_quantile():
    with pytest.raises(ValueError, match=r"a quantile of 0\.005 needs at least 200 values, got 9"):
        UpperQuantile(9, 0.005)


def test_more_or_fewer_values_than_announced():
    found = UpperQuantile(10, 0.5)
    found.add(torch.zeros(6, 1))
    with pytest.raises(ValueError, match="10 values a unit were announced, 6 came"):
        found.result()
    with pytest.raises(ValueError, match="10 values a unit were announced, more came"):
        found.add(torch.zeros(5, 1))

"""The rank blocks: who is asked about whom."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mis.score.protocols import PROTOCOLS, query_rank
from mis.score.tasks import build_tasks, deal_tasks, draw_deal, images_needed


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def ranks(n_units, depth, extra=0):
    """Image id = rank, so that what a task holds says where it came from."""
    top = torch.arange(depth + extra).repeat(n_units, 1)
    return top, top + 10_000


def test_the_papers_setting_needs_four_hundred_images():
    assert images_needed(20, 9) == 400


@given(
    n_tasks=st.integers(1, 7),
    k=st.integers(1, 5),
    n_units=st.integers(1, 4),
    extra=st.integers(0, 9),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=40, deadline=None)
def test_every_task_gets_one_of_each_bin(n_tasks, k, n_units, extra, seed):
    top, bottom = ranks(n_units, n_tasks * (k + 1), extra)
    tasks = build_tasks(top, bottom, n_tasks=n_tasks, k=k, generator=generator(seed))
    explained = n_tasks * k
    for explanations, queries, offset in (
        (tasks.plus, tasks.plus_query, 0),
        (tasks.minus, tasks.minus_query, 10_000),
    ):
        assert explanations.shape == (n_units, n_tasks, k)
        assert queries.shape == (n_units, n_tasks)
        assert explanations.dtype == queries.dtype == torch.int64
        rank = explanations - offset
        # element b of every task is from bin b: ranks b * n_tasks ... (b + 1) * n_tasks - 1
        assert torch.equal(rank // n_tasks, torch.arange(k).expand(n_units, n_tasks, k))
        # within a side each rank of the blocks is used exactly once
        used = rank.flatten(1).sort(dim=1).values
        assert torch.equal(used, torch.arange(explained).repeat(n_units, 1))
        asked = (queries - offset).sort(dim=1).values
        assert torch.equal(asked, torch.arange(explained, explained + n_tasks).repeat(n_units, 1))
        # so every query is strictly less extreme than every explanation
        assert (queries - offset).min() > rank.max()


def test_units_bins_and_sides_are_shuffled_each_alone():
    top, _ = ranks(8, 200)
    tasks = build_tasks(top, top.clone(), n_tasks=20, k=9, generator=generator())
    bins = (tasks.plus % 20).transpose(1, 2).flatten(0, 1)
    assert len(bins.unique(dim=0)) == 8 * 9
    assert not torch.equal(tasks.plus, tasks.minus)
    assert not torch.equal(tasks.plus_query, tasks.minus_query)


def test_every_place_in_a_bin_is_equally_likely():
    """Over 4,000 units task 0 draws each of a bin's 4 elements 1,000 times, +- 5 sd of 27."""
    top, bottom = ranks(4000, 12)
    tasks = build_tasks(top, bottom, n_tasks=4, k=2, generator=generator(3))
    for drawn in (tasks.plus[:, 0, 0], tasks.plus[:, 0, 1] - 4, tasks.plus_query[:, 0] - 8):
        counts = torch.bincount(drawn, minlength=4)
        assert (counts - 1000).abs().max() < 5 * 27.4


def test_the_seed_decides():
    top, bottom = ranks(3, 40)
    one, same, other = (
        build_tasks(top, bottom, n_tasks=10, k=3, generator=generator(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(one.plus, same.plus) and torch.equal(one.minus_query, same.minus_query)
    assert not torch.equal(one.plus, other.plus)


def test_too_few_ranks_are_refused():
    top, bottom = ranks(2, 39)
    with pytest.raises(ValueError, match=r"10 tasks of 3 \+ 1 images need \[unit, >= 40\].*39"):
        build_tasks(top, bottom, n_tasks=10, k=3, generator=generator())


@pytest.mark.parametrize(("n_tasks", "k"), [(0, 9), (20, 0), (-1, 3)])
def test_no_tasks_are_refused(n_tasks, k):
    with pytest.raises(ValueError, match="must be at least 1"):
        images_needed(n_tasks, k)


def test_queries_of_lower_ranks():
    """Explanations stay as they are; queries come from the block that starts at query_rank."""
    top, bottom = ranks(5, 60)
    settings = {"n_tasks": 4, "k": 3}
    near = build_tasks(top, bottom, generator=generator(), **settings)
    far = build_tasks(top, bottom, generator=generator(), query_rank=50, **settings)
    assert torch.equal(far.plus, near.plus) and torch.equal(far.minus, near.minus)
    assert torch.equal(far.plus_query, near.plus_query - 12 + 50)
    assert torch.equal(far.minus_query, near.minus_query - 12 + 50)
    same = build_tasks(top, bottom, generator=generator(), query_rank=12, **settings)
    assert torch.equal(same.plus_query, near.plus_query)
    assert images_needed(4, 3, 50) == 108 and images_needed(4, 3, 12) == images_needed(4, 3) == 32


def test_queries_must_rank_below_the_explanations_and_be_there():
    top, bottom = ranks(2, 53)
    settings = {"n_tasks": 4, "k": 3, "generator": generator()}
    with pytest.raises(ValueError, match="below the 12 explanations, got query_rank 11"):
        build_tasks(top, bottom, query_rank=11, **settings)
    with pytest.raises(
        ValueError, match=r"need \[unit, >= 54\] ranks on both sides, got \(2, 53\)"
    ):
        build_tasks(top, bottom, query_rank=50, **settings)


def test_one_deal_for_several_rankings():
    top, bottom = ranks(3, 40)
    deal = draw_deal(3, n_tasks=10, k=3, generator=generator(1))
    built = build_tasks(top, bottom, n_tasks=10, k=3, generator=generator(1))
    assert torch.equal(deal_tasks(top, bottom, deal).plus, built.plus)
    shifted = deal_tasks(top + 7, bottom, deal)
    assert torch.equal(shifted.plus, built.plus + 7)
    assert torch.equal(shifted.minus_query, built.minus_query)


def test_the_ranks_of_the_papers():
    n = 1_281_167  # ImageNet's training images
    assert query_rank("zimmermann2024", n, 20, 9) == 180
    assert query_rank("von_rad2024", n, 20, 9) == 14_750
    assert query_rank("von_rad2024", 100_000, 20, 9) == 1151
    for n_images in (400, 5000, 15_678):  # too few for the two to differ
        assert query_rank("von_rad2024", n_images, 20, 9) == 180
    assert query_rank("von_rad2024", 15_679, 20, 9) == 181
    assert query_rank("von_rad2024", 50_000, 100, 9) == 900
    assert {p.counted for p in PROTOCOLS.values()} == {"inner", "all"}
    assert all(name == p.name for name, p in PROTOCOLS.items())


def test_the_hard_protocol_asks_about_the_second_percentile():
    assert query_rank("zimmermann2024_hard", 1_281_167, 20, 9) == 25_623
    assert query_rank("zimmermann2024_hard", 30_000, 20, 9) == 600
    assert query_rank("zimmermann2024_hard", 9_000, 20, 9) == 180
    assert query_rank("zimmermann2024_hard", 300, 3, 2) == 6
    for n_images, n_tasks, k, needed in ((8_999, 20, 9, "9,000"), (299, 3, 2, "300")):
        with pytest.raises(ValueError, match=f"needs at least {needed} probe images, there are"):
            query_rank("zimmermann2024_hard", n_images, n_tasks, k)


def test_other_protocols_are_refused():
    names = "zimmermann2024, zimmermann2024_hard, von_rad2024, von_rad2024_released"
    with pytest.raises(ValueError, match=f"one of {names}, got 'easy'"):
        query_rank("easy", 1000, 20, 9)
    with pytest.raises(ValueError, match="must be at least 1"):
        query_rank("von_rad2024", 1000, 0, 9)

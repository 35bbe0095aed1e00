"""The rank blocks: who is asked about whom."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mis.tasks import build_tasks, images_needed


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

"""Errors of means: against collecting again, and against how means differ between image sets."""

import math
import sys

import pytest
import torch
import torch.nn.functional as F
from mis_oracles import ranked_images

from mis.score import margins
from mis.score.extremes import ExtremesCollector
from mis.score.margins import Margins
from mis.score.tasks import build_tasks, images_needed
from mis.score.uncertainty import (
    can_leave_out,
    deeper,
    draw_groups,
    image_error,
    paired_change,
    replicate_mis,
    unit_error,
)
from mis.score.units import score_tasks, score_units

N_TASKS, K, SLOPE = 3, 2, 3.0
DEPTH = images_needed(N_TASKS, K) // 2


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def world(n_images, seed, n_units=7, dim=5):
    """Vectors of images, and units that answer to directions in them, some hardly ever."""
    draw = generator(seed)
    latent = torch.randn(n_images, dim, generator=draw, dtype=torch.float64)
    directions = torch.randn(dim, n_units, generator=generator(99), dtype=torch.float64)
    noise = torch.randn(n_images, n_units, generator=draw, dtype=torch.float64)
    activations = (latent @ directions + 2 * noise).float()
    activations[:, 1] = activations[:, 1].clamp(min=2.5)  # mostly ties
    activations[:, 2] = 0
    return F.normalize(latent, dim=1), activations


def collect(activations, ids, depth, priority):
    collector = ExtremesCollector(["a"], depth, priority)
    collector.add(ids, [activations[ids]])
    return collector.result()


@pytest.mark.parametrize("query_rank", [None, 9])
@pytest.mark.parametrize("seed", range(3))
def test_replicates_equal_collecting_again_without_the_group(seed, query_rank):
    n = 150
    vectors, activations = world(n, seed)
    margins = Margins(vectors, n_reads=10**9)  # the same sums in the same order for both
    priority = torch.randperm(n, generator=generator(seed + 1))
    groups = draw_groups(n, generator=generator(seed + 2))
    depth = images_needed(N_TASKS, K, query_rank) // 2
    settings = {"n_tasks": N_TASKS, "k": K, "query_rank": query_rank}
    found = replicate_mis(
        collect(activations, torch.arange(n), deeper(depth, n), priority),
        margins,
        groups,
        slope=SLOPE,
        generator=generator(seed + 3),
        **settings,
    )
    assert found.shape == (2, 10, 7) and found.dtype == torch.float64
    assert not torch.equal(found[0], found[1])
    for group in range(10):
        left = (groups != group).nonzero().flatten()
        again = collect(activations, left, depth, priority)
        for unit in range(7):  # which is itself as a sort in loops has it
            ranked = ranked_images(activations[left, unit], priority[left])
            assert again.top[unit].tolist() == left[ranked].tolist()[::-1][:depth]
        deals = generator(seed + 3)
        for number in range(2):
            tasks = build_tasks(again.top, again.bottom, generator=deals, **settings)
            expected = score_tasks(tasks, margins, slope=SLOPE).mis
            assert torch.equal(found[number, group], expected)


def test_vectors_prepared_once_give_the_same():
    vectors, activations = world(150, 0)
    extremes = collect(activations, torch.arange(150), deeper(DEPTH, 150), torch.arange(150))
    groups = draw_groups(150, generator=generator())
    found = [
        replicate_mis(extremes, v, groups, slope=SLOPE, n_tasks=N_TASKS, k=K, generator=generator())
        for v in (vectors, Margins(vectors, n_reads=10**9))
    ]
    assert torch.equal(found[0], found[1])


def test_without_a_matrix_a_unit_is_read_once_for_all_its_replicates(monkeypatch):
    """Many images have no matrix of similarities: twenty sweeps over them all were slow."""
    vectors, activations = world(150, 0)
    extremes = collect(activations, torch.arange(150), deeper(20, 150), torch.arange(150))
    groups = draw_groups(150, generator=generator())
    settings = {"slope": SLOPE, "n_tasks": 10, "k": 1}
    want = replicate_mis(
        extremes, Margins(vectors, n_reads=10**9), groups, generator=generator(1), **settings
    )
    few = Margins(vectors, n_reads=0)
    assert few.matrix is None
    read = []

    def note(found, plus, *others):
        read.append(len(plus) * plus.shape[1])
        return margins_of_vectors(found, plus, *others)

    margins_of_vectors = margins._margins_of_vectors
    monkeypatch.setattr(margins, "_margins_of_vectors", note)
    found = replicate_mis(extremes, few, groups, generator=generator(1), **settings)
    torch.testing.assert_close(found, want)
    assert sum(read) == 7 * 200  # tasks: of 7 units, 10 in each of 20 replicates
    assert read[0] >= 200 and max(read) <= margins.TASKS_AT_ONCE


@pytest.mark.parametrize("n_groups", [2, 3, 10])
@pytest.mark.parametrize("n_images", [60, 100, 143, 2000])
def test_deeper_is_deep_enough_for_any_groups(n_images, n_groups):
    if not can_leave_out(DEPTH, n_images, n_groups):
        assert deeper(DEPTH, n_images, n_groups) == n_images // 2
        return
    depth = deeper(DEPTH, n_images, n_groups)
    assert depth <= n_images // 2
    for seed in range(200):  # of any depth images, at most depth - DEPTH are of one group
        groups = draw_groups(n_images, n_groups=n_groups, generator=generator(seed))
        assert torch.bincount(groups[:depth]).max() <= depth - DEPTH


def test_how_deep_for_the_papers_setting():
    """The chance of a binomial draw beyond 6 to 7 deviations: 200 / 0.9 + 7 sqrt(266 x .09)."""
    assert deeper(200, 1_281_167) == pytest.approx(222 + 7 * math.sqrt(266 * 0.09), abs=12)
    assert can_leave_out(200, 1000) and not can_leave_out(200, 450)
    assert deeper(200, 450) == 225


def test_too_few_images_are_refused():
    vectors, activations = world(2 * DEPTH + 2, 0)
    n = len(vectors)
    assert not can_leave_out(DEPTH, n)
    extremes = collect(activations, torch.arange(n), deeper(DEPTH, n), torch.arange(n))
    settings = {"slope": SLOPE, "n_tasks": N_TASKS, "k": K, "generator": generator()}
    groups = draw_groups(n, generator=generator())
    with pytest.raises(ValueError, match="9 ranks are needed without any group .* has 8; collect"):
        replicate_mis(extremes, vectors, groups, **settings)
    with pytest.raises(ValueError, match=f"{n} images need as many groups, got {n - 1}"):
        replicate_mis(extremes, vectors, groups[1:], **settings)
    with pytest.raises(ValueError, match="2 … 20 groups of 20 images, got 1"):
        draw_groups(20, n_groups=1, generator=generator())
    with pytest.raises(ValueError, match="depth must be at least 1 and groups 2 … 20, got 0"):
        deeper(0, 20)


def test_groups_are_random_and_of_one_size():
    groups = draw_groups(103, generator=generator())
    assert torch.bincount(groups).tolist() == [11] * 3 + [10] * 7
    assert torch.equal(groups, draw_groups(103, generator=generator()))
    assert not torch.equal(groups, draw_groups(103, generator=generator(1)))


def test_the_jackknife_by_loops():
    means = torch.randn(2, 10, 3, generator=generator(), dtype=torch.float64)
    means += torch.randn(1, 10, 1, generator=generator(1), dtype=torch.float64)
    for column, error in enumerate(image_error(means).tolist()):
        a, b = means[0, :, column].tolist(), means[1, :, column].tolist()
        mean_a, mean_b = sum(a) / 10, sum(b) / 10
        images = sum((x - mean_a) * (y - mean_b) for x, y in zip(a, b, strict=True)) * 9 / 10
        dealing = sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) / 20
        assert error == pytest.approx(math.sqrt(max(images, 0) + dealing))
    unsure = means * torch.tensor([1.0, -1.0]).view(2, 1, 1)  # what no images explain
    dealing = (unsure[0] - unsure[1]).square().mean(dim=0) / 2
    assert torch.allclose(image_error(unsure), dealing.sqrt())
    same = means[:1].expand(2, -1, -1)  # no noise of dealing: the plain jackknife
    plain = (means[0].var(dim=0, correction=0) * 9).sqrt()
    assert torch.allclose(image_error(same), plain)


def score_of_world(n_images, seed, n_units=7):
    """Unit MIS and the replicates' of one image set; the same units at every seed."""
    vectors, activations = world(n_images, seed, n_units)
    draws = generator(seed + 10_000)
    priority = torch.randperm(n_images, generator=draws)
    depth = deeper(DEPTH, n_images)
    extremes = collect(activations, torch.arange(n_images), depth, priority)
    settings = {"n_tasks": N_TASKS, "k": K, "generator": draws}
    scores = score_units(extremes, vectors, slope=SLOPE, **settings)
    groups = draw_groups(n_images, generator=draws)
    replicates = replicate_mis(extremes, vectors, groups, slope=SLOPE, **settings)
    return scores.mis, replicates


def test_intervals_hold_the_mean_of_many_image_sets(monkeypatch):
    """Student's interval of 9 degrees of freedom, at 90 %, over 150 image sets."""
    monkeypatch.setattr(sys.modules[__name__], "N_TASKS", 6)
    monkeypatch.setattr(sys.modules[__name__], "DEPTH", images_needed(6, K) // 2)
    means, errors = [], []
    for seed in range(150):
        mis, replicates = score_of_world(200, seed, n_units=20)
        alive = ~mis.isnan()
        assert alive.sum() == 19 and not alive[2]  # which is dead
        means.append(mis[alive].mean())
        errors.append(image_error(replicates[:, :, alive].mean(dim=2)))
    means, errors = torch.stack(means), torch.stack(errors)
    held = ((means - means.mean()).abs() < 1.833 * errors).double().mean()
    assert 0.85 < held < 0.99
    # A jackknife's error is too large rather than too small; with one deal it is 2.5 times so.
    assert 0.9 < float(errors.square().mean().sqrt() / means.std()) < 1.9


def test_the_error_over_units_is_the_bootstraps():
    mis = torch.rand(300, generator=generator(), dtype=torch.float64)
    chosen = torch.randint(300, (20_000, 300), generator=generator(1))
    assert unit_error(mis) == pytest.approx(float(mis[chosen].mean(dim=1).std()), rel=0.03)
    with_dead = torch.cat([mis, torch.full((50,), math.nan, dtype=torch.float64)])
    assert unit_error(with_dead) == unit_error(mis)
    assert math.isnan(unit_error(mis[:1])) and math.isnan(unit_error(with_dead[300:]))


def test_a_change_is_of_the_units_that_both_score():
    mis = torch.tensor([0.5, 0.7, math.nan, 0.9])
    dense = torch.tensor([0.4, math.nan, 0.8, 0.6])
    change = paired_change(mis, dense)
    assert change.n_units == 2 and change.mean == pytest.approx(0.2)
    assert change.unit_error == pytest.approx(0.1 / math.sqrt(2)) and math.isnan(change.image_error)
    nothing = paired_change(mis[2:3], dense[2:3])
    assert nothing.n_units == 0 and math.isnan(nothing.mean)
    with pytest.raises(ValueError, match=r"the same units, got \(4,\) and \(3,\)"):
        paired_change(mis, dense[:3])


def test_pairing_takes_out_what_both_networks_share():
    """A network and itself with a little noise: the change is surer than either mean."""
    mis, replicates = score_of_world(300, 0)
    noise = 1e-4 * torch.randn(2, 10, 7, generator=generator(), dtype=torch.float64)
    other = replicates + noise
    change = paired_change(mis + 0.01, mis, replicates, other)
    alive = ~mis.isnan()
    assert change.mean == pytest.approx(0.01) and change.n_units == 6
    assert change.unit_error == pytest.approx(0, abs=1e-9)
    alone = float(image_error(replicates[:, :, alive].mean(dim=2)))
    expected = float(image_error(noise[:, :, alive].mean(dim=2)))
    assert change.image_error == pytest.approx(expected)
    assert change.image_error < alone / 20
    with pytest.raises(ValueError, match=r"\[2, group, 7\] of the same groups"):
        paired_change(mis, mis, replicates, replicates[:, :5])


def test_copies_of_images_score_too_high():
    """Why not the bootstrap: units that answer at random score 0.5, but not on resampled images."""
    n, n_units, excess, plain = 60, 20, [], []
    for seed in range(300):
        draws = generator(seed)
        vectors = F.normalize(torch.randn(n, 5, generator=draws, dtype=torch.float64), dim=1)
        activations = (torch.rand(n, n_units, generator=draws) < 0.2).float()  # ties: mostly zero
        resampled, means = torch.randint(n, (n,), generator=draws), []
        for images in (torch.arange(n), resampled):
            priority = torch.randperm(n, generator=draws)
            settings = {"n_tasks": N_TASKS, "k": K, "generator": draws}
            extremes = collect(activations[images], torch.arange(n), DEPTH, priority)
            scores = score_units(extremes, vectors[images], slope=SLOPE, **settings)
            means.append(float(scores.mis.nanmean()))
        plain.append(means[0] - 0.5)
        excess.append(means[1] - means[0])
    for differences, too_high in ((plain, False), (excess, True)):
        differences = torch.tensor(differences)
        error = float(differences.std() / math.sqrt(300))
        assert (float(differences.mean()) > 4 * error) == too_high

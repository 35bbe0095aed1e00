"""From activations to the score of every unit, as the MIS paper has it, all by loops in float64.

Zimmermann, Klindt, Brendel 2024 (arXiv 2402.14859): ranks, blocks, bins and queries (App. A.2),
the score (Sec. 3), constant units (Sec. 4).
"""

import math

import pytest
import torch
import torch.nn.functional as F
from mis_oracles import rank_blocks, ranked_images, unit_score
from torch import nn

from mis import UNIT_STATES, collect_extremes
from mis.score.extremes import ExtremesCollector
from mis.score.margins import Margins
from mis.score.protocols import query_rank
from mis.score.similarity import DREAMSIM_SLOPE
from mis.score.tasks import Deal, build_tasks, deal_tasks, draw_deal, images_needed
from mis.score.units import score_tasks, score_units, unit_scores

N_TASKS, K = 5, 3
ALIVE, DEAD, CONSTANT, RARE = 0, 3, 4, 2  # units


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def world(seed, n=90):
    """Activations float32 [image, 5] after a ReLU, full of ties, and vectors float32."""
    latent = torch.randn(n, 6, generator=generator(seed))
    directions = torch.randn(6, 5, generator=generator(seed + 100))
    activations = (latent @ directions).relu()
    activations[:, 1] = activations[:, 1].round()  # few values, each of many images
    activations[:, RARE] = (activations[:, RARE] - 3).relu()  # zero on nearly all
    activations[:, DEAD] = 0
    activations[:, CONSTANT] = 0.7 + torch.rand(n, generator=generator(seed)) * 5e-9
    return activations, F.normalize(latent, dim=1)


def collect(activations, priority, depth):
    collector = ExtremesCollector(["relu"], depth, priority)
    for ids in torch.arange(len(activations)).split(16):
        collector.add(ids, [activations[ids]])
    return collector.result()


@pytest.mark.parametrize("metric", ["cosine", "neg_sq_distance"])
@pytest.mark.parametrize("query", [None, 22])
@pytest.mark.parametrize("seed", range(4))
def test_the_whole_score_by_loops(seed, query, metric):
    activations, vectors = world(seed)
    assert all(len(activations[:, unit].unique()) < 60 for unit in range(5))
    priority = torch.randperm(90, generator=generator(seed + 1))
    settings = {"n_tasks": N_TASKS, "k": K, "query_rank": query}
    extremes = collect(activations, priority, images_needed(N_TASKS, K, query) // 2)
    tasks = build_tasks(extremes.top, extremes.bottom, generator=generator(seed + 2), **settings)
    scores = score_units(
        extremes, vectors, slope=6.25, metric=metric, generator=generator(seed + 2), **settings
    )
    for unit in range(5):
        column = activations[:, unit].tolist()
        sides = rank_blocks(ranked_images(column, priority), N_TASKS, K, query)
        dealt = []
        for (bins, queries), explanations, asked in zip(
            sides, (tasks.plus, tasks.minus), (tasks.plus_query, tasks.minus_query), strict=True
        ):
            explanations, asked = explanations[unit].tolist(), asked[unit].tolist()
            assert sorted(asked) == sorted(queries)
            for b, images in enumerate(bins):  # each task has one of each bin
                assert sorted(task[b] for task in explanations) == sorted(images)
            dealt += [explanations, asked]
        plus, plus_query, minus, minus_query = dealt
        as_tasks = list(zip(plus, minus, plus_query, minus_query, strict=True))
        mis, accuracy = unit_score(as_tasks, vectors.double().tolist(), 6.25, metric)
        if max(column) - min(column) < 1e-8:
            assert math.isnan(scores.mis[unit]) and math.isnan(scores.task_accuracy[unit])
        else:
            assert float(scores.mis[unit]) == pytest.approx(mis, abs=1e-6)
            assert float(scores.task_accuracy[unit]) == pytest.approx(accuracy, abs=1e-6)
    states = [UNIT_STATES[state] for state in scores.state.tolist()]
    assert states == ["alive", "alive", "alive", "dead", "constant"]


def test_no_image_is_in_two_blocks():
    """Explanations and queries of either side, in all tasks of a unit: each image once."""
    activations, _ = world(0, n=images_needed(N_TASKS, K))  # as few images as can be
    extremes = collect(activations, torch.randperm(len(activations)), len(activations) // 2)
    tasks = build_tasks(extremes.top, extremes.bottom, n_tasks=N_TASKS, k=K, generator=generator())
    parts = [tasks.plus.flatten(1), tasks.minus.flatten(1), tasks.plus_query, tasks.minus_query]
    images = torch.cat(parts, dim=1).sort(dim=1).values
    assert torch.equal(images, torch.arange(len(activations)).expand(5, -1))


def test_ties_by_file_order_would_make_a_dead_unit_clear():
    """Files come class by class: the first and the last images of a constant unit are two classes.

    With ties broken at random its tasks are chance; it is left out of every mean all the same.
    """
    classes = torch.arange(100) // 25
    vectors = F.normalize(F.one_hot(classes).double() + 0.05, dim=1)
    dead = torch.zeros(100, 1)
    settings = {"n_tasks": N_TASKS, "k": K}

    def mean_mis(priorities):
        means = []
        for seed, priority in enumerate(priorities):
            found = collect(dead, priority, 20)
            tasks = build_tasks(found.top, found.bottom, generator=generator(seed), **settings)
            means.append(score_tasks(tasks, vectors, slope=DREAMSIM_SLOPE).mis)
        return float(torch.cat(means).mean())

    assert mean_mis([torch.arange(100)]) > 0.99
    random = [torch.randperm(100, generator=generator(seed)) for seed in range(200)]
    assert mean_mis(random) == pytest.approx(0.5, abs=0.05)


def test_every_tied_image_is_as_likely_to_be_shown():
    """40 of 60 images at zero, 10 of which are the least: each is in 1/4 of 400 rankings."""
    activations = torch.cat([torch.zeros(40), torch.arange(1, 21).float()]).unsqueeze(1)
    counts = torch.zeros(60)
    for seed in range(400):
        found = collect(activations, torch.randperm(60, generator=generator(seed)), 10)
        counts[found.bottom[0]] += 1
        assert found.top[0].tolist() == list(range(59, 49, -1))
    assert counts[40:].sum() == 0
    assert (counts[:40] - 100).abs().max() < 5 * math.sqrt(400 * 0.25 * 0.75)


def test_the_slope_is_one_over_sixteen_hundredths():
    """The paper's lowest mean of a model is about .8: out of reach were 0.16 a factor."""
    assert DREAMSIM_SLOPE == 6.25
    largest = 4  # D+ - D- of cosines
    assert 1 / (1 + math.exp(-0.16 * largest)) < 0.66
    assert 1 / (1 + math.exp(-largest * DREAMSIM_SLOPE)) > 0.99


def test_the_harder_protocol_asks_about_less_extreme_images():
    """A unit that answers to one direction, with noise: the further down, the less clear."""
    latent = torch.randn(4000, 4, generator=generator())
    activations = latent[:, :1] + torch.randn(4000, 1, generator=generator(1))
    vectors = F.normalize(latent, dim=1).double()
    rank = query_rank("von_rad2024", 4000, N_TASKS, K)
    assert rank == 46
    means = []
    for query in (None, rank, 1500):
        settings = {"n_tasks": N_TASKS, "k": K, "query_rank": query}
        found = collect(activations, torch.randperm(4000), images_needed(N_TASKS, K, query) // 2)
        scores = [
            score_units(found, vectors, slope=2.0, generator=generator(seed), **settings).mis
            for seed in range(50)
        ]
        means.append(float(torch.cat(scores).mean()))
    assert means[0] > means[2] + 0.05 and means[1] > means[2] + 0.05


def test_a_convolution_and_its_batchnorm_have_the_same_mis():
    """A positive scale and a shift change no rank; a negative scale swaps both ends, and with them
    the sides of every task, which leaves its margin as it is."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 12, 3), nn.BatchNorm2d(12), nn.ReLU(inplace=True)).eval()
    norm = network[1]
    nn.init.uniform_(norm.weight, 0.3, 2)
    norm.weight.data[::3] *= -1
    nn.init.normal_(norm.bias)
    nn.init.normal_(norm.running_mean)
    nn.init.uniform_(norm.running_var, 0.5, 2)
    images = torch.randn(120, 3, 6, 6)
    batches = [(ids, images[ids]) for ids in torch.arange(120).split(50)]
    priority, depth = torch.randperm(120), images_needed(N_TASKS, K) // 2
    convolution, normed, rectified = (
        collect_extremes(network, [name], batches, depth=depth, priority=priority)
        for name in ("0", "1", "2")
    )
    up, down = norm.weight > 0, norm.weight < 0
    assert torch.equal(convolution.top[up], normed.top[up])
    assert torch.equal(convolution.top[down], normed.bottom[down])
    vectors = F.normalize(torch.randn(120, 5, dtype=torch.float64) + 0.5, dim=1)
    deal = draw_deal(12, n_tasks=N_TASKS, k=K, generator=generator())
    swapped = Deal(deal.minus, deal.plus)
    scores = {}
    for name, found, of in (
        ("conv", convolution, deal),
        ("normed", normed, deal),
        ("turned", normed, swapped),
        ("after", rectified, deal),
    ):
        tasks = deal_tasks(found.top, found.bottom, of)
        scores[name] = score_tasks(tasks, vectors, slope=DREAMSIM_SLOPE).mis
    assert torch.equal(scores["conv"][up], scores["normed"][up])
    torch.testing.assert_close(scores["conv"][down], scores["turned"][down])
    assert not torch.allclose(scores["conv"], scores["after"], atol=0.01)  # a ReLU is no such thing


def test_the_same_tasks_by_several_vectors():
    activations, vectors = world(0)
    extremes = collect(activations, torch.randperm(90, generator=generator()), 20)
    settings = {"n_tasks": N_TASKS, "k": K}
    tasks = build_tasks(extremes.top, extremes.bottom, generator=generator(3), **settings)
    unread = torch.tensor([True, False, False, True, False])
    for others in (vectors, F.normalize(vectors.roll(1, dims=0) + 0.1, dim=1)):
        found = unit_scores(extremes, tasks, others, slope=2.0, unread=unread)
        prepared = Margins(others, n_reads=10**9)
        again = unit_scores(extremes, tasks, prepared, slope=2.0, unread=unread)
        expected = score_units(
            extremes, others, slope=2.0, unread=unread, generator=generator(3), **settings
        )
        assert torch.allclose(found.mis, expected.mis, equal_nan=True)
        assert torch.allclose(again.mis, expected.mis, equal_nan=True, atol=1e-6)
        assert torch.equal(found.state, expected.state)

"""The score, against the paper's formula written as loops."""

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F
from mis_oracles import rank_blocks, ranked_images, task_margin, unit_score

from mis.score import margins
from mis.score.collect import Extremes
from mis.score.margins import METRICS, task_margins
from mis.score.tasks import Tasks, build_tasks
from mis.score.units import (
    UNIT_STATES,
    UnitScores,
    score_tasks,
    score_units,
    shuffle_control,
    summarize,
    unit_states,
)

N_TASKS, K, SLOPE = 4, 3, 2.5
DEPTH = N_TASKS * (K + 1)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def unit_vectors(n_images=40, dim=6, seed=0, dtype=torch.float64):
    return F.normalize(torch.randn(n_images, dim, generator=generator(seed), dtype=dtype), dim=1)


def extremes_of(activations, seed=5):
    """Extremes of float32 [image, unit], by the oracle's sort."""
    priority = torch.randperm(len(activations), generator=generator(seed))
    ranked = [ranked_images(column, priority) for column in activations.T]
    n_units = activations.shape[1]
    return Extremes(
        layers=("a", "b"),
        layer_of=(torch.arange(n_units) >= n_units // 2).long(),
        channel=torch.arange(n_units),
        top=torch.tensor([r[::-1][:DEPTH] for r in ranked]),
        bottom=torch.tensor([r[:DEPTH] for r in ranked]),
        minimum=activations.min(dim=0).values,
        maximum=activations.max(dim=0).values,
        n_images=len(activations),
    )


def tasks_of(tasks, unit):
    fields = (tasks.plus, tasks.minus, tasks.plus_query, tasks.minus_query)
    return list(zip(*(field[unit].tolist() for field in fields), strict=True))


@pytest.fixture(params=["matrix", "vectors"])
def way(request, monkeypatch):
    """Both ways to the margins, whichever the sizes would choose."""
    monkeypatch.setattr(margins, "ROW_COST", math.inf if request.param == "matrix" else 0)
    return request.param


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("seed", range(3))
def test_mis_equals_the_papers_formula(metric, seed, way):
    """Ranks, blocks, bins, similarity, sigmoid: all by loops, given who went to which task."""
    activations = torch.randn(40, 5, generator=generator(seed))
    vectors = unit_vectors(seed=seed)
    if metric == "neg_sq_distance":
        vectors = vectors * torch.linspace(0.2, 1.5, 40, dtype=torch.float64).unsqueeze(1)
    priority = torch.randperm(40, generator=generator(5))
    found = extremes_of(activations)
    tasks = build_tasks(
        found.top, found.bottom, n_tasks=N_TASKS, k=K, generator=generator(seed + 10)
    )
    scores = score_units(
        found,
        vectors,
        slope=SLOPE,
        metric=metric,
        n_tasks=N_TASKS,
        k=K,
        generator=generator(seed + 10),
    )
    for unit in range(5):
        sides = rank_blocks(ranked_images(activations[:, unit], priority), N_TASKS, K)
        for (bins, queries), explanations, query in zip(
            sides, (tasks.plus, tasks.minus), (tasks.plus_query, tasks.minus_query), strict=True
        ):
            for b, bin_images in enumerate(bins):
                assert sorted(explanations[unit, :, b].tolist()) == sorted(bin_images)
            assert sorted(query[unit].tolist()) == sorted(queries)
        mis, accuracy = unit_score(tasks_of(tasks, unit), vectors.tolist(), SLOPE, metric)
        assert float(scores.mis[unit]) == pytest.approx(mis, abs=1e-12)
        assert float(scores.task_accuracy[unit]) == accuracy
    assert scores.mis.dtype == torch.float64
    assert 0.02 < scores.mis.min() < scores.mis.max() < 0.98  # not saturated


@pytest.mark.parametrize("metric", METRICS)
def test_float32_margins_equal_the_loops_to_single_precision(metric, way):
    vectors = unit_vectors(dtype=torch.float32)
    found = extremes_of(torch.randn(40, 3, generator=generator()))
    tasks = build_tasks(found.top, found.bottom, n_tasks=N_TASKS, k=K, generator=generator())
    fast = task_margins(tasks, vectors, metric=metric)
    for unit in range(3):
        for task, images in enumerate(tasks_of(tasks, unit)):
            slow = task_margin(*images, vectors.double().tolist(), metric)
            assert float(fast[unit, task]) == pytest.approx(slow, abs=1e-6)


def test_the_block_size_does_not_change_a_score(way):
    found = extremes_of(torch.randn(40, 7, generator=generator()))
    tasks = build_tasks(found.top, found.bottom, n_tasks=N_TASKS, k=K, generator=generator())
    scores = [score_tasks(tasks, unit_vectors(), slope=3.0, unit_block=b) for b in (1, 3, 512)]
    assert all(torch.equal(s.mis, scores[0].mis) for s in scores[1:])


def one_task(plus, minus, plus_query, minus_query):
    as_images = [torch.tensor([[images]]) for images in (plus, minus, plus_query, minus_query)]
    return Tasks(*as_images)


def test_a_task_worked_by_hand(way):
    """q+ is the plus explanation, q- is opposite to it, E- is at a right angle to both."""
    vectors = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [-1.0, 0.0]])
    scores = score_tasks(one_task([0], [1], 2, 3), vectors, slope=1.5)
    assert float(scores.mis) == pytest.approx(1 / (1 + math.exp(-1.5 * 2)))  # D+ = 1, D- = -1
    assert float(scores.task_accuracy) == 1
    swapped = score_tasks(one_task([0], [1], 3, 2), vectors, slope=1.5)
    assert float(swapped.mis) == pytest.approx(1 / (1 + math.exp(1.5 * 2)))
    assert float(swapped.task_accuracy) == 0


def test_an_exact_tie_counts_half(way):
    vectors = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
    scores = score_tasks(one_task([0], [1], 2, 3), vectors, slope=1.5)
    assert float(scores.mis) == 0.5
    assert float(scores.task_accuracy) == 0.5


def test_a_perfectly_clear_unit_scores_near_one_and_its_reverse_near_zero():
    """Half the images show the one thing, half the other; the unit tells them apart."""
    side = torch.arange(40) < 20
    vectors = F.normalize(torch.stack([side.double(), (~side).double()], dim=1) + 0.01, dim=1)
    noise = torch.rand(40, generator=generator())
    found = extremes_of((side.float() * 10 + noise).unsqueeze(1))
    settings = {"slope": 6.25, "n_tasks": N_TASKS, "k": K}
    scores = score_units(found, vectors, generator=generator(), **settings)
    assert scores.mis.item() > 0.999 and scores.task_accuracy.item() == 1
    # queries of the other side: every task is answered wrongly
    tasks = build_tasks(found.top, found.bottom, n_tasks=N_TASKS, k=K, generator=generator())
    wrong = Tasks(tasks.plus, tasks.minus, tasks.minus_query, tasks.plus_query)
    assert score_tasks(wrong, vectors, slope=6.25).mis.item() < 0.001


@pytest.mark.parametrize("seed", range(3))
def test_shuffled_activations_score_one_half(seed):
    vectors = F.normalize(unit_vectors(400, 8, seed) + 0.5, dim=1)  # similar images, as in life
    mean, error = shuffle_control(
        vectors, n_units=600, slope=6.25, n_tasks=20, k=9, generator=generator(seed)
    )
    assert abs(mean - 0.5) < 4 * error
    assert 0.0002 < error < 0.005  # an error so small or so large would say nothing


def test_the_control_would_notice_a_planted_unit():
    """The same images, one unit that answers to them: further than 4 errors from one half."""
    vectors = unit_vectors(40)
    found = extremes_of(vectors[:, :1].float())
    scores = score_units(found, vectors, slope=6.25, n_tasks=N_TASKS, k=K, generator=generator())
    mean, error = shuffle_control(
        vectors, n_units=200, slope=6.25, n_tasks=N_TASKS, k=K, generator=generator()
    )
    assert abs(mean - 0.5) < 4 * error
    assert scores.mis.item() - 0.5 > 0.15


def with_states():
    """Units 0 and 1 live, 2 is dead, 3 constant, 4 nearly constant, 5 unread, 6 dead and unread."""
    activations = torch.randn(40, 7, generator=generator(4))
    activations[:, 2] = 0
    activations[:, 3] = 0.25
    activations[:, 4] = torch.linspace(0, 9e-9, 40)
    activations[:, 6] = 0
    unread = torch.tensor([False, False, False, False, False, True, True])
    return extremes_of(activations), unread


EXPECTED = ["alive", "alive", "dead", "constant", "constant", "unread", "dead"]


def test_states_of_units():
    found, unread = with_states()
    assert [UNIT_STATES[s] for s in unit_states(found, unread=unread).tolist()] == EXPECTED
    alone = [UNIT_STATES[s] for s in unit_states(found).tolist()]
    assert alone == [*EXPECTED[:5], "alive", "dead"]


def test_a_range_of_the_threshold_is_alive():
    activations = torch.randn(40, 1, generator=generator())
    activations[:, 0] = torch.linspace(0, 1.01e-8, 40)
    assert unit_states(extremes_of(activations)).tolist() == [0]


def test_a_unit_that_its_relu_silences_is_dead():
    found, unread = with_states()
    silent = torch.tensor([False, True, False, True, False, True, False])
    states = unit_states(dataclasses.replace(found, silent=silent), unread=unread)
    assert [UNIT_STATES[s] for s in states.tolist()] == [
        *("alive", "dead", "dead", "dead", "constant", "dead", "dead")
    ]


def test_a_wrong_unread_is_refused():
    found, unread = with_states()
    for wrong in (unread[:-1], unread.long()):
        with pytest.raises(ValueError, match=r"unread must be bool \[7\]"):
            unit_states(found, unread=wrong)


def test_constant_and_dead_units_are_nan_and_counted():
    found, unread = with_states()
    settings = {"slope": 6.25, "n_tasks": N_TASKS, "k": K}
    scores = score_units(found, unit_vectors(), generator=generator(), unread=unread, **settings)
    meaningless = torch.tensor([s in ("dead", "constant") for s in EXPECTED])
    assert torch.equal(scores.mis.isnan(), meaningless)
    assert torch.equal(scores.task_accuracy.isnan(), meaningless)
    metrics = summarize(scores)
    mis = scores.mis
    assert metrics["mis/n_units"] == 2 and metrics["mis/n_unread"] == 1
    assert metrics["mis/n_dead"] == 2 and metrics["mis/n_constant"] == 2
    assert metrics["mis/mean"] == pytest.approx(float(mis[:2].mean()))
    assert metrics["mis/median"] == pytest.approx(float(mis[:2].mean()))
    assert metrics["mis/task_accuracy"] == pytest.approx(float(scores.task_accuracy[:2].mean()))
    as_half = (float(mis[0] + mis[1] + mis[5]) + 4 * 0.5) / 7
    assert metrics["mis/mean_dead_as_half"] == pytest.approx(as_half)
    assert metrics["mis/a/mean"] == pytest.approx(float(mis[:2].mean()))
    assert "mis/b/mean" not in metrics  # units 3 to 6: none is alive


def test_a_units_score_does_not_depend_on_the_states_of_others():
    found, unread = with_states()
    settings = {"slope": 6.25, "n_tasks": N_TASKS, "k": K}
    with_mask = score_units(found, unit_vectors(), generator=generator(), unread=unread, **settings)
    without = score_units(found, unit_vectors(), generator=generator(), **settings)
    assert torch.equal(with_mask.mis[[0, 1, 5]], without.mis[[0, 1, 5]])


def test_a_network_without_living_units_has_no_mean():
    nothing = torch.full((3,), math.nan)
    state = torch.full((3,), UNIT_STATES.index("dead"), dtype=torch.int8)
    metrics = summarize(UnitScores(("a",), torch.zeros(3).long(), nothing, nothing, state))
    assert math.isnan(metrics["mis/mean"]) and math.isnan(metrics["mis/median"])
    assert math.isnan(metrics["mis/task_accuracy"])
    assert metrics["mis/n_units"] == 0 and metrics["mis/n_dead"] == 3
    assert metrics["mis/mean_dead_as_half"] == 0.5
    assert "mis/a/mean" not in metrics


TASK = one_task([0], [1], 2, 3)


@pytest.mark.parametrize("slope", [0.0, -1.0, math.nan, math.inf])
def test_a_slope_must_be_positive(slope):
    with pytest.raises(ValueError, match="slope must be positive"):
        score_tasks(TASK, unit_vectors(), slope=slope)


@pytest.mark.parametrize(
    ("vectors", "metric", "message"),
    [
        (unit_vectors(), "cosin", "one of cosine, neg_sq_distance, got 'cosin'"),
        (unit_vectors() * 1.01, "cosine", "unit length, got lengths 1.01"),
        (unit_vectors().half(), "cosine", "float32 or float64"),
        (unit_vectors()[0], "cosine", r"\[image, dim\]"),
        (unit_vectors().masked_fill(torch.eye(40, 6).bool(), math.nan), "cosine", "finite"),
        (unit_vectors(3), "cosine", "images 0 … 2.* 0 … 3"),
    ],
)
def test_vectors_that_cannot_be_compared_are_refused(vectors, metric, message):
    with pytest.raises(ValueError, match=message):
        score_tasks(TASK, vectors, slope=1.0, metric=metric)


def test_a_control_needs_images():
    with pytest.raises(ValueError, match="2 units and 400 images, got 1000 and 40"):
        shuffle_control(unit_vectors(), slope=1.0, n_tasks=20, k=9, generator=generator())

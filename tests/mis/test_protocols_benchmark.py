"""The benchmark of both protocols: its scores by loops over images."""

import pytest
import torch
import torch.nn.functional as F
from mis_oracles import rank_blocks, ranked_images, unit_score

from benchmarks import protocols
from mis.score.tasks import draw_deal

N_IMAGES, N_TASKS, K, SLOPE = 40, 3, 2, 2.0


@pytest.mark.parametrize("rank", [6, 11])
def test_scores_are_those_of_loops(monkeypatch, rank):
    monkeypatch.setattr(protocols, "TASKS", N_TASKS)
    monkeypatch.setattr(protocols, "K", K)
    draw = torch.Generator().manual_seed(1)
    activations = torch.randn(N_IMAGES, 2, generator=draw)
    vectors = F.normalize(torch.randn(N_IMAGES, 5, generator=draw), dim=1)
    found = protocols.scored(activations, vectors, SLOPE, rank)

    lots = torch.Generator().manual_seed(0)
    priority = torch.randperm(N_IMAGES, generator=lots)
    deal = draw_deal(2, n_tasks=N_TASKS, k=K, generator=lots)
    for unit, mis in enumerate(found.tolist()):
        ranked = ranked_images(activations[:, unit], priority)
        sides = rank_blocks(ranked, N_TASKS, K, rank)
        dealt = []
        for (bins, queries), order in zip(sides, (deal.plus, deal.minus), strict=True):
            shown = [[b[order[unit, i, t]] for i, b in enumerate(bins)] for t in range(N_TASKS)]
            dealt.append((shown, [queries[order[unit, K, t]] for t in range(N_TASKS)]))
        (plus, plus_query), (minus, minus_query) = dealt
        tasks = list(zip(plus, minus, plus_query, minus_query, strict=True))
        expected, _ = unit_score(tasks, vectors.tolist(), SLOPE, "cosine")
        assert mis == pytest.approx(expected, abs=1e-5)

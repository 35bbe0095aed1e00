"""The benchmark that decided where units are read: its ties and its reliability, by loops."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks import reading


def test_both_places_are_means_of_the_maps_on_either_side_of_the_relu():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Conv2d(4, 5, 3), nn.ReLU()
    ).eval()
    images = torch.randn(7, 3, 8, 8)
    read = reading.read_both(network, iter(images.split(3)))
    with torch.inference_mode():
        first = network[1](network[0](images))
        second = network[3](first.relu())
    for place, maps in (("before", (first, second)), ("after", (first.relu(), second.relu()))):
        want = torch.cat([each.mean((2, 3)) for each in maps], 1)
        torch.testing.assert_close(read.at(place), want)
    assert read.layer_of.tolist() == [0] * 4 + [1] * 5


def test_images_are_drawn_by_lot_where_equals_go_on_beyond_the_depth():
    activations = torch.tensor(
        [
            [0.0, 1.0, 0.0, 3.0],
            [0.0, 2.0, 0.0, 3.0],
            [0.0, 3.0, 1.0, 3.0],
            [0.0, 4.0, 1.0, 2.0],
            [5.0, 5.0, 1.0, 1.0],
        ]
    )
    for depth in (1, 2, 3, 4):
        found = reading.drawn_by_lot(activations, depth).tolist()
        for unit, values in enumerate(activations.T.tolist()):
            ranked = sorted(values)
            certain = [v for v in ranked[:depth] if ranked.count(v) <= ranked[:depth].count(v)]
            assert found[unit] == depth - len(certain)


def test_reliability_is_the_correlation_of_what_layers_leave():
    draw = np.random.default_rng(0)
    layer_of = np.repeat([0, 1, 2], [5, 8, 7])
    common = draw.normal(size=20)
    scores = np.stack([common + draw.normal(size=20) for _ in range(2)]) + 10 * layer_of
    counts = np.stack([np.ones(20), draw.multinomial(20, np.full(20, 1 / 20))])
    found = reading.reliability(
        torch.tensor(scores), torch.tensor(layer_of), torch.tensor(counts, dtype=torch.float64)
    )
    for value, times in zip(found.tolist(), counts.astype(int), strict=True):
        drawn, layers = np.repeat(scores, times, axis=1), np.repeat(layer_of, times)
        for layer in np.unique(layers):
            drawn[:, layers == layer] -= drawn[:, layers == layer].mean(1, keepdims=True)
        assert value == pytest.approx(np.corrcoef(drawn)[0, 1])


def test_halves_agree_where_units_answer_to_what_is_seen_and_not_by_chance():
    """Units that each answer to a direction of the vectors, some with much noise."""
    draw = torch.Generator().manual_seed(0)
    vectors = F.normalize(torch.randn(1_000, 4, generator=draw), dim=1)
    noise = torch.linspace(0.1, 3, 60)
    towards = F.normalize(torch.randn(4, 60, generator=draw), dim=0)
    clear = vectors @ towards + noise * torch.randn(1_000, 60, generator=draw)
    layers, once = torch.zeros(60, dtype=torch.int64), torch.ones(1, 60, dtype=torch.float64)
    chance = torch.randn(1_000, 60, generator=draw)
    for halves in reading.HALVES.values():
        of = [
            float(reading.reliability(halves(each, vectors, 3.0, 0), layers, once))
            for each in (clear, chance)
        ]
        assert of[0] > 0.5 and abs(of[1]) < 0.4

"""The rotated control: the same information, on axes that mean nothing."""

import dataclasses
import math

import pytest
import torch
from small_studies import small_base, small_sweep
from torch import nn

from mis import AboveZero, Locality, Monosemanticity, Probe, Selectivity, watching
from pruning import structure_of
from trainables.datasets.ahead import network_inputs
from trainables.datasets.loading import load_data
from trainables.networks import build_network, through, unit_layers
from trainables.randomness import generator
from trainables.scores.mis import measure
from trainables.scores.rotated import random_rotation, read_through

ROTATED = {"prune": None, "finetune": None, "score.rotated": True}
N = 200


def test_a_rotation_is_orthogonal_and_no_direction_is_preferred():
    q = random_rotation(40, torch.Generator().manual_seed(0))
    torch.testing.assert_close(q @ q.T, torch.eye(40, dtype=torch.float64))
    firsts = [random_rotation(3, torch.Generator().manual_seed(s))[:, 0] for s in range(2000)]
    mean = torch.stack(firsts).mean(0)
    assert (mean.abs() < 4 / math.sqrt(3 * 2000)).all()  # without the signs it is far from 0


class Aligned(nn.Module):
    """Eight units, each of which sees one class, whose colour and place it is."""

    def __init__(self):
        super().__init__()
        self.units, self.head = nn.Conv2d(8, 8, 1, bias=False), nn.Linear(8, 8)
        self.units.weight.data = torch.eye(8)[:, :, None, None]

    def forward(self, x):
        return self.head(self.units(x).relu().mean((2, 3)))


def scores_of(rotated):
    config = small_base(**{"prune": None, "finetune": None, "score.rotated": rotated})
    draw = torch.Generator().manual_seed(1)
    labels = torch.arange(N) % 8
    images = 0.1 * torch.randn(N, 8, 8, 8, generator=draw)
    for image, label in enumerate(labels.tolist()):
        images[image, label, label, label] += 6  # one cell, of which both sides tell the class
    net = Aligned().eval()
    layers = [layer for layer in unit_layers(net, "before_relu", structure_of(net))][:1]
    rotation = read_through(layers, [8], config)
    local = AboveZero({"units": 8}, torch.zeros(N, dtype=torch.int64), [Locality()])
    means = []

    def see(layer, values):
        local.see(layer, values)
        means.append(values.clamp(min=0).mean((2, 3)))

    with watching(net, ["units"], rotation, see) as run:
        local.begin(torch.arange(N))
        run(images)
    vectors = torch.eye(8)[labels] + 0.1 * torch.randn(N, 8, generator=draw)
    probe = Probe(labels, vectors)
    found = Selectivity().of(means[0], probe) | Monosemanticity().of(means[0], probe)
    found |= local.columns()
    return {name: float(values.double().mean()) for name, values in found.items()}


def test_scores_that_see_units_fall_when_these_are_rotated():
    aligned, rotated = scores_of(False), scores_of(True)
    for value in ("selectivity", "auprc", "monosemanticity", "locality"):
        assert rotated[value] < aligned[value] - 0.03, value
    assert rotated["selectivity"] < aligned["selectivity"] - 0.15
    assert aligned["auprc"] > 0.999


@pytest.mark.slow
def test_what_is_measured_is_the_rotated_means(tmp_path):
    config = small_base(**ROTATED, **{"score.similarity": "pixels"})
    data = load_data(config.data, tmp_path)
    torch.manual_seed(0)
    network = build_network(config.network, data.n_classes).eval()
    found = measure(network, config, data, tmp_path)
    plain = config.replace({"score.rotated": False})
    layers = unit_layers(network, "before_relu", structure_of(network))
    means = {}

    def see(layer, values):
        means.setdefault(layer, []).append(values.mean((2, 3)) if values.ndim == 4 else values)

    with watching(network, [at.name for at in layers], through(layers), see, dims=(2, 4)) as run:
        for _, images, _ in network_inputs(data.probe, torch.arange(60), 60, torch.device("cpu")):
            run(images)
    for i, layer in enumerate(layers):
        of_layer = torch.cat(means[layer.name]).double()
        q = random_rotation(of_layer.shape[1], generator(config.seed, "rotated", i))
        expected = (of_layer @ q.T).amax(0).float()
        here = found.layer_of == i
        torch.testing.assert_close(found.maximum[here], expected, rtol=1e-3, atol=1e-4)
    assert set(found.state.tolist()) <= {0, 2, 3}  # none is unread
    other = measure(network, plain, data, tmp_path)
    assert not torch.equal(other.maximum, found.maximum)


def test_it_is_of_the_dense_network_as_it_is_and_comes_with_controls_and_with_other_scores():
    for part in ({"prune": small_base().prune}, {"finetune": small_base().finetune}):
        with pytest.raises(ValueError, match="must be of the dense network as it is"):
            small_base(**ROTATED | part)
    assert small_base(**ROTATED).label == small_base(**ROTATED).method == "rotated"
    sweep, names = small_sweep(), ("mis", "locality")
    without = dataclasses.replace(sweep, controls=False)
    wanted = {(): (sweep, 1), names: (sweep, 1), ("none",): (without, 0), ("own",): (without, 1)}
    for which, (each, n) in wanted.items():
        scores = {"scores": names} if which in (names, ("own",)) else {}
        assert [c.method for c in each.expand(scores)].count("rotated") == n, which

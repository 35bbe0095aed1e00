"""Scores beside MIS: each against its formula by loops, on units of known answer, by chance."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mis import watching
from mis.kinds.above_zero import AboveZero
from mis.kinds.locality import Locality
from mis.kinds.monosemanticity import Monosemanticity
from mis.kinds.score import Probe, mean_and_error
from mis.kinds.selectivity import Selectivity, correlations, precisions

N, CLASSES = 120, 4


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def probe():
    """Images of four classes; vectors of one class are alike."""
    labels = torch.arange(N) % CLASSES
    kinds = torch.randn(CLASSES, 16, generator=generator())
    noise = torch.randn(N, 16, generator=generator(1))
    return Probe(labels, F.normalize(kinds[labels] + 0.5 * noise, dim=1))


def planted(labels):
    """float32 [image, 6]: sees one class; sees two; sees none (noise); dead; constant; one image
    alone moves it."""
    noise = torch.rand(N, generator=generator(2))
    one = (labels == 1) * (1 + 0.1 * noise)
    two = ((labels == 1) | (labels == 2)) * (1 + 0.1 * noise)
    alone = torch.zeros(N)
    alone[7] = 3
    return torch.stack([one, two, noise, torch.zeros(N), torch.full((N,), 0.3), alone], 1)


def monosemanticity_by_loops(activations, vectors):
    a = activations.double()
    a = ((a - a.min()) / (a.max() - a.min())).tolist()
    vectors = vectors.double().tolist()
    total = weights = 0.0
    for i in range(N):
        for j in range(i + 1, N):
            dot = sum(x * y for x, y in zip(vectors[i], vectors[j], strict=True))
            lengths = [math.sqrt(sum(x * x for x in vectors[k])) for k in (i, j)]
            total += a[i] * a[j] * dot / (lengths[0] * lengths[1])
            weights += a[i] * a[j]
    return total / weights


def precision_by_loops(activations, positive):
    area, found = 0.0, 0
    for threshold in sorted(set(activations.tolist()), reverse=True):
        passed = [p for a, p in zip(activations.tolist(), positive, strict=True) if a >= threshold]
        area += (sum(passed) - found) / sum(positive) * sum(passed) / len(passed)
        found = sum(passed)
    return area


def locality_by_loops(rows):
    height, width = len(rows), len(rows[0])
    cells = [
        ((y + 0.5) / height, (x + 0.5) / width, rows[y][x])
        for y in range(height)
        for x in range(width)
    ]

    def spread(weighted):
        mass = sum(w for *_, w in weighted)
        centre = [sum(w * c[d] for *c, w in weighted) / mass for d in (0, 1)]
        return sum(w * ((y - centre[0]) ** 2 + (x - centre[1]) ** 2) for y, x, w in weighted) / mass

    return 1 - spread(cells) / spread([(y, x, 1) for y, x, _ in cells])


def test_monosemanticity_is_the_mean_over_all_pairs(probe):
    activations = planted(probe.labels)
    noisy = torch.rand(N, 3, generator=generator(3)) ** 8 + 0.2  # never 0: the scale matters
    found = Monosemanticity().of(torch.cat([activations, noisy], 1), probe)["monosemanticity"]
    for unit in (0, 1, 2):
        expected = monosemanticity_by_loops(activations[:, unit], probe.vectors)
        assert float(found[unit]) == pytest.approx(expected, rel=1e-12)
    for unit in range(3):
        expected = monosemanticity_by_loops(noisy[:, unit], probe.vectors)
        assert float(found[6 + unit]) == pytest.approx(expected, rel=1e-12)
    assert found[3:6].isnan().all()
    assert found[0] > found[1] > found[2]


def test_two_images_that_differ_by_a_million_keep_their_cosine(probe):
    activations = torch.zeros(N, 1)
    activations[3], activations[8] = 1, 1e-6
    found = Monosemanticity().of(activations, probe)["monosemanticity"]
    expected = float(probe.vectors[3].double() @ probe.vectors[8].double())
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_chance_of_monosemanticity_is_the_mean_cosine_of_all_pairs(probe):
    vectors = probe.vectors.double()
    cosines = vectors @ vectors.T
    exact = float((cosines.sum() - cosines.trace()) / (N * (N - 1)))
    activations = torch.rand(N, 400, generator=generator(4)) ** 4
    mean, error = Monosemanticity().shuffled(activations, probe, generator(5))["monosemanticity"]
    assert abs(mean - exact) < 4 * error < 0.02


def test_selectivity_by_loops_with_ties(probe):
    activations = planted(probe.labels)[:, :3]
    ties = (torch.rand(N, 5, generator=generator(6)) * 4).floor()
    activations = torch.cat([activations, ties], 1)
    areas, r = precisions(activations, probe.labels), correlations(activations, probe.labels)
    for unit in range(activations.shape[1]):
        for label in range(CLASSES):
            positive = (probe.labels == label).tolist()
            expected = precision_by_loops(activations[:, unit], positive)
            assert float(areas[label, unit]) == pytest.approx(expected, rel=1e-12)
            both = torch.stack([activations[:, unit].double(), torch.tensor(positive).double()])
            assert float(r[label, unit]) == pytest.approx(float(torch.corrcoef(both)[0, 1]))
    found = Selectivity().of(activations, probe)
    torch.testing.assert_close(found["auprc"], areas.amax(0))
    torch.testing.assert_close(found["selectivity"], r.amax(0))


def test_selectivity_of_planted_units(probe):
    labels = probe.labels * 3  # classes that no image has lie between
    found = Selectivity().of(planted(probe.labels), Probe(labels))
    assert found["auprc"][0] == 1 and found["best_class"][0] == 3
    for value in ("selectivity", "auprc"):
        assert found[value][0] > found[value][1] > found[value][2]
        assert found[value][3:5].isnan().all()
    assert found["best_class"][3:5].isnan().all()


def test_the_best_of_many_classes_is_above_a_class_by_chance_and_below_a_unit_that_knows(probe):
    noise = torch.rand(N, 500, generator=generator(7))
    by_chance = Selectivity().shuffled(noise, probe, generator(8))
    for value, (mean, error) in by_chance.items():
        itself, own_error = mean_and_error(Selectivity().of(noise, probe)[value])
        assert abs(mean - itself) < 4 * math.hypot(error, own_error)
        assert mean > {"selectivity": 0, "auprc": 1 / CLASSES}[value] + 10 * error


def test_too_few_images_of_a_class_are_refused():
    Selectivity().require([20, 0, 25])
    with pytest.raises(ValueError, match="at least 20 probe images of each class, class 2 has 19"):
        Selectivity().require([20, 0, 19])


def test_locality_by_loops_and_its_bounds():
    maps = torch.rand(2, 3, 5, 7, generator=generator(9)) ** 3
    found = Locality().of(maps)["locality"]
    for image in range(2):
        for unit in range(3):
            expected = locality_by_loops(maps[image, unit].double().tolist())
            assert float(found[image, unit]) == pytest.approx(expected, abs=1e-5)
    known = torch.zeros(1, 4, 8, 8)
    known[0, 0, 2, 5] = 3  # one cell
    known[0, 1] = 0.7  # even
    known[0, 2, ::7, ::7] = 1  # the corners
    locality = Locality().of(known)["locality"][0]
    torch.testing.assert_close(locality[:2], torch.tensor([1.0, 0.0]), atol=1e-6, rtol=0)
    assert -2 <= locality[2] < -1 and locality[3].isnan()
    assert Locality().of(torch.ones(1, 2, 1, 1))["locality"].isnan().all()


def test_chance_of_locality_is_the_mean_over_orders_of_the_cells():
    cells = torch.rand(36, generator=generator(10)) ** 6
    orders = torch.stack([torch.randperm(36, generator=generator(s)) for s in range(4000)])
    found = Locality().of(cells[orders].view(1, -1, 6, 6))
    mean, error = mean_and_error(found["locality"])
    assert abs(mean - float(found["locality_shuffled"][0, 0])) < 4 * error < 0.02


def test_a_patch_is_local_where_as_many_cells_anywhere_are_not():
    maps = torch.zeros(1, 2, 12, 12)
    maps[0, 0, 2:5, 6:9] = 1
    maps[0, 1].view(-1)[torch.randperm(144, generator=generator(1))[:9]] = 1
    found = Locality().of(maps)
    assert found["locality"][0, 0] > 0.9 and found["locality"][0, 1] < 0.4
    torch.testing.assert_close(*found["locality_shuffled"][0])


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.maps, self.head = nn.Conv2d(3, 5, 3), nn.Linear(5, 4)

    def forward(self, x):
        return self.head(self.maps(x).relu_().mean((2, 3)))


@pytest.mark.parametrize("batch", [7, 40])
def test_a_pass_keeps_what_lies_above_zero_and_goes_on_after_an_interruption(tmp_path, batch):
    torch.manual_seed(0)
    net, images = Net().eval(), torch.randn(40, 3, 9, 9)
    groups = torch.arange(40) % 4
    with torch.no_grad():
        maps = net.maps(images).clamp(min=0)
        means = torch.cat([maps.mean((2, 3)), net(images).clamp(min=0)], 1)

    def reader():
        path = tmp_path / f"means-{batch}"
        return AboveZero({"maps": 5, "head": 4}, groups, [Locality()], path)

    seen, parts = reader(), torch.arange(40).split(batch)
    for number, ids in enumerate(parts):
        if number == 3:
            state, seen = seen.state_dict(), reader()
            seen.load_state_dict(state)
        with watching(net, ["maps", "head"], {}, seen.see, dims=(2, 4)) as run:
            seen.begin(ids)
            run(images[ids])
    torch.testing.assert_close(seen.means(torch.arange(2, 7)), means[:, 2:7])
    torch.testing.assert_close(seen.means(torch.tensor([8, 0])), means[:, [8, 0]])
    assert torch.equal(torch.cat(list(seen.blocks())), torch.arange(9))
    local, weights = Locality().of(maps)["locality"].double(), means[:, :5].double()
    expected = (local * weights).sum(0) / weights.sum(0)
    torch.testing.assert_close(seen.columns()["locality"][:5], expected)
    assert seen.columns()["locality"][5:].isnan().all()  # a layer without places
    kept = groups != 2
    expected = (local * weights)[kept].sum(0) / weights[kept].sum(0)
    torch.testing.assert_close(seen.replicates()["locality"][2, :5], expected)
    assert set(seen.columns()) == {"locality", "locality_shuffled"}
    with pytest.raises(ValueError, match="must be of"):
        seen.load_state_dict({"locality": torch.zeros(1, 2)})


def test_the_number_format_of_the_network_is_not_that_of_its_scores():
    maps = torch.rand(6, 5, 9, 9, generator=generator(3)) ** 2
    found = []
    for enabled in (False, True):
        seen = AboveZero({"maps": 5}, torch.zeros(6, dtype=torch.int64), [Locality()])
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            seen.begin(torch.arange(6))
            seen.see("maps", maps)
        found.append(seen.columns()["locality"])
    torch.testing.assert_close(*found, rtol=0, atol=0)

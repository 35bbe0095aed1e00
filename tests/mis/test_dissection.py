"""Network Dissection, against loops and against what can be worked out by hand."""

import dataclasses
import math

import dissection_oracles as oracles
import pytest
import torch
from torch import nn

from mis import Place
from mis.dissection.concepts import ConceptBatch, ConceptSpec, segment
from mis.dissection.detectors import dissect, summarize
from mis.dissection.quantiles import values_above
from mis.dissection.tallies import Tally

ENGINES = ["sparse", "dense"]
SPEC = ConceptSpec(("a", "b", "c", "d", "e"), ("pixel", "pixel", "other", "other", "scene"))


class Given(nn.Module):
    """A network whose layers give the maps that they are told to: an image is its number."""

    def __init__(self, *layers):
        super().__init__()
        self.maps = layers
        self.layers = nn.ModuleList(nn.Identity() for _ in layers)

    def forward(self, images):
        for maps, layer in zip(self.maps, self.layers, strict=True):
            layer(maps[images[:, 0, 0, 0].long()]).fill_(-1)  # as an in-place ReLU might
        return images


def given(*layers):
    return Given(*layers).eval()


def batches_of(pixel_labels, image_labels, size=64):
    images = torch.arange(len(pixel_labels)).float()[:, None, None, None].expand(-1, 3, 2, 2)
    data = [part.split(size) for part in (images, pixel_labels, image_labels)]
    return lambda: (ConceptBatch(*parts) for parts in zip(*data, strict=True))


def random_data(seed, n=12, units=6, cells=(3, 4), size=(9, 11), ties=False):
    """Maps with a dead, a constant, a negative and a rare unit; labels in two maps."""
    draw = torch.Generator().manual_seed(seed)
    maps = torch.randn(n, units, *cells, generator=draw)
    if ties:
        maps = maps.mul(2).round()
    maps = maps.relu()
    maps[:, 0] = 0
    maps[:, 1] = 3
    maps[:, 2] = -1 - maps[:, 3]
    maps[:, 3] *= maps[:, 3] >= maps[:, 3].max()
    labels = torch.randint(0, 3, (n, 2, *size), generator=draw)
    labels[:, 1] = torch.where(labels[:, 1] > 0, labels[:, 1] + 2, 0)
    labels[: n // 3, 1] = 0  # images that carry no concept of "other"
    scenes = torch.zeros(n, 5, dtype=torch.bool)
    scenes[::2, 4] = True
    return maps, labels, scenes


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "place",
    [(0.125, 0.25), (0.3, 0.25), (0.03, 0.3), (-0.2, 0.21), (0.5, 2.0), (0.9, 0.5)],
)
def test_moved_masks_equal_a_triple_loop(engine, place):
    """Cells beyond either edge of the picture, all near one edge, and closer than pixels."""
    maps, labels, scenes = random_data(0, cells=(4, 4), size=(9, 11))
    places = {"layers.0": Place(*place)}
    found = dissect_given(maps, labels, scenes, engine=engine, places=places)
    k = values_above(len(maps) * 16, 0.1)
    limits = [oracles.threshold(maps[:, unit].flatten(), k) for unit in range(6)]
    category_of = SPEC.category_of.tolist()
    expected = oracles.iou(maps, limits, labels, scenes, category_of, place)
    assert found.iou["layers.0"].tolist() == [pytest.approx(row, abs=1e-12) for row in expected]
    stretched = dissect_given(maps, labels, scenes, engine=engine)
    same = torch.allclose(stretched.iou["layers.0"], found.iou["layers.0"])
    assert same == (place == (0.125, 0.25))  # where four cells that share the picture lie


def test_layers_of_one_size_may_lie_differently():
    maps, labels, scenes = random_data(1, cells=(4, 4), size=(9, 12))
    places = {"layers.0": Place(0.125, 0.25), "layers.1": Place(0.3, 0.2)}
    both = dissect_given((maps, maps), labels, scenes, places=places)
    for layer, place in places.items():
        alone = dissect_given(maps, labels, scenes, places={"layers.0": place})
        assert torch.equal(both.iou[layer], alone.iou["layers.0"])
    with pytest.raises(ValueError, match=r"places must have every layer .* \['layers.1'\] are not"):
        dissect_given((maps, maps), labels, scenes, places={"layers.0": Place(0.1, 0.2)})


def dissect_given(maps, labels, scenes, spec=SPEC, *, quantile=0.1, size=64, **more):
    maps = maps if isinstance(maps, tuple) else (maps,)
    return dissect(
        given(*maps),
        [f"layers.{i}" for i in range(len(maps))],
        batches_of(labels, scenes, size),
        spec,
        n_images=len(labels),
        quantile=quantile,
        **more,
    )


@pytest.mark.parametrize("engine", ENGINES)
def test_by_hand(engine):
    """One unit, 2 x 2 maps of three images as large as the labels, threshold 2.

    The mask is the first cell of every image. Concept 0 is on the top row of image 0 and the last
    pixel of image 2: 1 shared, 2 active (images 0 and 2), 3 labelled: 1 / 4. Concept 1 is on the
    first pixel of image 1: 1 / 1.
    """
    maps = torch.tensor([[[4, 1], [0, 0]], [[3, 0], [0, 0]], [[2.9, 0], [0, 0]]])[:, None]
    spec = ConceptSpec(("zero", "one"), ("first", "second"))
    labels = torch.zeros(3, 1, 2, 2, dtype=torch.int64)
    labels[0, 0, 0] = 1
    labels[2, 0, 1, 1] = 1
    labels[1, 0, 0, 0] = 2
    batch = ConceptBatch(torch.zeros(3, 3, 2, 2), labels, torch.zeros(3, 2, dtype=torch.bool))
    tally = Tally(spec, [torch.tensor([2.0])], engine)
    tally.see(0, maps, segment(batch, spec))
    tally.count(segment(batch, spec))
    assert tally.shared.tolist() == [[1, 1]]
    assert tally.active.tolist() == [[2, 1]]
    assert tally.concept.tolist() == [3, 1]
    assert tally.iou().tolist() == [[0.25, 1.0]]
    # 3 of 12 values: the threshold lies between 2.9 and 1 and makes the same mask.
    found = dissect_given(maps, labels, batch.image_labels, spec, quantile=0.25, engine=engine)
    assert found.threshold.item() == pytest.approx(1.95)
    assert found.concept.tolist() == [1] and found.category.tolist() == [1]
    assert found.best_iou.tolist() == [1.0]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("sizes", [((3, 4), (9, 11)), ((2, 2), (8, 8)), ((7, 7), (5, 7))])
@pytest.mark.parametrize("seed,ties", [(0, False), (1, False), (2, True), (3, True)])
def test_iou_equals_a_triple_loop(engine, sizes, seed, ties):
    cells, size = sizes
    if ties and size == (9, 11):
        size = (6, 16)  # weights that float32 holds exactly: ties stay ties
    if ties and size == (5, 7):
        size = (7, 7)
    maps, labels, scenes = random_data(seed, cells=cells, size=size, ties=ties)
    found = dissect_given(maps, labels, scenes, engine=engine)
    k = values_above(len(maps) * cells[0] * cells[1], 0.1)
    limits = [oracles.threshold(maps[:, unit].flatten(), k) for unit in range(6)]
    assert found.threshold.tolist() == pytest.approx(limits)
    category_of = SPEC.category_of.tolist()
    expected = oracles.iou(maps, limits, labels, scenes, category_of)
    assert torch.tensor(expected, dtype=torch.float64).sum() > 0.1
    torch.testing.assert_close(
        found.iou["layers.0"], torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-6
    )
    best = torch.tensor(expected).amax(1).tolist()
    assert found.best_iou[3:].tolist() == pytest.approx(best[3:])
    assert found.best_iou[:3].tolist() == [0, 0, 0] and found.concept[:3].tolist() == [-1] * 3
    for unit in range(3, 6):
        assert found.concept[unit] == expected[unit].index(max(expected[unit]))
    assert found.dead.tolist() == [True, False, True, False, False, False]
    assert found.constant.tolist() == [False, True, False, False, False, False]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("sizes", [((4, 4), (32, 32)), ((1, 1), (5, 5)), ((16, 16), (24, 8))])
def test_the_engines_count_the_same(seed, sizes):
    cells, size = sizes
    maps, labels, scenes = random_data(seed, n=40, units=20, cells=cells, size=size)
    counts = []
    for engine in ENGINES:
        tally = Tally(SPEC, [maps[:, :, 0, 0].quantile(0.8, dim=0)], engine)
        for batch in batches_of(labels, scenes, 16)():
            ids = batch.images[:, 0, 0, 0].long()
            tally.see(0, maps[ids], segment(batch, SPEC))
            tally.count(segment(batch, SPEC))
        counts.append((tally.shared, tally.active, tally.concept))
    for sparse, dense in zip(*counts, strict=True):
        assert torch.equal(sparse, dense) and sparse.sum() > 0


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_batches_and_memory_order_do_not_matter(memory_format):
    maps, labels, scenes = random_data(5, n=40)
    whole = dissect_given(maps, labels, scenes)
    split = dissect_given(
        maps.contiguous(memory_format=memory_format), labels, scenes, size=3, quantile=0.1
    )
    assert torch.equal(whole.iou["layers.0"], split.iou["layers.0"])
    assert torch.equal(whole.threshold, split.threshold)


@pytest.mark.parametrize("seed", range(3))
def test_a_network_runs_again_only_for_what_memory_does_not_hold(monkeypatch, seed):
    """To the same counts. At first nothing is known: small batches are not kept."""
    maps, labels, scenes = random_data(seed, n=600, units=20, cells=(4, 5))
    other = random_data(seed + 9, n=600, units=7, cells=(2, 2))[0]
    found, runs = [], []
    for limit in (0, 40_000, 200_000, 2**31):
        monkeypatch.setattr("mis.dissection.detectors.KEPT_BYTES", limit)
        network = given(maps, other)
        seen = []
        network.register_forward_hook(lambda *_, seen=seen: seen.append(1))
        batches = batches_of(labels, scenes, 25)
        layers = ["layers.0", "layers.1"]
        found.append(dissect(network, layers, batches, SPEC, n_images=600, quantile=0.05))
        runs.append(len(seen) - 24)
    for each in found[1:]:
        assert all(torch.equal(each.iou[layer], found[0].iou[layer]) for layer in layers)
        assert torch.equal(each.concept, found[0].concept)
    assert found[0].best_iou.sum() > 0
    assert runs[0] == 24 > runs[1] > runs[2] > runs[3] == 1


def test_batches_must_be_the_same_in_both_passes():
    maps, labels, scenes = random_data(0)
    sizes = iter((12, 5))
    with pytest.raises(ValueError, match="the same batches, but batch 0 has 5 images in the sec"):
        dissect(
            given(maps),
            ["layers.0"],
            lambda: batches_of(labels, scenes, next(sizes))(),
            SPEC,
            n_images=12,
            quantile=0.1,
        )


def test_constant_maps_are_on_nowhere():
    """Resized, a constant may exceed itself by rounding: the mask would be noise."""
    maps = torch.full((4, 200, 7, 7), 1.0) * torch.rand(200)[:, None, None]
    _, labels, scenes = random_data(0, n=4)
    for engine in ENGINES:
        found = dissect_given(maps, labels, scenes, engine=engine)
        assert found.iou["layers.0"].sum() == 0 and found.constant.all()


def test_a_concept_without_a_pixel_is_empty_and_no_label():
    maps, labels, scenes = random_data(0)
    labels[labels == 2] = 0
    found = dissect_given(maps, labels, scenes)
    assert found.empty_concepts == ("b",)
    assert (found.iou["layers.0"][:, 1] == 0).all() and not (found.concept == 1).any()


def test_layers_are_read_after_what_they_go_through():
    maps, labels, scenes = random_data(0)
    signed = torch.where(maps > 0, maps, -1 - maps)
    plain = dissect_given(maps, labels, scenes)
    rectified = dissect_given(signed, labels, scenes, through={"layers.0": torch.relu_})
    assert torch.equal(plain.threshold[3:], rectified.threshold[3:])
    assert torch.equal(plain.iou["layers.0"][3:], rectified.iou["layers.0"][3:])


def planted(seed=0, n=200):
    """Squares of three concepts, each on half of the images; three units that are low-resolution
    copies of their maps, and three that are so on other images."""
    draw = torch.Generator().manual_seed(seed)
    corner = torch.randint(0, 7, (n, 3, 2), generator=draw) * 4
    labels = torch.zeros(n, 3, 32, 32, dtype=torch.int64)
    maps = torch.rand(n, 6, 8, 8, generator=draw) * 0.01
    for concept in range(3):
        for image in torch.randperm(n, generator=draw)[: n // 2].tolist():
            y, x = corner[image, concept].tolist()
            labels[image, concept, y : y + 8, x : x + 8] = concept + 1
            maps[image, concept, y // 4 : y // 4 + 2, x // 4 : x // 4 + 2] += 1
    maps[:, 3:] = maps[torch.randperm(n, generator=draw), :3]
    return maps, labels, torch.zeros(n, 3, dtype=torch.bool)


def test_planted_detectors_are_found_and_shuffled_ones_are_not():
    maps, labels, scenes = planted()
    spec = ConceptSpec(("x", "y", "z"), ("one", "two", "three"))
    found = dissect_given(maps, labels, scenes, spec, quantile=4 / 64 / 2)
    assert found.concept[:3].tolist() == [0, 1, 2]
    assert (found.best_iou[:3] > 0.85).all()  # all but the corners, which resizing rounds off
    # Two such squares anywhere share about 8 % of their pixels, on half of the images.
    assert (found.best_iou[3:] < 0.1).all()


def test_summary_counts_detectors():
    found = dissect_given(random_data(1)[0], *random_data(1)[1:])
    found = dataclasses.replace(
        found,
        layers=("one", "two"),
        layer_of=torch.tensor([0, 0, 0, 1, 1, 1]),
        best_iou=torch.tensor([0, 0, 0.04, 0.5, 0.03, 0.2], dtype=torch.float64),
        concept=torch.tensor([-1, -1, 0, 0, 4, 2]),
        category=torch.tensor([-1, -1, 0, 0, 2, 1]),
        dead=torch.tensor([True, False, False, False, False, False]),
        constant=torch.tensor([False, True, False, False, False, False]),
    )
    metrics = summarize(found)
    assert metrics == {
        "dissection/interpretable": 3,
        "dissection/unique": 2,
        "dissection/n_units": 6,
        "dissection/n_dead": 1,
        "dissection/n_constant": 1,
        "dissection/fraction": 0.5,
        "dissection/fraction_alive": 0.75,
        "dissection/iou_p50": pytest.approx(0.12),
        "dissection/iou_p90": pytest.approx(0.41),
        "dissection/iou_max": 0.5,
        "dissection/pixel/interpretable": 2,
        "dissection/pixel/unique": 1,
        "dissection/other/interpretable": 1,
        "dissection/other/unique": 1,
        "dissection/scene/interpretable": 0,
        "dissection/scene/unique": 0,
        "dissection/one/interpretable": 1,
        "dissection/one/unique": 1,
        "dissection/two/interpretable": 2,
        "dissection/two/unique": 2,
    }


def test_all_units_dead():
    maps, labels, scenes = random_data(0)
    metrics = summarize(dissect_given(torch.zeros_like(maps), labels, scenes))
    assert metrics["dissection/n_dead"] == 6 and metrics["dissection/interpretable"] == 0
    assert math.isnan(metrics["dissection/fraction_alive"])
    assert math.isnan(metrics["dissection/iou_max"])


def test_several_layers_at_once_are_each_as_alone():
    maps, labels, scenes = random_data(0)
    other = random_data(1, units=4, cells=(5, 5))[0]
    both = dissect_given((maps, other), labels, scenes)
    assert both.layer_of.tolist() == [0] * 6 + [1] * 4
    assert both.channel.tolist() == [0, 1, 2, 3, 4, 5, 0, 1, 2, 3]
    assert torch.equal(both.iou["layers.0"], dissect_given(maps, labels, scenes).iou["layers.0"])
    assert torch.equal(both.iou["layers.1"], dissect_given(other, labels, scenes).iou["layers.0"])
    assert torch.equal(both.best_iou, torch.cat([both.best_iou[:6], both.best_iou[6:]]))


def refused(match, maps=None, labels=None, scenes=None, error=ValueError, **more):
    data = random_data(0)
    maps, labels, scenes = (
        own if mine is None else mine
        for mine, own in zip((maps, labels, scenes), data, strict=True)
    )
    with pytest.raises(error, match=match):
        dissect_given(maps, labels, scenes, **more)


def test_labels_that_do_not_fit_are_refused():
    maps, labels, scenes = random_data(0)
    refused(r"must lie in 0 … 5 \(the number of concepts\), got 2 … 6", labels=labels + 2)
    refused(r"must be int32 or int64 \[12, maps, H, W\], got torch.float32", labels=labels.float())
    refused(r"12 images and 5 concepts must be bool \[12, 5\]", scenes=scenes[:, :3])
    twice = labels.clone()
    twice[:, 1] = twice[:, 0]
    refused("a pixel must show a concept once, 'a' is on one twice", labels=twice)
    scenes[3, 0] = True
    refused("a pixel must show a concept once, 'a' is on one twice", scenes=scenes)
    nothing = torch.zeros_like(labels), torch.zeros_like(scenes)
    refused("none of the 12 carries any", labels=nothing[0], scenes=nothing[1])


def test_too_few_images_for_the_quantile():
    refused("0.005 needs at least 17 images at the 3 x 4 maps of layer 'layers.0', got 12",
            quantile=0.005)  # fmt: skip


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_activations_that_are_not_finite_are_named(value):
    maps = random_data(0)[0]
    maps[7, 4, 1, 1] = value
    refused("channel 4 of layer 'layers.0' is NaN or infinite", maps, error=FloatingPointError)


def test_settings_are_refused():
    refused(r"quantile must lie in \(0, 1\) and iou in \(0, 1\], got 1 and 0.04", quantile=1.0)
    refused(r"got 0.1 and 0$", iou=0.0)
    refused(r"through must name layers that are read, \['x'\] are not", through={"x": abs})
    refused("engine must be 'sparse' or 'dense', got 'fast'", engine="fast")


def test_networks_and_layers_are_refused():
    maps, labels, scenes = random_data(0)
    batches = batches_of(labels, scenes)

    def run(network, layers, n_images=12):
        dissect(network, layers, batches, SPEC, n_images=n_images, quantile=0.1)

    with pytest.raises(ValueError, match=r"no module 'layer.0'; it has .*layers.0"):
        run(given(maps), ["layer.0"])
    with pytest.raises(ValueError, match="must be in eval mode"):
        run(given(maps).train(), ["layers.0"])
    with pytest.raises(ValueError, match=r"must give \[batch, channel, h, w\], got \(12, 6\)"):
        run(given(maps[..., 0, 0]), ["layers.0"])
    network = given(maps, maps)
    network.layers[1] = network.layers[0]
    with pytest.raises(ValueError, match="must run once a pass, 'layers.0' runs more often"):
        run(network, ["layers.0"])
    network = given(maps)
    network.unused = nn.Identity()
    with pytest.raises(ValueError, match=r"must run once a pass, \['unused'\] did not"):
        run(network.eval(), ["unused"])
    for n_images, came in ((13, "12 came"), (11, "more came")):
        with pytest.raises(ValueError, match=f"must see n_images = {n_images} images, {came}"):
            run(given(maps), ["layers.0"], n_images)
    hooks = [len(module._forward_hooks) for module in network.modules()]
    assert sum(hooks) == 0


def test_specs_are_refused():
    with pytest.raises(ValueError, match="every concept needs a name and a category"):
        ConceptSpec((), ())
    with pytest.raises(ValueError, match="got 2 names and 1 categories"):
        ConceptSpec(("a", "b"), ("x",))
    with pytest.raises(ValueError, match="'a' comes twice"):
        ConceptSpec(("a", "a"), ("x", "y"))
    assert SPEC.categories == ("pixel", "other", "scene")
    assert SPEC.category_of.tolist() == [0, 0, 1, 1, 2]

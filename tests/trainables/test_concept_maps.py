"""The generated images as a source of concepts, and a unit that was made to detect one."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mis import collect_extremes, load_similarity, score_units
from mis.dissection.concepts import ConceptBatch
from mis.dissection.detectors import dissect
from trainables.config import DataConfig
from trainables.datasets import concepts
from trainables.datasets.concept_maps import generated_concepts


def config(**changes):
    return DataConfig(**{"pixels": 64, "probe_images": 120, **changes})


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return generated_concepts(config(), tmp_path_factory.mktemp("cache"))


def test_concepts_are_those_of_the_data_set(source):
    names = [name for names in concepts.CONCEPTS.values() for name in names]
    assert list(source.spec.names) == names
    assert source.spec.categories == ("shape", "texture", "colour", "scene")
    assert len(source) == 120


def test_maps_are_those_the_images_were_drawn_with(source):
    drawn = concepts.draw("probe", 120)
    parts = list(source.batches(50))
    assert [len(ids) for ids, *_ in parts] == [50, 50, 20]
    ids, images, labels, scenes = (torch.cat(part) for part in zip(*parts, strict=True))
    assert ids.tolist() == list(range(120))
    assert images.dtype == torch.uint8 and labels.dtype == torch.int64
    assert np.array_equal(images.permute(0, 2, 3, 1), drawn.images)
    names = ("none", *source.spec.names)
    for image in range(0, 120, 7):
        here = [names[i + 1] for i in scenes[image].nonzero().flatten().tolist()]
        assert here == [concepts.SCENES[drawn.scene[image] - 1]]
        for y, x in ((5, 60), (32, 32), (20, 40), (40, 25)):
            shown = [names[label] for label in labels[image, :, y, x].tolist()]
            maps = (drawn.shape, drawn.texture, drawn.colour)
            for name, map_, known in zip(
                shown, maps, (concepts.SHAPES, concepts.TEXTURES, concepts.COLOURS), strict=True
            ):
                value = map_[image, y, x]
                assert name == (known[value - 1] if value else "none")


def test_the_digest_tells_sources_apart(source, tmp_path):
    again = generated_concepts(config(), tmp_path)
    fewer = generated_concepts(config(probe_images=100), tmp_path)
    assert again.digest == source.digest != fewer.digest


def test_other_data_sets_have_no_maps(tmp_path):
    with pytest.raises(ValueError, match="data.name must be 'concepts', got 'image_folder'"):
        generated_concepts(DataConfig(name="image_folder", path="x"), tmp_path)


class Planted(nn.Module):
    """Units that see the answer: coarse copies of concept maps, right and of other images."""

    def __init__(self, maps):
        super().__init__()
        self.maps, self.units = maps, nn.Identity()

    def forward(self, ids):
        return self.units(self.maps[ids[:, 0, 0, 0].long()])


def planted(source, concept):
    """One batch of all images, and a unit that is a coarse copy of a concept's maps, another that
    is so of other images' maps: (batch, network, share of positions that are on)."""
    ids, _, labels, scenes = next(iter(source.batches(len(source))))
    shown = (labels == concept + 1).any(1) | scenes[:, concept, None, None]
    coarse = F.adaptive_avg_pool2d(shown.float()[:, None], 32)
    noise = torch.rand(coarse.shape, generator=torch.Generator().manual_seed(0)) * 1e-3
    maps = torch.cat([coarse + noise, (coarse + noise).roll(1, 0)], 1)
    numbers = ids.float()[:, None, None, None].expand(-1, 3, 1, 1)
    share = round(float((coarse > 0.5).float().mean()), 5)
    return ConceptBatch(numbers, labels, scenes), Planted(maps).eval(), share


@pytest.mark.parametrize("name", ["square", "stripes", "blue", "night"])
def test_a_planted_detector_is_found(source, name):
    concept = source.spec.names.index(name)
    batch, network, share = planted(source, concept)
    found = dissect(
        network, ["units"], lambda: iter([batch]), source.spec, n_images=120, quantile=share
    )
    assert found.concept[0] == concept
    assert found.spec.categories[found.category[0]] == source.spec.category[concept]
    assert found.best_iou[0] > 0.85
    assert found.best_iou[1] < 0.25


def test_planted_detectors_are_clear_and_those_of_other_images_are_not(source):
    """By MIS in the embedded perceptual space: one unit a concept, in one network."""
    units = [planted(source, concept) for concept in range(len(source.spec.names))]
    batch = units[0][0]
    network = Planted(torch.cat([network.maps for _, network, _ in units], 1)).eval()
    extremes = collect_extremes(
        network,
        ["units"],
        [(torch.arange(120), batch.images)],
        depth=12,
        priority=torch.randperm(120, generator=torch.Generator().manual_seed(0)),
    )
    images = torch.cat([part[1] for part in source.batches(60)])
    vectors = load_similarity("efficientnet_lite0").embed(images)
    scores = score_units(
        extremes, vectors, slope=20, n_tasks=4, k=2, generator=torch.Generator().manual_seed(0)
    )
    of_own, of_others = scores.mis.unflatten(0, (-1, 2)).unbind(1)
    assert of_own.mean() > 0.65 and abs(of_others.mean() - 0.5) < 0.08
    for name in ("bar", "dots", "night"):
        assert of_own[source.spec.names.index(name)] > 0.65

"""Images to vectors. DreamSim's own weights cannot be had here: its package is played."""

import math
import sys
import types
import urllib.error

import pytest
import torch
import torch.nn.functional as F

from mis.score import similarity
from mis.score.efficientnet import load_efficientnet_lite0
from mis.score.margins import task_margins
from mis.score.similarity import SIMILARITIES, calibrate_slope, load_similarity, lpips_vectors
from mis.score.tasks import Tasks


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def photos(n=3, size=48, seed=0):
    """Smooth random pictures: uint8 [n, 3, size, size]."""
    coarse = torch.rand(n, 3, 6, 6, generator=generator(seed))
    return (F.interpolate(coarse, (size, size), mode="bilinear") * 255).to(torch.uint8)


class FakeDreamSim:
    def __init__(self):
        self.seen = None

    def embed(self, images):
        self.seen = images
        return F.normalize(images.mean((2, 3)) - 0.5, dim=1)


@pytest.fixture
def played(monkeypatch, tmp_path):
    """A `dreamsim` package that downloads nothing; remembers how it was called."""
    calls = {"network": FakeDreamSim()}

    def dreamsim(pretrained=False, device="cuda", cache_dir="./models", normalize_embeds=False):
        calls["arguments"] = (pretrained, device, normalize_embeds)
        calls["cache"] = cache_dir
        torch.hub.set_dir(cache_dir)  # of the whole process, as the package does
        return calls["network"], None

    module = types.ModuleType("dreamsim")
    module.dreamsim = dreamsim
    monkeypatch.setitem(sys.modules, "dreamsim", module)
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "not" / "yet"))
    return calls


def test_dreamsim_leaves_torchs_folder_where_it_was(played, tmp_path, monkeypatch):
    for _ in range(2):  # the second load finds what the first one downloaded
        load_similarity("dreamsim")
        assert torch.hub.get_dir() == str(tmp_path / "not" / "yet")
        assert played["cache"] == str(tmp_path / "not" / "yet" / "dreamsim")

    def fails(**settings):
        torch.hub.set_dir(settings["cache_dir"])
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(sys.modules["dreamsim"], "dreamsim", fails)
    with pytest.raises(ValueError, match="weights of dreamsim must be in"):
        load_similarity("dreamsim")
    assert torch.hub.get_dir() == str(tmp_path / "not" / "yet")


def test_dreamsim_is_called_as_its_package_asks(played, tmp_path):
    found = load_similarity("dreamsim")
    assert played["arguments"] == (True, "cpu", True)
    assert played["cache"] == str(tmp_path / "not" / "yet" / "dreamsim")
    assert (tmp_path / "not" / "yet" / "dreamsim").is_dir()  # the package makes one level only
    images = photos(4, 32)
    images[0, :, :16] = 255  # a sharp edge: bicubic overshoots
    images[0, :, 16:] = 0
    vectors = found.embed(images)
    seen = played["network"].seen
    assert seen.shape == (4, 3, 224, 224) and seen.dtype == torch.float32
    assert seen.min() == 0 and seen.max() == 1
    assert vectors.shape == (4, 3) and vectors.dtype == torch.float32
    assert torch.allclose(vectors.norm(dim=1), torch.ones(4), atol=1e-6)
    assert found.metric == "cosine" and found.slope == pytest.approx(6.25)


def test_dreamsims_resize_is_pils_to_one_level(played):
    """Its own preprocessing resizes PIL pictures, shrinking with a wider kernel."""
    image = pytest.importorskip("PIL.Image")
    from torchvision.transforms.functional import pil_to_tensor, to_pil_image

    picture = photos(1, 300)
    load_similarity("dreamsim").embed(picture)
    expected = pil_to_tensor(to_pil_image(picture[0]).resize((224, 224), image.BICUBIC))
    seen = played["network"].seen[0] * 255
    assert (seen - expected).abs().max() <= 1.001


@pytest.mark.parametrize("extra", ["dreamsim", "lpips"])
def test_a_missing_extra_says_how_to_get_it(extra, monkeypatch):
    monkeypatch.setitem(sys.modules, extra, None)
    with pytest.raises(ValueError, match=f"uv sync --extra {extra}"):
        load_similarity(extra)


def test_an_unknown_name_lists_the_legal_ones():
    with pytest.raises(ValueError, match="one of efficientnet_lite0, dreamsim, lpips, pixels"):
        load_similarity("clip")


@pytest.fixture(scope="module")
def embedded():
    return {name: load_similarity(name) for name in ("efficientnet_lite0", "pixels")}


@pytest.mark.parametrize("name", ["efficientnet_lite0", "pixels"])
def test_embeddings_are_unit_vectors_and_always_the_same(name, embedded):
    found = embedded[name]
    images = photos()
    before = images.clone()
    vectors = found.embed(images)
    assert found.name == name and found.slope is None and found.metric == "cosine"
    assert vectors.ndim == 2 and len(vectors) == 3 and vectors.dtype == torch.float32
    assert torch.allclose(vectors.norm(dim=1), torch.ones(3), atol=1e-6)
    assert torch.equal(found.embed(images), vectors)
    assert torch.equal(images, before)
    assert not vectors.requires_grad
    one_by_one = torch.cat([found.embed(images[i : i + 1]) for i in range(3)])
    assert torch.allclose(one_by_one, vectors, atol=1e-5)
    assert (vectors @ vectors.T)[0, 1] < 0.999  # different images, different vectors


@pytest.mark.parametrize("name", SIMILARITIES)
def test_images_of_other_types_are_refused(name, embedded, played, monkeypatch):
    if name == "lpips":
        pytest.importorskip("lpips")
        with_random_backbone(monkeypatch)
    found = embedded[name] if name in embedded else load_similarity(name)
    for wrong in (photos().float(), photos()[0], photos()[:, :1]):
        with pytest.raises(ValueError, match=r"must be uint8 \[batch, 3, h, w\]"):
            found.embed(wrong)


def test_pixels_compare_by_correlation(embedded):
    images = photos(2, 32)
    correlation = torch.corrcoef(images.flatten(1).double())[0, 1]
    vectors = embedded["pixels"].embed(images)
    assert float(vectors[0] @ vectors[1]) == pytest.approx(float(correlation), abs=1e-5)


def test_pixels_of_large_images_are_compared_when_they_are_small(embedded):
    """224 pixels a side would be 150,528 numbers an image: 30 GB for 50,000 of them."""
    images = photos(2, 224)
    correlation = torch.corrcoef(images.flatten(1).double())[0, 1]
    vectors = embedded["pixels"].embed(images)
    assert vectors.shape == (2, 3 * 32 * 32 + 1)
    assert float(vectors[0] @ vectors[1]) == pytest.approx(float(correlation), abs=0.01)


@pytest.mark.parametrize("size", [32, 100])
def test_by_pixels_an_image_of_one_grey_is_like_others_of_one_grey_alone(size, embedded):
    images = photos(4, size)
    images[1], images[3] = 77, 200
    vectors = embedded["pixels"].embed(images)
    assert torch.allclose(vectors.norm(dim=1), torch.ones(4), atol=1e-6)
    products = vectors @ vectors.T
    assert products[1, 3] == 1 and (products[1, [0, 2]] == 0).all()
    assert 0.01 < abs(products[0, 2]) < 0.99


def test_lite0_weights_are_loaded_as_data_only(monkeypatch):
    """weights_only: a checkpoint must not be able to run code."""
    seen, load = {}, torch.load

    def spy(*args, **kwargs):
        seen.update(kwargs)
        return load(*args, **kwargs)

    monkeypatch.setattr(torch, "load", spy)
    network = load_efficientnet_lite0()
    assert seen["weights_only"] is True
    assert not network.training and not any(p.requires_grad for p in network.parameters())
    assert network.features(torch.zeros(1, 3, 64, 64)).shape == (1, 1280)


def test_lite0_sees_a_ball():
    """An orange disk on blue: ImageNet class 722, "ping-pong ball", by the network whose top-1 was
    measured by hand (.885 of 200 ImageNet photos). Padding on the wrong side makes it class 549,
    BatchNorm's usual epsilon makes the probability .168."""
    x = torch.linspace(-1, 1, 224)
    disk = (x.square() + x.square().unsqueeze(1)).sqrt() < 0.6
    ball = torch.stack([255.0 * disk, 60 + 60.0 * disk, 255.0 * ~disk]).unsqueeze(0)
    probability = load_efficientnet_lite0()((ball - 127) / 128).softmax(dim=1)[0]
    assert int(probability.argmax()) == 722
    assert float(probability[722]) == pytest.approx(0.2127, abs=0.005)


def test_lite0_needs_sizes_its_padding_is_right_for():
    with pytest.raises(ValueError, match="multiples of 32, got 96 x 100"):
        load_efficientnet_lite0().features(torch.zeros(1, 3, 96, 100))


def test_slope_is_one_over_the_spread_of_random_margins():
    vectors = F.normalize(torch.randn(60, 5, generator=generator(), dtype=torch.float64), dim=1)
    slope = calibrate_slope(vectors, k=2, generator=generator(1), n_draws=20_000)
    draws = [torch.randperm(60, generator=generator(7 + i))[:6] for i in range(4000)]
    plus, minus, queries = torch.stack(draws).unsqueeze(1).split(2, dim=2)
    tasks = Tasks(plus, minus, queries[..., 0], queries[..., 1])
    assert slope == pytest.approx(1 / float(task_margins(tasks, vectors).std()), rel=0.05)
    again = calibrate_slope(vectors, k=2, generator=generator(1), n_draws=20_000)
    assert again == slope


@pytest.mark.parametrize("n_images", [20, 21, 57])
def test_a_slope_is_calibrated_on_tasks_without_repeats(n_images, monkeypatch):
    seen = []

    def spy(tasks, vectors, metric):
        fields = (
            tasks.plus,
            tasks.minus,
            tasks.plus_query[..., None],
            tasks.minus_query[..., None],
        )
        seen.append(torch.cat(fields, dim=2))
        return task_margins(tasks, vectors, metric=metric)

    monkeypatch.setattr(similarity, "task_margins", spy)
    vectors = F.normalize(torch.randn(n_images, 4, generator=generator()), dim=1)
    calibrate_slope(vectors, generator=generator(), n_draws=500)
    images = seen[0].flatten(0, 1)
    assert len(images) >= 500 and images.shape[1] == 20
    assert all(len(set(row)) == 20 for row in images.tolist())


def test_a_slope_needs_enough_different_images():
    same = F.normalize(torch.ones(30, 4), dim=1)
    with pytest.raises(ValueError, match="vectors that differ"):
        calibrate_slope(same, generator=generator(), n_draws=100)
    with pytest.raises(ValueError, match="20 images are needed, got k 9, 19 images"):
        calibrate_slope(same[:19], generator=generator())


def with_random_backbone(monkeypatch):
    """AlexNet's weights are a download; the linear heads are in the package."""
    lpips = pytest.importorskip("lpips")
    made = lpips.LPIPS

    def random_backbone(**kwargs):
        torch.manual_seed(0)
        return made(**kwargs, pnet_rand=True)

    monkeypatch.setattr(lpips, "LPIPS", random_backbone)


@pytest.mark.parametrize("net", ["alex", "squeeze"])
def test_lpips_vectors_have_the_lpips_distance(net):
    lpips = pytest.importorskip("lpips")
    torch.manual_seed(0)
    network = lpips.LPIPS(net=net, pnet_rand=True, verbose=False)
    images = torch.rand(6, 3, 64, 64, generator=generator()) * 2 - 1
    with torch.no_grad():
        expected = network(images[:3], images[3:]).flatten()
        vectors = lpips_vectors(network, images)
    distance = (vectors[:3] - vectors[3:]).pow(2).sum(dim=1)
    assert expected.min() > 1e-3
    assert torch.allclose(distance, expected, rtol=1e-5, atol=1e-5)


def test_lpips_similarity_is_minus_the_distance(monkeypatch):
    with_random_backbone(monkeypatch)
    found = load_similarity("lpips")
    vectors = found.embed(photos(2, 64))
    assert found.metric == "neg_sq_distance" and found.slope is None
    assert vectors.shape == (2, 31_872) and vectors.dtype == torch.float32
    assert math.isfinite(float(vectors.sum()))


def test_lpips_refuses_heads_that_are_no_distance(monkeypatch):
    with_random_backbone(monkeypatch)
    network = sys.modules["lpips"].LPIPS(net="alex", verbose=False)
    network.lins[2].model[-1].weight.data[0, 5] = -0.1
    with pytest.raises(ValueError, match="no linear weight is negative"):
        lpips_vectors(network, torch.zeros(1, 3, 64, 64))


def test_a_download_that_fails_is_said_in_a_sentence(monkeypatch, tmp_path):
    def offline(**_):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setitem(sys.modules, "dreamsim", types.SimpleNamespace(dreamsim=offline))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(
        ValueError, match="weights of dreamsim must be in .* which failed: .*Name or"
    ):
        load_similarity("dreamsim")

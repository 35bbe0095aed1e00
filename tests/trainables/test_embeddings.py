"""The vectors of an image set: the same however often their making was interrupted."""

import threading

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mis import Similarity, calibrate_slope
from trainables.config import ScoreConfig
from trainables.datasets.images import ArrayImages
from trainables.scores import embeddings, similarity
from trainables.scores.embeddings import probe_vectors

CONFIG, CPU = ScoreConfig(n_explanations=3), torch.device("cpu")


class Embedder:
    """The mean colour of an image; counts images, and fails after some where told to."""

    def __init__(self):
        self.n_images, self.slope, self.fails_after = 0, None, None

    def load(self, name, device):
        return Similarity(name, self.slope, "cosine", self.embed)

    def embed(self, images):
        if self.fails_after is not None and self.n_images + len(images) > self.fails_after:
            raise RuntimeError("power cut")
        self.n_images += len(images)
        return F.normalize(images.float().mean((2, 3)) - 128, dim=1)


@pytest.fixture
def embedder(monkeypatch):
    played = Embedder()
    monkeypatch.setattr(similarity, "load_similarity", played.load)
    monkeypatch.setattr(embeddings, "CHUNK_IMAGES", 30)
    monkeypatch.setattr(embeddings, "BATCH_IMAGES", 8)
    return played


def probe(n=100):
    images = np.random.default_rng(0).integers(0, 256, (n, 8, 8, 3), dtype=np.uint8)
    return ArrayImages(images, torch.zeros(n, dtype=torch.int64), "a")


def expected():
    return Embedder().embed(torch.from_numpy(probe().images).permute(0, 3, 1, 2))


def names(cache):
    (folder,) = cache.iterdir()
    return sorted(path.name for path in folder.iterdir())


WHOLE = ["similarity-3.json", "vectors.npy"]


def test_chunks_are_joined_and_removed(tmp_path, embedder):
    steps = []
    found = probe_vectors(probe(), CONFIG, tmp_path, CPU, lambda *step: steps.append(step))
    assert torch.allclose(found.vectors, expected()) and found.metric == "cosine"
    assert found.vectors.dtype == torch.float32
    assert names(tmp_path) == WHOLE
    assert steps[0] == (8, 100) and steps[-1] == (100, 100)
    assert [done for done, _ in steps] == sorted({done for done, _ in steps})
    assert found.slope == pytest.approx(
        calibrate_slope(expected(), k=3, generator=torch.Generator().manual_seed(0))
    )


def test_the_file_is_as_it_was_whatever_is_done_to_the_tensor(tmp_path, embedder):
    probe_vectors(probe(), CONFIG, tmp_path, CPU).vectors.zero_()
    assert torch.allclose(probe_vectors(probe(), CONFIG, tmp_path, CPU).vectors, expected())


def test_what_was_interrupted_goes_on_at_the_first_missing_chunk(tmp_path, embedder):
    embedder.fails_after = 75
    with pytest.raises(RuntimeError, match="power cut"):
        probe_vectors(probe(), CONFIG, tmp_path, CPU)
    assert names(tmp_path) == ["chunk-000000.npy", "chunk-000001.npy"]
    embedder.fails_after, embedder.n_images = None, 0
    steps = []
    found = probe_vectors(probe(), CONFIG, tmp_path, CPU, lambda *step: steps.append(step))
    assert embedder.n_images == 40 and steps[0] == (68, 100)
    assert torch.allclose(found.vectors, expected()) and names(tmp_path) == WHOLE


def test_only_the_slope_is_missing(tmp_path, embedder, monkeypatch):
    """The machine went down between the two files."""

    def interrupted(*_args, **_settings):
        raise RuntimeError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(embeddings, "calibrate_slope", interrupted)
        with pytest.raises(RuntimeError, match="power cut"):
            probe_vectors(probe(), CONFIG, tmp_path, CPU)
    assert names(tmp_path) == ["vectors.npy"]
    embedder.n_images = 0
    found = probe_vectors(probe(), CONFIG, tmp_path, CPU)
    assert embedder.n_images == 0 and torch.allclose(found.vectors, expected())
    assert names(tmp_path) == WHOLE


def test_writers_at_once_do_not_meet(tmp_path, embedder):
    found, barrier = [], threading.Barrier(4)

    def work():
        barrier.wait()
        found.append(probe_vectors(probe(), CONFIG, tmp_path, CPU))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert all(torch.equal(f.vectors, found[0].vectors) for f in found)
    assert all(f.slope == found[0].slope for f in found)
    assert torch.allclose(found[0].vectors, expected())
    assert names(tmp_path)[-2:] == WHOLE


def test_another_process_was_faster(tmp_path, embedder, monkeypatch):
    """It joined the chunks and removed them while this one embedded its last."""
    join = embeddings._join

    def overtaken(folder, n_images):
        join(folder, n_images)
        embeddings._remove_parts(folder)
        join(folder, n_images)

    monkeypatch.setattr(embeddings, "_join", overtaken)
    found = probe_vectors(probe(), CONFIG, tmp_path, CPU)
    assert torch.allclose(found.vectors, expected()) and names(tmp_path) == WHOLE


def test_a_full_disk_is_said_before_it_is_filled(tmp_path, embedder, monkeypatch):
    asked = []

    def full(folder, n_bytes):
        asked.append(n_bytes)
        raise OSError("no room")

    monkeypatch.setattr(embeddings, "require_space", full)
    with pytest.raises(OSError, match="no room"):
        probe_vectors(probe(), CONFIG, tmp_path, CPU)
    assert asked == [2 * 100 * 3 * 4]
    assert not list(tmp_path.rglob("*.npy"))


def cut(path):
    path.write_bytes(path.read_bytes()[:-10])


def other_shape(path):
    np.save(path, np.zeros((99, 3), np.float32))


def empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("broken", [cut, other_shape, empty])
def test_vectors_that_are_broken_are_set_aside_and_made_anew(tmp_path, embedder, broken):
    probe_vectors(probe(), CONFIG, tmp_path, CPU)
    (folder,) = tmp_path.iterdir()
    broken(folder / "vectors.npy")
    embedder.n_images = 0
    with pytest.warns(UserWarning, match=r"vectors.npy cannot be used and is now vectors.npy.brok"):
        found = probe_vectors(probe(), CONFIG, tmp_path, CPU)
    assert embedder.n_images == 100 and torch.allclose(found.vectors, expected())
    assert names(tmp_path) == [*WHOLE, "vectors.npy.broken"]


@pytest.mark.parametrize(
    "text", ["", "{", "[1]", '{"slope": null, "metric": "cosine"}', '{"a": 1}']
)
def test_a_slope_that_is_broken_is_set_aside_and_made_anew(tmp_path, embedder, text):
    first = probe_vectors(probe(), CONFIG, tmp_path, CPU)
    (folder,) = tmp_path.iterdir()
    (folder / "similarity-3.json").write_text(text)
    with pytest.warns(UserWarning, match="similarity-3.json cannot be used"):
        assert probe_vectors(probe(), CONFIG, tmp_path, CPU).slope == first.slope
    assert probe_vectors(probe(), CONFIG, tmp_path, CPU).slope == first.slope


def test_a_chunk_that_is_broken_is_made_anew(tmp_path, embedder):
    embedder.fails_after = 75
    with pytest.raises(RuntimeError, match="power cut"):
        probe_vectors(probe(), CONFIG, tmp_path, CPU)
    (folder,) = tmp_path.iterdir()
    cut(folder / "chunk-000001.npy")
    embedder.fails_after, embedder.n_images = None, 0
    with pytest.warns(UserWarning, match="chunk-000001.npy cannot be used"):
        found = probe_vectors(probe(), CONFIG, tmp_path, CPU)
    assert embedder.n_images == 70 and torch.allclose(found.vectors, expected())


def test_an_error_that_may_pass_throws_nothing_away(tmp_path, embedder, monkeypatch):
    probe_vectors(probe(), CONFIG, tmp_path, CPU)
    for error in (OSError(116, "Stale file handle"), OSError(5, "I/O error"), MemoryError()):
        with monkeypatch.context() as patch:

            def fails(*_args, error=error, **_settings):
                raise error

            patch.setattr(np, "load", fails)
            with pytest.raises(type(error)):
                probe_vectors(probe(), CONFIG, tmp_path, CPU)
        assert names(tmp_path) == WHOLE


def test_a_join_that_was_killed_leaves_nothing_behind(tmp_path, embedder):
    probe_vectors(probe(), CONFIG, tmp_path, CPU)
    (folder,) = tmp_path.iterdir()
    for name in ("vectors.npy", "chunk-000002.npy"):
        (folder / f".{name}.{'0a' * 16}").write_bytes(bytes(100))
    (folder / "chunk-000002.npy").write_bytes(bytes(100))
    probe_vectors(probe(), CONFIG, tmp_path, CPU)
    assert names(tmp_path) == WHOLE


def test_the_vectors_do_not_depend_on_the_number_of_explanations(tmp_path, embedder):
    three = probe_vectors(probe(), CONFIG, tmp_path, CPU)
    embedder.n_images = 0
    four = probe_vectors(probe(), ScoreConfig(n_explanations=4), tmp_path, CPU)
    assert embedder.n_images == 0 and four.slope != three.slope
    assert names(tmp_path) == ["similarity-3.json", "similarity-4.json", "vectors.npy"]

"""What lies on the disk: whole files, a trial's results, the vectors that trials share."""

import json
import os
import uuid
from collections import namedtuple
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
import torchvision

from mis import Similarity, calibrate_slope
from trainables.artifacts import CHECKPOINT, EPOCHS, MASKS, NETWORK, UNITS
from trainables.config import NetworkConfig, PruneConfig, ScoreConfig, TrialConfig
from trainables.datasets.images import ArrayImages
from trainables.networks import build_network, network_arguments
from trainables.results import save_results
from trainables.rounds.pruned import PrunedNetwork
from trainables.scores.embeddings import probe_vectors
from trainables.scores.scoring import Scored
from trainables.workspace import Workspace, remove_partials, require_space, size_shown, whole_file


def test_whole_file_appears_when_all_went_well(tmp_path):
    path = tmp_path / "new" / "folder" / "units.json"
    with whole_file(path) as partial:
        partial.write_text("1")
        assert not path.exists() and partial.parent == path.parent
    assert path.read_text() == "1" and list(path.parent.iterdir()) == [path]


def test_whole_file_leaves_nothing_after_an_error(tmp_path):
    path = tmp_path / "units.json"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="half"), whole_file(path) as partial:
        partial.write_text("ne")
        raise RuntimeError("half way")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_two_writers_do_not_meet(tmp_path):
    path = tmp_path / "units.json"
    with whole_file(path) as first, whole_file(path) as second:
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first" and list(tmp_path.iterdir()) == [path]


def test_a_whole_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    path, synced = tmp_path / "units.json", []

    def fsync(descriptor):
        synced.append((os.readlink(f"/proc/self/fd/{descriptor}"), path.exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    with whole_file(path) as partial:
        partial.write_text("1")
    assert [name.rpartition("/")[2][:12] for name, _ in synced] == [
        ".units.json.",
        tmp_path.name[:12],
    ]
    assert [there for _, there in synced] == [False, True]


def test_what_killed_writers_left_is_removed_and_nothing_else(tmp_path):
    left = [tmp_path / f".{name}.{uuid.uuid4().hex}" for name in ("units.parquet", "a.png")]
    other = [tmp_path / name for name in (".hidden", ".a.b", "a.png", "units.parquet")]
    for path in (*left, *other):
        path.touch()
    remove_partials(tmp_path, "a.png")
    assert left[0].exists() and not left[1].exists()
    remove_partials(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(other)


def test_require_space_says_how_much_is_missing(tmp_path, monkeypatch):
    Usage = namedtuple("Usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(10e9, 8.5e9, 1.5e9))
    folder = tmp_path / "cache"
    require_space(folder, 1_500_000_000)
    assert folder.is_dir()
    with pytest.raises(OSError, match=r"cache needs 2.0 GB of free disk, it has 1.5 GB$"):
        require_space(folder, 2_000_000_000)


def test_a_tiny_disk_is_told_in_a_unit_that_shows_a_number():
    sizes = [0, 700, 12_345, 3_000_000, 4e9, 1.2e13]
    shown = ["0 bytes", "700 bytes", "12.3 kB", "3.0 MB", "4.0 GB", "12,000.0 GB"]
    assert [size_shown(size) for size in sizes] == shown


def test_a_trial_has_a_folder_of_its_own(tmp_path):
    workspace = Workspace(tmp_path)
    folders = {workspace.cache, workspace.trial("a"), workspace.trial("b")}
    assert len(folders) == 3 and all(tmp_path in folder.parents for folder in folders)


def test_the_files_of_a_trial_rebuild_its_network(tmp_path):
    config = NetworkConfig(weights="random", transform_input=True)
    network, arguments = build_network(config, 7), network_arguments(config, 7)
    pruned = PrunedNetwork(network, PruneConfig())
    pruned.hold({name: torch.rand(w.shape) < 0.5 for name, w in pruned.weights.items()})
    units = pd.DataFrame({"layer": ["conv1", "fc"], "channel": [0, 6], "mis": [0.5, float("nan")]})
    scored = Scored({}, units, None, {})
    save_results(tmp_path, TrialConfig(), arguments, pruned, scored, {EPOCHS: [{"epoch": 1.0}]})

    arguments = json.loads((tmp_path / NETWORK).read_text())
    again = getattr(torchvision.models, arguments.pop("name"))(weights=None, **arguments)
    again.load_state_dict(torch.load(tmp_path / CHECKPOINT, weights_only=True))
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(again.eval()(images), network.eval()(images))
    masks = torch.load(tmp_path / MASKS, weights_only=True)
    assert torch.equal(masks["conv2.conv.weight"], pruned.keep["conv2.conv.weight"])
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / UNITS), units)
    assert pd.read_parquet(tmp_path / EPOCHS)["epoch"].tolist() == [1.0]
    assert json.loads((tmp_path / "config.json").read_text())["data.name"] == "concepts"


class Embedder:
    """The mean colour of an image, and how many images it was asked for."""

    def __init__(self):
        self.n_images, self.slope = 0, None

    def load(self, name, device):
        return Similarity(name, self.slope, "cosine", self.embed)

    def embed(self, images):
        self.n_images += len(images)
        return F.normalize(images.float().mean((2, 3)) - 128, dim=1)


@pytest.fixture
def embedder(monkeypatch):
    played = Embedder()
    monkeypatch.setattr("trainables.scores.similarity.load_similarity", played.load)
    return played


def probe(digest="a", n=70):
    images = np.random.default_rng(0).integers(0, 256, (n, 8, 8, 3), dtype=np.uint8)
    return ArrayImages(images, torch.zeros(n, dtype=torch.int64), digest)


def test_vectors_are_computed_once_for_an_image_set(tmp_path, embedder):
    config, steps = ScoreConfig(n_explanations=3), []

    def vectors(images, config):
        return probe_vectors(
            images, config, tmp_path, torch.device("cpu"), lambda *s: steps.append(s)
        )

    first = vectors(probe(), config)
    assert embedder.n_images == 70 and steps == [(64, 70), (70, 70)]
    pixels = torch.from_numpy(probe().images).permute(0, 3, 1, 2)
    assert torch.allclose(first.vectors, embedder.embed(pixels)) and first.metric == "cosine"

    embedder.n_images = 0
    again = vectors(probe(), replace(config, n_tasks=7))  # of which the vectors know nothing
    assert embedder.n_images == 0 and len(steps) == 2
    assert torch.equal(again.vectors, first.vectors) and again.slope == first.slope
    for images, other in (
        (probe("b"), config),
        (probe(), replace(config, similarity="pixels")),
    ):
        embedder.n_images = 0
        vectors(images, other)
        assert embedder.n_images == 70
    assert len(list(tmp_path.iterdir())) == 3


def test_a_similarity_without_a_slope_gets_one_of_the_image_set(tmp_path, embedder):
    config, cpu = ScoreConfig(n_explanations=3), torch.device("cpu")
    torch.manual_seed(0)
    found = probe_vectors(probe(), config, tmp_path / "a", cpu)
    torch.manual_seed(1)
    assert probe_vectors(probe(), config, tmp_path / "b", cpu).slope == found.slope
    assert found.slope == pytest.approx(
        calibrate_slope(found.vectors, k=3, generator=torch.Generator().manual_seed(5)), rel=0.05
    )
    embedder.slope = 6.25
    assert probe_vectors(probe(), config, tmp_path / "c", cpu).slope == 6.25

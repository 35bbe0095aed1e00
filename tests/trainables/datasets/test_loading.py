"""From a config to image sets."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from trainables.config import DataConfig
from trainables.datasets import loading
from trainables.datasets.image_folder import folder_digest
from trainables.datasets.loading import load_data

N_TRAIN, N_VAL = 6, 3  # of each class


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "data"
    draw = np.random.default_rng(0)
    for split, n in (("train", N_TRAIN), ("val", N_VAL)):
        for name in ("cat", "ant"):
            (root / split / name).mkdir(parents=True)
            for i in range(n):
                pixels = draw.integers(0, 256, (20, 24, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{i}.JPEG")
    return root


def config_of(folder, **changes):
    base = DataConfig(
        name="image_folder",
        path=str(folder),
        pixels=16,
        train_images=None,
        val_images=None,
        probe_images=None,
    )
    return replace(base, **changes)


def break_some(folder):
    """Truncate one of train/ and one of val/."""
    broken = [folder / "train" / "cat" / "2.JPEG", folder / "val" / "ant" / "0.JPEG"]
    for path in broken:
        path.write_bytes(path.read_bytes()[:-40])
    return broken


def test_a_folder_gives_three_image_sets(folder, tmp_path):
    data = load_data(config_of(folder), tmp_path / "cache")
    assert data.class_names == ("ant", "cat") and data.n_classes == 2
    assert data.train.labels.tolist() == [0] * N_TRAIN + [1] * N_TRAIN
    assert data.val.labels.tolist() == [0] * N_VAL + [1] * N_VAL
    for images, split in ((data.train, "train"), (data.val, "val"), (data.probe, "train")):
        for path, label in zip(images.paths, images.labels.tolist(), strict=True):
            assert path.parent == folder / split / data.class_names[label]
    ((ids, pixels, _),) = data.val.batches(torch.tensor([4, 0]), 8)
    assert ids.tolist() == [4, 0] and pixels.shape == (2, 3, 16, 16)


def test_subsets_are_drawn_from_the_seed(folder, tmp_path):
    def paths(**changes):
        config = config_of(folder, train_images=5, val_images=2, probe_images=5, **changes)
        data = load_data(config, tmp_path)
        return [images.paths for images in (data.train, data.val, data.probe)]

    first = paths()
    assert [len(set(chosen)) for chosen in first] == [5, 2, 5]
    assert paths() == first and paths(seed=1) != first
    assert first[0] != first[2]  # a draw of its own
    assert all(path.is_relative_to(folder / "train") for path in first[2])  # never of val/
    assert not set(first[1]) & set(first[2])


@pytest.mark.parametrize(("split", "n"), [("train", 12), ("val", 6), ("probe", 12)])
def test_more_images_than_there_are_is_refused(folder, tmp_path, split, n):
    enough = load_data(config_of(folder, **{f"{split}_images": n}), tmp_path)
    assert len(getattr(enough, split)) == n
    message = rf"data.{split}_images must be at most the {n} images that .* for it, got {n + 1}$"
    with pytest.raises(ValueError, match=message):
        load_data(config_of(folder, **{f"{split}_images": n + 1}), tmp_path)


def test_a_folder_must_be_named(tmp_path):
    with pytest.raises(ValueError, match="needs data.path, a folder with train/ and val/"):
        load_data(replace(config_of("x"), path=None), tmp_path)


def test_broken_images_are_refused_by_name_and_number(folder, tmp_path):
    break_some(folder)
    message = r"2 of 18 are not: .*/train/cat/2.JPEG, .*/val/ant/0.JPEG; data.broken_images='skip'"
    for _ in range(2):  # found, then remembered
        with pytest.raises(ValueError, match=message):
            load_data(config_of(folder), tmp_path)


def test_broken_images_are_skipped_where_the_study_says_so(folder, tmp_path, monkeypatch):
    broken, calls, find = break_some(folder), [], loading.find_broken
    monkeypatch.setattr(
        loading, "find_broken", lambda paths: calls.append(len(paths)) or find(paths)
    )
    config = config_of(folder, broken_images="skip")
    data = load_data(config, tmp_path)
    assert (len(data.train), len(data.val), len(data.probe)) == (11, 5, 11)
    assert not set(broken) & {*data.train.paths, *data.val.paths, *data.probe.paths}
    assert data.train.labels.tolist() == [0] * 6 + [1] * 5
    assert torch.cat([ids for ids, _, _ in data.train.batches(torch.arange(11), 4)]).numel() == 11
    with pytest.raises(ValueError, match="at most the 5 images"):
        load_data(replace(config, val_images=6), tmp_path)
    load_data(config, tmp_path)
    assert calls == [18]  # looked through once a folder
    Image.new("RGB", (20, 20)).save(folder / "train" / "ant" / "new.JPEG")
    load_data(config, tmp_path)
    assert calls == [18, 19]


def test_a_sound_folder_is_looked_through_once(folder, tmp_path, monkeypatch):
    calls, find = [], loading.find_broken
    monkeypatch.setattr(
        loading, "find_broken", lambda paths: calls.append(len(paths)) or find(paths)
    )
    for _ in range(2):
        load_data(config_of(folder), tmp_path)
    assert calls == [18]


def test_digests_tell_image_sets_apart(folder, tmp_path):
    def digests(**changes):
        data = load_data(config_of(folder, **changes), tmp_path / "cache")
        return [data.train.digest, data.val.digest, data.probe.digest]

    first = digests()
    assert len(set(first)) == 3 and digests() == first
    assert digests(digest=folder_digest(folder)) == first  # as a planned sweep has it
    moved = folder.rename(tmp_path / "moved")
    assert load_data(config_of(moved), tmp_path / "cache").probe.digest == first[2]
    moved.rename(folder)
    for changes in ({"pixels": 24}, {"probe_images": 5}, {"probe_images": 5, "seed": 1}):
        assert digests(**changes)[2] != first[2]
    Image.new("RGB", (20, 20)).save(folder / "val" / "ant" / "new.JPEG")
    assert not set(digests()) & set(first)


def test_generated_images_are_cached_and_told_apart(tmp_path):
    config = DataConfig(pixels=32, train_images=6, val_images=4, probe_images=4)
    data = load_data(config, tmp_path)
    assert (len(data.train), len(data.val), len(data.probe)) == (6, 4, 4)
    assert data.n_classes == len(set(data.class_names)) and data.train.labels.max() < data.n_classes
    ((_, pixels, _),) = data.val.batches(torch.arange(4), 8)
    ((_, probe, _),) = data.probe.batches(torch.arange(4), 8)
    assert pixels.shape == (4, 3, 32, 32) and not torch.equal(pixels, probe)
    again = load_data(config, tmp_path)
    assert np.array_equal(again.train.images, data.train.images)
    sets = [data, load_data(replace(config, seed=1), tmp_path)]
    digests = {s.digest for d in sets for s in (d.train, d.val, d.probe)}
    assert len(digests) == 6 and again.probe.digest == data.probe.digest

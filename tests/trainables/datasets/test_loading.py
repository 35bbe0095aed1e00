"""From a config to image sets."""

import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from trainables.config import DataConfig
from trainables.datasets import folder_data
from trainables.datasets.listing import list_folder
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
        for path, label in zip(images.files, images.labels.tolist(), strict=True):
            assert path.parent == folder / split / data.class_names[label]
    ((ids, pixels, _),) = data.val.batches(torch.tensor([4, 0]), 8)
    assert ids.tolist() == [4, 0] and pixels.shape == (2, 3, 16, 16)


def test_subsets_are_drawn_from_the_seed(folder, tmp_path):
    def paths(**changes):
        config = config_of(folder, train_images=5, val_images=2, probe_images=5, **changes)
        data = load_data(config, tmp_path)
        return [list(images.files) for images in (data.train, data.val, data.probe)]

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
    message = (
        rf"data.{split}_images must be at most the {n} images that .* for it, got {n + 1}; "
        rf"SET=data.{split}_images=None takes all$"
    )
    with pytest.raises(ValueError, match=message):
        load_data(config_of(folder, **{f"{split}_images": n + 1}), tmp_path)


def test_a_folder_must_be_named(tmp_path):
    with pytest.raises(ValueError, match="needs data.path, a folder with train/ and val/"):
        load_data(replace(config_of("x"), path=None), tmp_path)


PACKED = pytest.mark.parametrize("packed", [None, 20])


@PACKED
def test_broken_images_are_refused_by_name_and_number(folder, tmp_path, packed):
    break_some(folder)
    message = (
        r"2 of 18 are not: .*/train/cat/2.JPEG \(.*truncated.*\), .*/val/ant/0.JPEG \(.*\); "
        "data.broken_images='skip' leaves them out"
    )
    for _ in range(2):  # found, then remembered
        with pytest.raises(ValueError, match=message):
            load_data(config_of(folder, packed=packed), tmp_path / "cache")


@PACKED
def test_what_is_no_picture_is_refused_or_skipped_and_counted(folder, tmp_path, packed):
    """Attack A13: a folder, a loop of links and huge pictures were not skipped."""
    cat = folder / "train" / "cat"
    (cat / "folder.jpg").mkdir()
    (cat / "loop.jpg").symlink_to("loop.jpg")
    (cat / "nothing.jpg").symlink_to("nowhere")
    os.mkfifo(cat / "pipe.jpg")
    Image.new("1", (1, 20_000)).save(cat / "strip.png")
    with pytest.raises(ValueError, match="4 of 22 are not: .*folder.jpg .a folder., .* and 1 more"):
        load_data(config_of(folder, packed=packed), tmp_path / "cache")
    config = config_of(folder, packed=packed, broken_images="skip", train_images=8)
    data = load_data(config, tmp_path / "cache")
    assert len(data.train) == 8 and len(data.probe) == 12 and len(data.val) == 6
    assert "4 files that are no pictures" in data.said and "taken are 8 to train" in data.said
    assert "skipped, since they cannot be read: " in data.said
    assert len(pixels_of(data.probe)) == 12


@PACKED
def test_broken_images_are_skipped_where_the_study_says_so(folder, tmp_path, packed):
    broken = break_some(folder)
    config = config_of(folder, broken_images="skip", packed=packed)
    for _ in range(2):
        data = load_data(config, tmp_path / "cache")
        assert (len(data.train), len(data.val), len(data.probe)) == (11, 5, 11)
        assert data.train.labels.tolist() == [0] * 6 + [1] * 5
        assert len(pixels_of(data.train)) == 11
        assert all(path.name in data.said for path in broken)
    with pytest.raises(ValueError, match="at most the 5 images"):
        load_data(replace(config, val_images=6), tmp_path / "cache")


def test_which_are_taken_does_not_hang_on_what_was_found_before(folder, tmp_path):
    """A folder that was looked through by another study gives the same images: one key, one set."""
    broken = break_some(folder)
    config = config_of(folder, broken_images="skip", train_images=7)
    first = list(load_data(config, tmp_path / "one").train.files)
    load_data(config_of(folder, broken_images="skip"), tmp_path / "two")
    load_data(config_of(folder, broken_images="skip", packed=20), tmp_path / "two")
    assert list(load_data(config, tmp_path / "two").train.files) == first
    assert not set(first) & set(broken) and len(first) == 7
    sound = load_data(replace(config, seed=3), tmp_path / "one")
    packed = load_data(replace(config, seed=3, packed=18), tmp_path / "one")
    assert torch.equal(pixels_of(sound.train), pixels_of(packed.train))


def test_a_folder_is_looked_through_once(folder, tmp_path, monkeypatch):
    break_some(folder)
    looked, listed = [], []
    find, list_ = folder_data.find_broken, folder_data.list_folder
    monkeypatch.setattr(
        folder_data, "find_broken", lambda files, *a: looked.append(len(files)) or find(files, *a)
    )
    monkeypatch.setattr(folder_data, "list_folder", lambda *a: listed.append(1) or list_(*a))
    config = config_of(folder, broken_images="skip", digest=list_folder(folder).digest)
    for _ in range(3):
        load_data(config, tmp_path)
    assert looked == [12, 11, 6, 5, 12, 11] and listed == [1]  # those that stand in, too
    (tmp_path / f"listing-{config.digest}.npz").write_bytes(b"cut off")
    load_data(config, tmp_path)
    assert listed == [1, 1]
    for note in tmp_path.glob("looked-*"):
        note.write_text("{")
    assert len(load_data(config, tmp_path).train) == 11


@PACKED
def test_pictures_that_change_under_a_planned_sweep_are_refused(folder, tmp_path, packed):
    """Their keys say that the trials saw the old ones."""
    config = config_of(folder, digest=list_folder(folder).digest, packed=packed)
    data = load_data(config, tmp_path / "cache")
    before = pixels_of(data.train)
    path = folder / "train" / "cat" / "3.JPEG"
    Image.new("RGB", (24, 20), "red").save(path)
    with pytest.raises(ValueError, match="must stay as they were .*/data have changed; plan it an"):
        load_data(config, tmp_path / "another")
    data = load_data(config, tmp_path / "cache")
    if packed:  # what was decoded then is what the key stands for
        assert torch.equal(pixels_of(data.train), before)
    else:
        with pytest.raises(ValueError, match="must stay as they were .*3.JPEG has changed"):
            pixels_of(data.train)


def test_a_pack_of_old_pixels_is_not_used(tmp_path):
    """Bug report F04, attack A4: equal names and sizes, other pictures."""
    root = tmp_path / "bmp"
    for split in ("train", "val"):
        for i, name in enumerate(("cat", "ant")):
            (root / split / name).mkdir(parents=True)
            Image.new("RGB", (20, 20), (40 * i, 0, 0)).save(root / split / name / "0.bmp")
    config = config_of(root, packed=20)
    before = load_data(config, tmp_path / "cache")
    assert pixels_of(before.train)[:, 0].amax((1, 2)).tolist() == [40, 0]
    for split in ("train", "val"):
        for name in ("cat", "ant"):
            Image.new("RGB", (20, 20), (200, 0, 0)).save(root / split / name / "0.bmp")
    after = load_data(config, tmp_path / "cache")
    assert pixels_of(after.train)[:, 0].amax((1, 2)).tolist() == [200, 200]
    assert before.train.digest != after.train.digest


def pixels_of(images):
    return torch.cat([pixels for _, pixels, _ in images.batches(torch.arange(len(images)), 4)])


def test_digests_tell_image_sets_apart(folder, tmp_path):
    def digests(**changes):
        data = load_data(config_of(folder, **changes), tmp_path / "cache")
        return [data.train.digest, data.val.digest, data.probe.digest]

    first = digests()
    assert len(set(first)) == 3 and digests() == first
    assert digests(digest=list_folder(folder).digest) == first  # as a planned sweep has it
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

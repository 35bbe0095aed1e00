"""Decoded once: what is read back, what is drawn, and builds that are cut off, damaged, at once."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from trainables.config import DataConfig, evaluation_side
from trainables.datasets import crops as crops_module
from trainables.datasets import pack as pack_module
from trainables.datasets.crops import middle_crops, random_crops
from trainables.datasets.files import files_of
from trainables.datasets.image_folder import FolderImages
from trainables.datasets.loading import load_data
from trainables.datasets.pack import BrokenImagesError, open_pack
from trainables.datasets.packed_images import PackedImages
from trainables.datasets.packs import unused

PIXELS = 28
SIDE = evaluation_side(PIXELS)
SHAPES = [(60, 48), (48, 60), (33, 33), (20, 90), (90, 20), (32, 40), (40, 32)]


@pytest.fixture(autouse=True)
def small_shards(request, monkeypatch):
    """Four images each, wherever their names would cut them."""

    def cuts(names):
        return [range(i, min(i + 4, len(names))) for i in range(0, len(names), 4)]

    if "cut_by_name" not in request.fixturenames:
        monkeypatch.setattr(pack_module, "_cuts", cuts)


@pytest.fixture
def cut_by_name(monkeypatch):
    monkeypatch.setattr(pack_module, "SHARD", 4)


@pytest.fixture
def files(tmp_path):
    """22 JPEG files of several shapes, in six shards."""
    draw = np.random.default_rng(0)
    paths = []
    for i in range(22):
        height, width = SHAPES[i % len(SHAPES)]
        coarse = Image.fromarray(draw.integers(0, 256, (4, 5, 3), dtype=np.uint8))
        path = tmp_path / "files" / str(i % 2) / f"{i:02}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse.resize((width, height), Image.Resampling.BICUBIC).save(path)
        paths.append(path)
    return paths


def opened(files, tmp_path, **changes):
    return open_pack(files_of(files), SIDE, tmp_path / "cache", workers=2, **changes)


def about_of(pixels):
    return pixels.with_suffix(".npz")


def both(files, tmp_path, workers=0):
    """The files, and the same from a pack."""
    labels = torch.arange(len(files))
    packed = PackedImages(opened(files, tmp_path), labels, "d", PIXELS, workers)
    return FolderImages(files_of(files), labels, "d", PIXELS), packed


def folder_of(tmp_path):
    return tmp_path / "cache" / "packs"


def shards(tmp_path):
    return sorted(folder_of(tmp_path).glob("*.pixels"))


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_what_is_evaluated_is_equal_to_the_bit(files, tmp_path, workers):
    plain, packed = both(files, tmp_path, workers)
    order = torch.randperm(22, generator=torch.Generator().manual_seed(0))
    pairs = list(zip(plain.batches(order, 5), packed.batches(order, 5), strict=True))
    assert [len(ids) for (ids, _, _), _ in pairs] == [5, 5, 5, 5, 2]
    for left, right in pairs:
        for a, b in zip(left, right, strict=True):
            assert torch.equal(a, b)
        assert right[1].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("workers", [0, 2])
def test_what_is_augmented_comes_from_the_generator_alone(files, tmp_path, workers):
    _, packed = both(files, tmp_path, workers)
    order = torch.arange(22)

    def views(seed):
        drawn = packed.batches(order, 8, augment=torch.Generator().manual_seed(seed))
        return torch.cat([images for _, images, _ in drawn])

    first = views(0)
    assert first.shape == (22, 3, PIXELS, PIXELS) and first.dtype == torch.uint8
    _, alone = both(files, tmp_path, 0)
    again = alone.batches(order, 8, augment=torch.Generator().manual_seed(0))
    assert torch.equal(first, torch.cat([images for _, images, _ in again]))
    assert not torch.equal(first, views(1))


def test_a_view_is_the_crop_resized_and_mirrored(files, tmp_path):
    """The slow way: Pillow, on what the pack holds."""
    _, packed = both(files, tmp_path)
    order = torch.tensor([3, 0, 7])
    shapes = torch.from_numpy(packed.pack.shapes[order.numpy()]).long()
    augment = torch.Generator().manual_seed(5)
    crops = random_crops(shapes, augment)
    mirrored = torch.rand(3, generator=augment) < 0.5
    assert set(mirrored.tolist()) == {True, False}
    ((_, found, _),) = packed.batches(order, 8, augment=torch.Generator().manual_seed(5))
    for view, i, (top, left, height, width), flip in zip(
        found, order.tolist(), crops.tolist(), mirrored.tolist(), strict=True
    ):
        image = Image.fromarray(packed.pack.image(i)).crop((left, top, left + width, top + height))
        image = image.resize((PIXELS, PIXELS), Image.Resampling.BILINEAR)
        if flip:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        wanted = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)
        assert (view.int() - wanted.int()).abs().max() <= 1  # two roundings to a byte


def test_crops_are_distributed_as_torchvision_draws_them(monkeypatch):
    monkeypatch.setattr(crops_module, "_AT_ONCE", 1_500)
    for height, width in ((120, 160), (40, 300), (300, 40), (7, 7)):
        n = 4_000
        shapes = torch.tensor([[height, width]]).repeat(n, 1)
        found = random_crops(shapes, torch.Generator().manual_seed(0))
        assert (found >= 0).all() and (found[:, 2:] >= 1).all()
        assert (found[:, :2] + found[:, 2:] <= shapes).all()
        torch.manual_seed(1)
        image = torch.empty(3, height, width)
        drawn = [v2.RandomResizedCrop(9).make_params([image]) for _ in range(n)]
        wanted = torch.tensor([[p[k] for k in ("top", "left", "height", "width")] for p in drawn])
        spread = wanted.double().std(0).clamp(min=0.3)
        for q in (0.1, 0.25, 0.5, 0.75, 0.9):
            a, b = found.double().quantile(q, 0), wanted.double().quantile(q, 0)
            assert ((a - b).abs() <= 0.25 * spread + 1).all(), (height, width, q)
        apart = (found.double().mean(0) - wanted.double().mean(0)).abs()
        assert (apart <= 5 * spread * (2 / n) ** 0.5).all(), (height, width)


def test_the_middle_is_where_torchvision_cuts_it():
    for height, width in SHAPES:
        image = torch.arange(height * width).reshape(1, height, width)
        for size in (10, 15, 20):
            shapes = torch.tensor([[height, width]])
            top, left, h, w = middle_crops(shapes, size)[0].tolist()
            cut = image[:, top : top + h, left : left + w]
            assert torch.equal(cut, v2.functional.center_crop(image, [size, size]))


def test_a_larger_pack_is_evaluated_at_the_same_framing(files, tmp_path):
    labels = torch.arange(22)
    plain = FolderImages(files_of(files), labels, "d", PIXELS)
    larger = open_pack(files_of(files), 2 * SIDE, tmp_path / "cache")
    packed = PackedImages(larger, labels, "d", PIXELS)
    pair = zip(plain.batches(labels, 22), packed.batches(labels, 22), strict=True)
    for (_, a, _), (_, b, _) in pair:
        assert (a.int() - b.int()).abs().float().mean() < 4  # of 255: resized twice


def test_opened_again_nothing_is_decoded(files, tmp_path, monkeypatch):
    seen = []
    opened(files, tmp_path, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(4, 22), (8, 22), (12, 22), (16, 22), (20, 22), (22, 22)]
    monkeypatch.setattr(pack_module, "_decoded", None)
    assert len(opened(files, tmp_path)) == 22


def test_a_build_that_was_cut_off_goes_on(files, tmp_path):
    class CutOffError(Exception):
        pass

    def stop(done, total):
        if done == 12:
            raise CutOffError

    with pytest.raises(CutOffError):
        opened(files, tmp_path, progress=stop)
    folder = folder_of(tmp_path)
    (folder / ".00003.pixels.abc").write_bytes(b"half")  # of a process that was killed
    seen = []
    opened(files, tmp_path, progress=lambda done, total: seen.append(done))
    assert seen == [16, 20, 22] and not list(folder.glob(".*"))
    plain, packed = both(files, tmp_path)
    order = torch.arange(22)
    ((_, a, _),), ((_, b, _),) = plain.batches(order, 22), packed.batches(order, 22)
    assert torch.equal(a, b)


@pytest.mark.parametrize("harm", ["byte", "short", "index", "gone"])
def test_what_is_damaged_is_built_again(files, tmp_path, harm):
    opened(files, tmp_path)
    (pixels,) = (f for f in shards(tmp_path) if np.load(about_of(f))["shapes"].shape == (2, 2))
    about = about_of(pixels)
    data = bytearray(pixels.read_bytes())
    if harm == "byte":
        data[100] ^= 1
        pixels.write_bytes(data)
    elif harm == "short":
        pixels.write_bytes(data[:-10])
    elif harm == "index":
        about.write_bytes(about.read_bytes()[:50])
    else:
        pixels.unlink()
    seen = []
    opened(files, tmp_path, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(22, 22)]
    plain, packed = both(files, tmp_path)
    order = torch.arange(22)
    ((_, a, _),), ((_, b, _),) = plain.batches(order, 22), packed.batches(order, 22)
    assert torch.equal(a, b)


def test_what_was_only_touched_is_not(files, tmp_path, monkeypatch):
    opened(files, tmp_path)
    os.utime(shards(tmp_path)[1])
    monkeypatch.setattr(pack_module, "_decoded", None)
    opened(files, tmp_path)


def _open_slowly(files, tmp_path, queue):
    decoded = pack_module._decoded

    def slow(files, i, side):
        time.sleep(0.05)
        queue.put(files[i].name)
        return decoded(files, i, side)

    pack_module._decoded = slow
    opened(files, tmp_path)


def test_of_two_builders_at_once_one_waits_for_the_other(files, tmp_path):
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    builders = [
        context.Process(target=_open_slowly, args=(files, tmp_path, queue)) for _ in range(2)
    ]
    for builder in builders:
        builder.start()
    names = [queue.get(timeout=60) for _ in files]
    for builder in builders:
        builder.join(60)
        assert builder.exitcode == 0
    assert queue.empty() and sorted(names) == sorted(file.name for file in files)


def test_a_builder_that_is_killed_holds_nobody_up(files, tmp_path):
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    builder = context.Process(target=_open_slowly, args=(files, tmp_path, queue))
    builder.start()
    for _ in range(6):
        queue.get(timeout=60)
    os.kill(builder.pid, signal.SIGKILL)
    builder.join()
    assert len(opened(files, tmp_path)) == 22
    plain, packed = both(files, tmp_path)
    order = torch.arange(22)
    ((_, a, _),), ((_, b, _),) = plain.batches(order, 22), packed.batches(order, 22)
    assert torch.equal(a, b)


def test_images_that_cannot_be_read_are_named_when_all_others_are_decoded(files, tmp_path):
    sound = files[9].read_bytes()
    for i in (9, 17):
        files[i].write_bytes(b"no image")
    seen = []
    with pytest.raises(
        BrokenImagesError,
        match=r"^2 of 22 images cannot be read: .*09\.JPEG \(of no known format\), .*17\.JPEG",
    ) as refused:
        opened(files, tmp_path, progress=lambda done, total: seen.append(done))
    assert refused.value.broken == {9: "of no known format", 17: "of no known format"}
    assert seen == [4, 8, 12, 16, 20, 22] and len(shards(tmp_path)) == 4
    assert not list(folder_of(tmp_path).glob(".*"))
    files[17].write_bytes(sound)
    files[9].write_bytes(sound)
    seen.clear()
    opened(files, tmp_path, progress=lambda done, total: seen.append(done))
    assert seen == [18, 22]  # the two shards of six that held them


def test_a_changed_image_and_its_shard_alone_are_decoded_again(files, tmp_path, cut_by_name):
    """Bug reports F04 and F09: equal names and sizes, other pixels; and 370 GB packed anew."""
    paths = [file.with_suffix(".bmp") for file in files]
    for path, file in zip(paths, files, strict=True):
        Image.open(file).save(path)
    assert len(opened(paths, tmp_path)) == 22
    before = {f: f.stat().st_mtime_ns for f in shards(tmp_path)}
    assert 3 < len(before) < 22
    inverted = Image.fromarray(255 - np.asarray(Image.open(paths[5])))
    size = paths[5].stat().st_size
    inverted.save(paths[5])
    assert paths[5].stat().st_size == size
    pack = opened(paths, tmp_path)
    assert np.array_equal(pack.image(5), np.asarray(v2.functional.resize(inverted, [SIDE])))
    after = {f: f.stat().st_mtime_ns for f in shards(tmp_path)}
    assert len(after) == len(before) + 1 and before.items() <= after.items()
    del paths[5]  # one that is left out moves the others of its own shard alone
    assert len(opened(paths, tmp_path)) == 21
    assert len(shards(tmp_path)) <= len(after) + 1


def test_where_a_shard_ends_is_said_by_names(cut_by_name, monkeypatch):
    monkeypatch.setattr(pack_module, "SHARD", 8)
    names = [f"train/{i % 7}/{i}.png" for i in range(400)]

    def ends(names):
        cuts = pack_module._cuts(names)
        assert [i for cut in cuts for i in cut] == list(range(len(names)))
        assert max(map(len, cuts)) <= 32
        return {names[cut[-1]] for cut in cuts}

    whole = ends(names)
    assert 30 < len(whole) < 80
    for left_out in (0, 100, 399):
        assert len(whole ^ ends(names[:left_out] + names[left_out + 1 :])) <= 3
    assert pack_module._cuts([]) == []


def test_what_is_no_longer_asked_for_is_found(files, tmp_path):
    """Bug report F09: the old pack stayed."""
    cache, of = tmp_path / "cache", {"folder": "/f", "split": "train"}
    opened(files, tmp_path, of=of)
    kept = opened(files[:8], tmp_path, of={"folder": "/f", "split": "val"})
    old = cache / ("pack-" + "0" * 16)  # of version 1
    old.mkdir()
    (old / "00000.pixels").write_bytes(b"x" * 1_000)
    foreign = [cache / ("pack-" + "a" * 16), folder_of(tmp_path) / "mine.npz"]
    foreign[0].mkdir()
    (foreign[0] / "thesis.tex").write_text("not ours")
    foreign[1].write_bytes(b"mine")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "00000.pixels").write_bytes(b"x")
    (cache / ("pack-" + "b" * 16)).symlink_to(outside)
    assert set(unused(cache)) == {old}
    files[0].write_bytes(files[1].read_bytes())
    opened(files, tmp_path, of=of)
    opened(files[:8], tmp_path, of={"folder": "/f", "split": "val"})
    found = unused(cache)
    assert len(found) == 3 and found[old] == 1_000
    assert not any(path in found for path in (*foreign, outside))
    for path in found:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert unused(cache) == {}
    assert kept.image(3).shape  # mapped before it was removed: a running trial goes on
    seen = []
    opened(files, tmp_path, of=of, progress=lambda *n: seen.append(n))
    assert seen == []


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 64 kB, mounted at the cache."""
    cache = tmp_path / "cache"
    cache.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(cache)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here")
    yield cache
    subprocess.run(["umount", "-l", str(cache)], check=True)


def test_a_full_disk_is_told_of(files, tmp_path, small_disk, monkeypatch):
    with pytest.raises(OSError, match="need .* of disk, but .* are free in .*SET=data.packed=None"):
        opened(files, tmp_path)
    monkeypatch.setattr(pack_module, "_USUAL_RATIO", 0.1)  # longer images than were expected
    with pytest.raises(OSError, match="no room is left in .*, 8 of 22 are there"):
        opened(files, tmp_path)
    subprocess.run(["mount", "-o", "remount,size=1m", str(small_disk)], check=True)
    seen = []
    opened(files, tmp_path, progress=lambda done, total: seen.append(done))
    assert seen == [12, 16, 20, 22]


def test_asked_for_in_the_config(files, tmp_path):
    root = tmp_path / "data"
    for split in ("train", "val"):
        for file in files:
            target = root / split / file.parent.name / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
    every = {"train_images": None, "val_images": None, "probe_images": 9}
    plain = DataConfig(name="image_folder", path=str(root), pixels=PIXELS, **every)
    config = DataConfig(
        name="image_folder", path=str(root), pixels=PIXELS, packed=SIDE, workers=1, **every
    )
    data, other = (load_data(c, tmp_path / "cache") for c in (config, plain))
    for split in ("train", "val", "probe"):
        a, b = getattr(data, split), getattr(other, split)
        assert isinstance(a, PackedImages) and torch.equal(a.labels, b.labels)
        assert a.digest != b.digest
        order = torch.arange(len(a))
        ((_, x, _),), ((_, y, _),) = a.batches(order, 50), b.batches(order, 50)
        assert torch.equal(x, y)


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="packed must be at least 256"):
        DataConfig(name="image_folder", pixels=224, packed=224)
    with pytest.raises(ValueError, match="packed must be left alone"):
        DataConfig(packed=256)

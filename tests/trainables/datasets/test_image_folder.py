"""Folders of real JPEG and PNG files: what is found, what is broken, what is decoded."""

import random
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from trainables.datasets.image_folder import (
    FolderImages,
    find_broken,
    folder_digest,
    is_broken,
    refuse_broken,
    scan,
    scan_both,
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def picture(seed=0, width=60, height=48, mode="RGB"):
    """A smooth picture: JPEG keeps it nearly as it is."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).convert(mode)


def save(path, image=None, kind=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    (image or picture()).save(path, kind)
    return path


def truncate(path, share=0.7):
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


@pytest.fixture
def folder(tmp_path):
    """Two classes, three images of each in train/, one in val/."""
    root = tmp_path / "folder"
    for split, n in (("train", 3), ("val", 1)):
        for seed, name in enumerate(("n02", "n01")):
            for i in range(n):
                save(root / split / name / f"{split}_{i}.JPEG", picture(10 * seed + i))
    return root


def test_scan_finds_images_by_class_in_order_of_name(folder):
    save(folder / "train" / "n01" / "b.png")
    (folder / "train" / "n01" / "notes.txt").write_text("no image")
    (folder / "train" / "labels.csv").write_text("no class")
    found = scan(folder, "train")
    assert list(found) == ["n01", "n02"]
    names = ["b.png", "train_0.JPEG", "train_1.JPEG", "train_2.JPEG"]
    assert [file.name for file in found["n01"]] == names
    assert found["n01"][0] == folder / "train" / "n01" / "b.png"
    train, val = scan_both(folder)
    assert train == found and {name: len(files) for name, files in val.items()} == {
        "n01": 1,
        "n02": 1,
    }


def test_folders_that_are_not_as_they_must_be_are_refused(folder, tmp_path):
    with pytest.raises(ValueError, match="the data folder must exist, .*/nowhere does not$"):
        scan_both(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="must hold train/ and val/, .*: no .*/empty/train$"):
        scan_both(tmp_path / "empty")
    (tmp_path / "empty" / "train").mkdir()
    with pytest.raises(ValueError, match="/train must hold one folder a class, it holds none$"):
        scan_both(tmp_path / "empty")
    for name in ("n03", "n04", "n05", "n06"):
        (folder / "val" / name).mkdir()
    with pytest.raises(ValueError, match="must have images, n03, n04, n05 and 1 more of .*/val ha"):
        scan_both(folder)


@pytest.mark.parametrize("split", ["train", "val"])
def test_both_splits_must_hold_the_same_classes(folder, split):
    shutil.rmtree(folder / split / "n02")
    with pytest.raises(ValueError, match=f"hold the same classes, .*/{split} lacks n02$"):
        scan_both(folder)


def test_the_digest_is_of_names_and_sizes_not_of_the_place(folder, tmp_path):
    digest, digests = folder_digest(folder), []
    assert len(digest) == 16
    shutil.copytree(folder, tmp_path / "elsewhere")
    assert folder_digest(tmp_path / "elsewhere") == digest
    image = folder / "train" / "n01" / "train_0.JPEG"
    added = save(folder / "val" / "n01" / "more.png")
    digests.append(folder_digest(folder))
    added.unlink()
    assert folder_digest(folder) == digest
    renamed = image.rename(image.with_name("another.JPEG"))
    digests.append(folder_digest(folder))
    renamed.rename(image)
    image.write_bytes(image.read_bytes() + b"\0")
    digests.append(folder_digest(folder))
    shutil.move(added.parent / "val_0.JPEG", folder / "train" / "n01" / "val_0.JPEG")
    save(folder / "val" / "n01" / "x.JPEG")
    digests.append(folder_digest(folder))
    assert len({digest, *digests}) == 5


def test_broken_are_those_that_do_not_decode_to_their_end(tmp_path):
    sound = [
        save(tmp_path / "a.JPEG"),
        save(tmp_path / "b.png"),
        save(tmp_path / "png.JPEG", kind="PNG"),  # ImageNet has one
        save(tmp_path / "cmyk.jpg", picture(mode="CMYK")),  # and these
        save(tmp_path / "grey.jpg", picture(mode="L")),
        save(tmp_path / "tail.jpg"),
    ]
    sound[-1].write_bytes(sound[-1].read_bytes() + b"after its end")
    broken = [save(tmp_path / f"short{kind}") for kind in (".JPEG", ".png", ".bmp")]
    for path in broken:
        assert not is_broken(path)
        truncate(path)
    broken += [tmp_path / "empty.jpg", tmp_path / "page.JPEG"]
    broken[-2].touch()
    broken[-1].write_text("<html>404</html>")
    assert [path for path in sound if is_broken(path)] == []
    assert [path for path in broken if not is_broken(path)] == []

    many = (sound + broken) * 60  # more than one chunk
    random.Random(0).shuffle(many)
    assert find_broken(many) == [path for path in many if path in broken]
    with pytest.raises(
        ValueError,
        match=r"readable to its end, 5 of 11 are not: .*/short.JPEG, .*/short.png, .*/short.bmp "
        r"and 2 more; data.broken_images='skip' leaves them out$",
    ):
        refuse_broken(broken, 11)
    refuse_broken([], 11)


def images_of(paths, pixels=32, workers=0):
    return FolderImages(tuple(paths), torch.arange(len(paths)) % 2, "digest", pixels, workers)


def all_pixels(images, order=None, *, batch_size=3, seed=None):
    order = torch.arange(len(images)) if order is None else order
    draw = None if seed is None else generator(seed)
    batches = list(images.batches(order, batch_size, augment=draw))
    assert torch.equal(torch.cat([ids for ids, _, _ in batches]), order)
    assert torch.equal(torch.cat([labels for _, _, labels in batches]), images.labels[order])
    return torch.cat([pixels for _, pixels, _ in batches])


@pytest.mark.parametrize("size", [(300, 260), (40, 90)])
def test_the_view_of_evaluation_is_torchvisions(tmp_path, size):
    path = save(tmp_path / "a.png", picture(3, *size))
    expected = v2.Compose([v2.Resize(256), v2.CenterCrop(224), v2.PILToTensor()])(picture(3, *size))
    found = all_pixels(images_of([path], 224))
    assert found.dtype == torch.uint8 and torch.equal(found[0], expected)


@pytest.mark.parametrize(("mode", "kind"), [("L", "JPEG"), ("CMYK", "JPEG"), ("P", "PNG")])
def test_every_mode_becomes_rgb(tmp_path, mode, kind):
    path = save(tmp_path / f"a.{kind}", picture(1, 40, 40, mode))
    found = all_pixels(images_of([path]))
    assert found.shape == (1, 3, 32, 32)
    expected = all_pixels(
        images_of([save(tmp_path / "b.png", picture(1, 40, 40, mode).convert("RGB"))])
    )
    assert (found.int() - expected.int()).abs().float().mean() < 4


def test_batches_follow_the_order(folder):
    paths = [path for files in scan(folder, "train").values() for path in files]
    images = images_of(paths)
    in_order = all_pixels(images)
    order = torch.tensor([5, 1, 3, 0])
    assert torch.equal(all_pixels(images, order), in_order[order])
    sizes = [len(ids) for ids, _, _ in images.batches(order, 3)]
    assert sizes == [4]  # a last image on its own joins the batch before
    assert len({image.numpy().tobytes() for image in in_order}) == 6


def test_augmentation_depends_on_the_generator_alone(folder):
    paths = [path for files in scan(folder, "train").values() for path in files]
    first = all_pixels(images_of(paths), seed=1)
    for workers, batch_size in ((0, 6), (2, 2)):
        torch.manual_seed(workers + 5)
        again = all_pixels(images_of(paths, workers=workers), batch_size=batch_size, seed=1)
        assert torch.equal(again, first)
    assert not torch.equal(all_pixels(images_of(paths), seed=2), first)
    assert not torch.equal(all_pixels(images_of(paths)), first)


def test_decoding_leaves_the_global_generators_alone(folder, monkeypatch):
    """Dropout draws from them: seeded by an image, it would repeat, and depend on `workers`."""
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda _: pytest.fail("seeds the GPU"))
    paths = [path for files in scan(folder, "train").values() for path in files]
    after = []
    for seed in (1, 2):
        torch.default_generator.manual_seed(0)
        all_pixels(images_of(paths), seed=seed)
        after.append(torch.rand(1))
    assert torch.equal(*after)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_image_that_breaks_later_is_named(folder, workers):
    paths = [path for files in scan(folder, "train").values() for path in files]
    truncate(paths[4])
    with pytest.raises(ValueError, match=f"^the image {paths[4]} cannot be read: .*$") as e:
        all_pixels(images_of(paths, workers=workers))
    assert "\n" not in str(e.value)

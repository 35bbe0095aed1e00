"""What a folder holds: odd names, links, hidden things; read as torchvision does, or counted."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import ImageFolder

from trainables.datasets import listing as listing_module
from trainables.datasets.listing import list_folder
from trainables.fields import digest_of


def save(path, seed=0, size=(6, 5)):
    """Every picture of a size has a file of the same size: BMP packs nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "folder"
    for split, n in (("train", 3), ("val", 1)):
        for seed, name in enumerate(("owl", "newt")):
            for i in range(n):
                save(root / split / name / f"{i}.bmp", 10 * seed + i)
    return root


def names(folder, split="train"):
    return list(list_folder(folder).splits[split].names)


def test_classes_and_pictures_are_sorted_and_numbered(folder):
    listing = list_folder(folder)
    assert listing.classes == ("newt", "owl") and listing.counts == {"train": 6, "val": 2}
    assert names(folder) == [f"train/{c}/{i}.bmp" for c in ("newt", "owl") for i in range(3)]
    assert listing.splits["train"].labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert listing.said() == "2 classes, 6 images in train/ and 2 in val/"
    assert listing.faults == {} and listing.left_out == {}


def test_odd_folders_are_read_as_torchvision_reads_them(folder):
    """Sub folders, dots and blanks, quotes, newlines, upper case, links to files and folders."""
    owl = folder / "train" / "owl"
    for name in ("sub/1.bmp", "sub/a/2.JPG", "sub-b/3.png", "a.b/4.Tiff", " 5 .webp", "z.tar.jpeg"):
        save(owl / name)
    for odd in ("new\nline.png", "quo\"te's.png", "ü é 猫.png", "esc\x1b[2J.png", "$(id).png"):
        save(owl / odd)
    save(folder / "elsewhere" / "7.png")
    (owl / "linked").symlink_to(folder / "elsewhere")
    (owl / "link.png").symlink_to(folder / "elsewhere" / "7.png")
    save(owl / "like.jpg" / "8.png")
    save(folder / "train" / "newt" / os.fsdecode(b"not\xfftext.png"))
    for split in ("train", "val"):
        (folder / split / "linked class").symlink_to(folder / "elsewhere")
        save(folder / split / "UPPER" / "x.BMP")
        save(folder / split / "n 'o\" \n1" / "x.pgm")
    for split in ("train", "val"):
        theirs = ImageFolder(folder / split)
        listing = list_folder(folder)
        ours = listing.splits[split]
        assert [str(folder / name) for name in ours.names] == [path for path, _ in theirs.imgs]
        assert list(listing.classes) == theirs.classes
        assert ours.labels.tolist() == [label for _, label in theirs.imgs]
    assert list_folder(folder).faults == {} and list_folder(folder).left_out == {}


def test_hidden_and_system_folders_are_no_classes(folder):
    """Bug report F05."""
    for split in ("train", "val"):
        for name in (".ipynb_checkpoints", "__MACOSX", "$RECYCLE.BIN", "@eaDir", "lost+found"):
            save(folder / split / name / "0.bmp")
        save(folder / split / "owl" / ".ipynb_checkpoints" / "0-checkpoint.bmp")
        save(folder / split / "owl" / ".thumbs.bmp")
        (folder / split / "owl" / "Thumbs.db").write_bytes(b"x")
        (folder / split / ".DS_Store").write_bytes(b"x")
    listing = list_folder(folder)
    assert listing.classes == ("newt", "owl") and listing.counts == {"train": 6, "val": 2}
    assert listing.left_out == {"hidden or of the system": 18}
    assert listing.said().endswith("; left out: 18 hidden or of the system")


def test_what_torchvision_does_not_read_is_counted(folder):
    """Bug report D04: left out without a word."""
    owl = folder / "train" / "owl"
    for ending in (".gif", ".GIF", ".jfif", ".avif", ".jp2", ".heic", ""):
        (owl / f"x{ending}").write_bytes(b"x")
    save(folder / "train" / "stray.png")
    (owl / "again").symlink_to(owl)
    (owl / "above").symlink_to("..")
    (folder / "train" / "all").symlink_to(".")
    listing = list_folder(folder)
    assert listing.counts == {"train": 6, "val": 2} and listing.classes == ("newt", "owl")
    assert sum(listing.left_out.values()) == 11
    assert listing.left_out[".gif"] == 2 and listing.left_out["links to what was read"] == 3
    assert listing.left_out["outside a class"] == 1
    assert "left out: 3 links to what was read, 2 .gif, 1 without an ending" in listing.said()
    assert listing.said().endswith("2 others")


def test_what_is_named_like_a_picture_and_is_none_is_a_fault(folder):
    """Attacks A7, A8, A13: pipes, devices, loops, links to nothing, folders."""
    owl = folder / "train" / "owl"
    os.mkfifo(owl / "pipe.jpg")
    (owl / "zero.jpg").symlink_to("/dev/zero")
    (owl / "loop.jpg").symlink_to("loop.jpg")
    (owl / "nothing.jpg").symlink_to("nowhere")
    (owl / "folder.jpg").mkdir()
    with (owl / "sparse.bmp").open("wb") as file:
        file.truncate(2**40)
    listing = list_folder(folder)
    faults = {name.rpartition("/")[2]: why for name, why in listing.faults.items()}
    assert faults == {
        "pipe.jpg": "no regular file",
        "zero.jpg": "no regular file",
        "loop.jpg": "a loop of links",
        "nothing.jpg": "a link to nothing, or gone",
        "folder.jpg": "a folder",
        "sparse.bmp": "larger than 1 GiB",
    }
    assert listing.counts["train"] == 6 and "; 6 files that are no pictures" in listing.said()


@pytest.mark.parametrize("split", ["train", "val"])
def test_both_splits_must_hold_the_same_classes(folder, split):
    shutil.rmtree(folder / split / "owl")
    with pytest.raises(ValueError, match=f"hold the same classes, .*/{split} lacks owl$"):
        list_folder(folder)


def test_folders_that_are_not_as_they_must_be_are_refused(folder, tmp_path):
    with pytest.raises(ValueError, match="the data folder must exist, .*/nowhere does not$"):
        list_folder(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="one folder per class, .*/empty holds neither$"):
        list_folder(tmp_path / "empty")
    save(tmp_path / "empty" / "train" / "x.png")
    (tmp_path / "empty" / "val").mkdir()
    with pytest.raises(
        ValueError, match="/train must hold one folder per class, it holds none; .* 1 outside a cla"
    ):
        list_folder(tmp_path / "empty")
    for name in ("n03", "n04", "n05", "n\n6"):
        (folder / "val" / name).mkdir()
    (folder / "val" / "n03" / "x.gif").touch()
    with pytest.raises(
        ValueError, match=r"must have images, n\\n6, n03, n04 and 1 more of .*/val have none; left"
    ):
        list_folder(folder)


def test_links_and_depth_do_not_hold_it_up(folder):
    """Every folder links to two: 2^20 paths; and a path as deep as a disk takes."""
    tree = folder / "train" / "owl" / "t"
    for i in range(20):
        (tree / str(i)).mkdir(parents=True)
    for i in range(19):
        for name in ("a", "b"):
            (tree / str(i) / name).symlink_to(tree / str(i + 1))
    save(tree / "19" / "x.bmp")
    deep = folder / "train" / "newt"
    descriptor = os.open(deep, os.O_RDONLY)
    for _ in range(1_100):
        os.mkdir("d", dir_fd=descriptor)
        below = os.open("d", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(descriptor)
    try:
        assert list_folder(folder).counts["train"] == 7
    finally:  # pytest cannot remove so deep a folder, and would end with an error
        subprocess.run(["rm", "-rf", str(deep / "d")], check=True)


def test_the_digest_is_of_names_and_contents_not_of_place_and_time(folder, tmp_path):
    digest = list_folder(folder).digest
    assert len(digest) == 16
    shutil.copytree(folder, tmp_path / "copy", copy_function=shutil.copyfile)  # other times
    assert list_folder(tmp_path / "copy").digest == digest
    picture, digests = folder / "train" / "newt" / "0.bmp", []
    added = save(folder / "val" / "newt" / "more.bmp")
    digests.append(list_folder(folder).digest)
    added.unlink()
    assert list_folder(folder).digest == digest
    renamed = picture.rename(picture.with_name("another.bmp"))
    digests.append(list_folder(folder).digest)
    renamed.rename(picture)
    picture.write_bytes(picture.read_bytes() + b"\0")
    digests.append(list_folder(folder).digest)
    assert len({digest, *digests}) == 4


def test_the_digest_is_taken_in_parts(folder, monkeypatch):
    """Of a million names it took a gigabyte at once."""
    listing = list_folder(folder)
    parts = [listing.classes]
    for split in listing.splits.values():
        parts += [list(split.names), split.labels.tolist(), split.marks.tolist()]
    for size in (1, 2, 5, 6, 7):
        monkeypatch.setattr(listing_module, "_PART", size)
        assert listing.digest == digest_of(parts)[:16]


def swapped(folder):
    (folder / "train" / "owl").rename(folder / "train" / "x")
    (folder / "train" / "newt").rename(folder / "train" / "owl")
    (folder / "train" / "x").rename(folder / "train" / "newt")


def inverted(folder):
    for path in folder.rglob("*.bmp"):
        pixels = 255 - np.asarray(Image.open(path))
        Image.fromarray(pixels).save(path)


def one_pixel_at_the_old_time(folder):
    path = folder / "val" / "owl" / "0.bmp"
    data, stat = bytearray(path.read_bytes()), path.stat()
    data[-9] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def two_pictures_swapped(folder):
    first, second = (folder / "train" / name / "1.bmp" for name in ("owl", "newt"))
    one, two = first.read_bytes(), second.read_bytes()
    first.write_bytes(two)
    second.write_bytes(one)


def a_link_to_another_picture(folder):
    first, second = (folder / "train" / name / "1.bmp" for name in ("owl", "newt"))
    first.unlink()
    first.symlink_to(second)


@pytest.mark.parametrize(
    "change",
    [swapped, inverted, one_pixel_at_the_old_time, two_pictures_swapped, a_link_to_another_picture],
)
def test_new_pictures_of_old_names_and_sizes_are_seen(folder, change):
    """Bug report F04, attack A4."""
    before = list_folder(folder)
    sizes = {name: (folder / name).stat().st_size for name in before.splits["train"].names}
    change(folder)
    after = list_folder(folder)
    assert {name: (folder / name).stat().st_size for name in sizes} == sizes
    assert after.digest != before.digest


@pytest.mark.slow
def test_a_signal_ends_it_at_once(folder):
    """Attack A7: a pipe held it up, and SIGTERM did not end it."""
    os.mkfifo(folder / "train" / "owl" / "pipe.jpg")
    code = (
        "import sys; from pathlib import Path; from trainables.datasets.listing import list_folder;"
        "print(list_folder(Path(sys.argv[1])).faults)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, timeout=120
    )
    assert "no regular file" in done.stdout

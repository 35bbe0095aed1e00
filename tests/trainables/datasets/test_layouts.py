"""Folders as people have them: each layout is found out, said in one line, and read right."""

import dataclasses
import io
import os
import shutil
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

from trainables.config import DataConfig
from trainables.datasets.folders import look_at
from trainables.datasets.layouts import POOL
from trainables.datasets.listing import list_folder
from trainables.datasets.loading import load_data
from trainables.datasets.splitting import with_split

WNIDS = ("n01440764", "n02084071", "n03000134")  # in order, as sorted
TRUTH = "ILSVRC2012_validation_ground_truth.txt"
NUMBERS = (3, 1, 2)  # of the devkit: another order than the sorted one


def save(path, colour=(0, 0, 0)):
    """A picture of one colour: which class it is of can be seen in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (6, 5), tuple(colour)).save(path)
    return path


def shade(label):
    return (60 * label + 20, 0, 0)


def classes_in(root, names=WNIDS, n=3, below="", ending=".png"):
    for label, name in enumerate(names):
        for i in range(n):
            save(root / name / below / f"{name}_{i}{ending}", shade(label))


def loaded(root, tmp_path, **changes):
    config = DataConfig(
        name="image_folder",
        path=str(root),
        pixels=4,
        **{"train_images": None, "val_images": None, "probe_images": None, **changes},
    )
    return load_data(config, tmp_path / "cache")


def seen_right(data):
    """Whether every label is that of the colour of its picture."""
    for images in (data.train, data.val):
        for _, pixels, labels in images.batches(torch.arange(len(images)), 8):
            if not torch.equal(pixels[:, 0, 0, 0].long(), 60 * labels + 20):
                return False
    return True


@pytest.mark.parametrize("held_out", ["val", "validation", "valid", "test", "VAL"])
def test_the_split_is_found_under_each_of_its_names(tmp_path, held_out):
    root = tmp_path / "data"
    classes_in(root / "train")
    classes_in(root / held_out, n=2)
    looked = look_at(str(root))
    assert looked.said == f"3 classes, 9 images in train/ and 6 in {held_out}/"
    assert looked.counts == {"train": 9, "val": 6} and looked.classes == WNIDS
    assert looked.per_class == {"train": (3, 3, 3), "val": (2, 2, 2)}
    data = loaded(root, tmp_path)
    assert (len(data.train), len(data.val)) == (9, 6) and seen_right(data)


def test_of_several_val_is_taken_and_the_others_are_named(tmp_path):
    classes_in(tmp_path / "train")
    for name, n in (("test", 1), ("validation", 2)):
        classes_in(tmp_path / name, n=n)
    assert look_at(str(tmp_path)).said.endswith("6 in validation/; test/ is not read")
    classes_in(tmp_path / "val", n=3)
    looked = look_at(str(tmp_path))
    assert looked.said.endswith("9 in val/; validation/ and test/ are not read")


def test_a_folder_with_train_and_val_keeps_its_digest(tmp_path):
    """Keys of trials hang on it: the value was made by the code of before other layouts."""
    for split, n in (("train", 2), ("val", 1)):
        for label, name in enumerate(("owl", "newt")):
            for i in range(n):
                save(tmp_path / split / name / f"{i}.bmp", shade(label))
    assert list_folder(tmp_path).digest == "591338c21d499a56"


def test_class_folders_are_split_by_the_seed_of_each_class_a_share(tmp_path):
    root = tmp_path / "scenes"
    classes_in(root, ("bay", "hut", "moor"), n=10)
    for i in range(10, 23):
        save(root / "moor" / f"{i}.png", shade(2))
    said = look_at(str(root)).said
    assert said == (
        "3 classes, 34 images in train and 9 in val, 20% of each class, drawn by data.seed=0 "
        "(data.val_share=0.2)"
    )
    data = loaded(root, tmp_path)
    assert seen_right(data) and torch.bincount(data.val.labels).tolist() == [2, 2, 5]
    assert torch.bincount(data.train.labels).tolist() == [8, 8, 18]
    names = [set(images.files.names) for images in (data.train, data.val)]
    assert not names[0] & names[1] and len(names[0] | names[1]) == 43
    assert data.probe.files.names == data.train.files.names
    again, other = loaded(root, tmp_path), loaded(root, tmp_path, seed=1)
    assert again.val.files.names == data.val.files.names
    assert other.val.files.names != data.val.files.names
    half = loaded(root, tmp_path, val_share=0.5)
    assert torch.bincount(half.val.labels).tolist() == [5, 5, 12]
    digests = [d.val.digest for d in (data, other, half)]
    assert len(set(digests)) == 3 and again.val.digest == digests[0]
    assert "34 to train, 9 to validate" in data.said


def test_every_class_is_in_both_splits_whatever_the_share(tmp_path):
    classes_in(tmp_path, ("a", "b"), n=2)
    listing = list_folder(tmp_path)
    assert list(listing.splits) == [POOL]
    for share in (0.01, 0.5, 0.99):
        config = DataConfig(name="image_folder", val_share=share)
        assert with_split(listing, config).counts_per_class == {"train": (1, 1), "val": (1, 1)}


def test_a_share_is_refused_where_nothing_is_drawn(tmp_path):
    root = tmp_path / "data"
    for split in ("train", "val"):
        classes_in(root / split)
    with pytest.raises(ValueError, match="val_share must be left alone .* own, got 0.5$"):
        loaded(root, tmp_path, val_share=0.5)
    with pytest.raises(ValueError, match="val_share must lie in .0, 1., got 1"):
        DataConfig(name="image_folder", val_share=1.0)


def test_a_class_may_be_called_train(tmp_path):
    classes_in(tmp_path, ("bus", "car", "train"), n=5)
    assert look_at(str(tmp_path)).classes == ("bus", "car", "train")


def flat_val(root, n=2, folder="val"):
    """Images in the order of the labels 2, 0, 1, 2, 0, 1, …"""
    labels = [2, 0, 1] * n
    for number, label in enumerate(labels, start=1):
        save(root / folder / f"ILSVRC2012_val_{number:08}.JPEG", shade(label))
    return labels


def devkit(folder, labels, *, extra=True):
    folder.mkdir(parents=True)
    lines = [str(NUMBERS[label]) for label in labels] + (["1"] if extra else [])
    (folder / TRUTH).write_text("\n".join(lines) + "\n")
    kind = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("num_children", "O")]
    rows = [*zip(NUMBERS, WNIDS, strict=True), (4, "n00001740")]
    synsets = np.array([(np.array([[n]]), w, "words", np.array([[0]])) for n, w in rows], kind)
    savemat(folder / "meta.mat", {"synsets": synsets[:, None]})


def by_devkit(root, labels):
    devkit(root / "ILSVRC2012_devkit_t12" / "data", labels)
    return TRUTH


def by_devkit_beside(root, labels):
    devkit(root / "x", labels)
    for name in (TRUTH, "meta.mat"):
        (root / "x" / name).rename(root / name)
    return TRUTH


def by_packed_devkit(root, labels):
    devkit(root / "x" / "ILSVRC2012_devkit_t12" / "data", labels)
    with tarfile.open(root / "ILSVRC2012_devkit_t12.tar.gz", "w:gz") as archive:
        archive.add(root / "x" / "ILSVRC2012_devkit_t12", "ILSVRC2012_devkit_t12")
    shutil.rmtree(root / "x")
    return "ILSVRC2012_devkit_t12.tar.gz"


def by_kaggle(root, labels):
    rows = [
        f"ILSVRC2012_val_{n:08},{WNIDS[label]} 1 2 3 4 {WNIDS[label]} 5 6 7 8 "
        for n, label in enumerate(labels, start=1)
    ]
    text = "\n".join(["ImageId,PredictionString", *reversed(rows)])
    (root / "LOC_val_solution.csv").write_text(text)
    return "LOC_val_solution.csv"


def by_synset_labels(root, labels):
    name = "imagenet_2012_validation_synset_labels.txt"
    (root / name).write_text("".join(f"{WNIDS[label]}\n" for label in labels))
    return name


def by_numbers(root, labels):
    lines = [f"ILSVRC2012_val_{n:08}.JPEG {label}" for n, label in enumerate(labels, start=1)]
    (root / "val.txt").write_text("\n".join(lines))
    return "val.txt"


def by_numbers_of_synsets(root, labels):
    """Caffe's, of other numbers than the folders' order."""
    order = [WNIDS[2], WNIDS[0], "n99", WNIDS[1]]
    (root / "synsets.txt").write_text("\n".join(order))
    numbers = [order.index(WNIDS[label]) for label in labels]
    lines = [f"ILSVRC2012_val_{n:08}.JPEG {k}" for n, k in enumerate(numbers, start=1)]
    (root / "val.txt").write_text("\n".join([*lines, "elsewhere.JPEG 2"]))
    return "val.txt"


def by_names(root, labels):
    lines = [f"val/ILSVRC2012_val_{n:08}.JPEG\t{WNIDS[i]}" for n, i in enumerate(labels, start=1)]
    (root / "val.txt").write_text("\n".join(lines))
    return "val.txt"


TELLING = [
    by_devkit,
    by_devkit_beside,
    by_packed_devkit,
    by_kaggle,
    by_synset_labels,
    by_numbers,
    by_numbers_of_synsets,
    by_names,
]


@pytest.mark.parametrize("tell", TELLING)
def test_ilsvrc_as_it_ships_with_each_file_of_labels(tmp_path, tell):
    root = tmp_path / "ilsvrc"
    classes_in(root / "train", ending=".JPEG")
    save(root / "test" / "ILSVRC2012_test_00000001.JPEG")
    file = tell(root, flat_val(root))
    looked = look_at(str(root))
    assert looked.said.startswith(
        f"3 classes, 9 images in train/ and 6 in val/; the classes of val/ are told by {file}; "
        "test/ is not read"
    )
    assert looked.classes == WNIDS and looked.per_class["val"] == (2, 2, 2)
    names = list_folder(root).splits["val"].names
    assert [int(name[-13:-5]) for name in names] == [2, 5, 3, 6, 1, 4]


def test_kaggles_archive_is_read_from_its_top_and_from_within(tmp_path):
    top = tmp_path / "imagenet"
    inner = top / "ILSVRC" / "Data" / "CLS-LOC"
    classes_in(inner / "train", ending=".JPEG")
    by_kaggle(top, flat_val(inner))
    (top / "ILSVRC" / "ImageSets" / "CLS-LOC").mkdir(parents=True)
    (top / "ILSVRC" / "ImageSets" / "CLS-LOC" / "val.txt").write_text("ILSVRC2012_val_00000001 1")
    for root in (top, inner):
        looked = look_at(str(root))
        assert looked.classes == WNIDS and looked.per_class["val"] == (2, 2, 2)
        assert "told by LOC_val_solution.csv" in looked.said


def test_tiny_imagenet_as_it_ships(tmp_path):
    root = tmp_path / "tiny-imagenet-200"
    classes_in(root / "train", below="images")
    for wnid in WNIDS:
        (root / "train" / wnid / f"{wnid}_boxes.txt").write_text("0 0 1 1")
    lines = []
    for i, label in enumerate([1, 2, 0, 0]):
        save(root / "val" / "images" / f"val_{i}.png", shade(label))
        lines.append(f"val_{i}.png\t{WNIDS[label]}\t0\t32\t44\t62\n")
    (root / "val" / "val_annotations.txt").write_text("".join(lines))
    save(root / "test" / "images" / "test_0.png")
    (root / "wnids.txt").write_text("\n".join(reversed(WNIDS)))
    looked = look_at(str(root))
    assert looked.said == (
        "3 classes, 9 images in train/ and 4 in val/; the classes of val/ are told by "
        "val_annotations.txt; test/ is not read; left out: 3 .txt"
    )
    data = loaded(root, tmp_path)
    assert data.val.labels.tolist() == [0, 0, 1, 2] and seen_right(data)


def flat(root):
    classes_in(root / "train", ending=".JPEG")
    return flat_val(root)


def drop(path, n=1):
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:-n]))


def break_nothing_tells(root):
    flat(root)


def break_unlabelled(root):
    drop(root / by_names(root, flat(root)))


def break_class_not_in_train(root):
    by_synset_labels(root, flat(root))
    shutil.rmtree(root / "train" / WNIDS[1])


def break_class_not_in_val(root):
    flat(root)
    (root / "val.txt").write_text(
        "".join(f"ILSVRC2012_val_{n:08}.JPEG {WNIDS[n % 2]}\n" for n in range(1, 7))
    )


def break_numbers_of_a_thousand(root):
    flat(root)
    (root / "val.txt").write_text(
        "".join(f"ILSVRC2012_val_{n:08}.JPEG {100 * n}\n" for n in range(1, 7))
    )


def break_numbers_from_one(root):
    (root / "val.txt").write_text(
        "".join(f"ILSVRC2012_val_{n:08}.JPEG {i + 1}\n" for n, i in enumerate(flat(root), start=1))
    )


def break_no_meta(root):
    by_devkit_beside(root, flat(root))
    (root / "meta.mat").unlink()


def break_meta(root):
    by_devkit_beside(root, flat(root))
    (root / "meta.mat").write_bytes(b"MATLAB 5.0 MAT-file and then nothing of it" * 9)


def break_truth(root):
    by_devkit_beside(root, flat(root))
    (root / TRUTH).write_text("3\n77\n")


def break_csv(root):
    flat(root)
    (root / "LOC_val_solution.csv").write_text("a,b\n1,2\n")


def break_tar(root):
    flat(root)
    (root / "ILSVRC2012_devkit_t12.tar.gz").write_bytes(b"cut off")


def break_bytes(root):
    flat(root)
    (root / "val.txt").write_bytes(b"\xff\xfe\x00")


def break_one_column(root):
    flat(root)
    (root / "val.txt").write_text("ILSVRC2012_val_00000001.JPEG\n")


WRONG = {
    break_nothing_tells: "/val must hold one folder per class, or a file beside it must tell the c",
    break_unlabelled: "every image of .*/val must have its class in .*val.txt, 1 of 6 have none th",
    break_class_not_in_train: "hold the same classes, .*/train lacks n02084071$",
    break_class_not_in_val: "hold the same classes, .*/val lacks n03000134$",
    break_numbers_of_a_thousand: "the numbers in .*val.txt must be 0 … 2, .* a synsets.txt beside",
    break_numbers_from_one: "the numbers in .*val.txt must be 0 … 2",
    break_no_meta: f"{TRUTH} needs the devkit's meta.mat beside it",
    break_meta: "meta.mat must be the devkit's",
    break_truth: f"line 2 of .*{TRUTH} must be the number of a class in meta.mat, got '77'",
    break_csv: "LOC_val_solution.csv must have the columns ImageId and PredictionString",
    break_tar: "devkit_t12.tar.gz must be readable, it is not",
    break_bytes: "val.txt must be readable, it is not",
    break_one_column: "val.txt must have a name and a class per line, got 'ILSVRC2012_val_00000001",
}


@pytest.mark.parametrize("spoil", WRONG)
def test_a_flat_split_that_is_not_told_right_is_refused(tmp_path, spoil):
    spoil(tmp_path)
    with pytest.raises(ValueError, match=WRONG[spoil]) as error:
        look_at(str(tmp_path))
    assert "\n" not in str(error.value)


def odd_no_classes(root):
    for i in range(4):
        save(root / f"{i}.png")


def odd_one_class(root):
    classes_in(root, ("owl",))


def odd_folder_in_a_folder(root):
    classes_in(root / "tiny-imagenet-200" / "train")
    classes_in(root / "tiny-imagenet-200" / "val")


def odd_two_data_sets(root):
    for name in ("imagenet", "tiny"):
        for split in ("train", "val"):
            classes_in(root / name / split)


def odd_one_class_in_both(root):
    for split in ("train", "val"):
        classes_in(root / split, ("owl",))


def odd_one_image(root):
    save(root / "owl" / "0.png")


def odd_one_image_in_a_class(root):
    classes_in(root, ("a", "b"))
    save(root / "c" / "0.png")


def odd_no_val(root):
    classes_in(root / "train")


def odd_empty_class(root):
    classes_in(root)
    (root / "n99").mkdir()


ODD = {
    odd_no_classes: "or one folder per class, .* holds 4 images and no folder; left out there",
    odd_one_class: "at least two classes, .* has one folder with images, owl$",
    odd_folder_in_a_folder: "has one folder with images, .*; DATA=.*/tiny-imagenet-200 holds folde",
    odd_two_data_sets: "must hold classes, .* holds other image folders: DATA=.*/imagenet is one$",
    odd_one_class_in_both: "at least two classes, .*/train has owl alone$",
    odd_one_image: "at least two classes",
    odd_one_image_in_a_class: "at least 2 images where a split is drawn, .*: c of .* have one$",
    odd_no_val: "must hold val/, validation/ or test/ as well, .*; DATA=.*/train draws a split of",
    odd_empty_class: "every class must have images, n99 of .* have none$",
}


@pytest.mark.parametrize("make", ODD)
def test_folders_that_cannot_be_are_refused_in_one_sentence(tmp_path, make):
    make(tmp_path)
    with pytest.raises(ValueError, match=ODD[make]) as error:
        look_at(str(tmp_path))
    assert "\n" not in str(error.value)


def test_odd_files_are_none_of_the_classes_of_any_layout(tmp_path):
    """Hidden and system folders, .DS_Store, links back, a Mac's shadows of flat pictures."""
    classes, flat = tmp_path / "classes", tmp_path / "flat"
    classes_in(classes)
    (classes / "up").symlink_to(classes)
    (classes / "linked").symlink_to(tmp_path / "elsewhere")
    classes_in(tmp_path, ("elsewhere",), n=2)
    for name in (".git", "__MACOSX", "@eaDir", ".ipynb_checkpoints"):
        save(classes / name / "0.png")
    for name in (".DS_Store", "Thumbs.db", "README.md", "LICENSE"):
        (classes / name).write_bytes(b"x")
    looked = look_at(str(classes))
    assert looked.classes == ("linked", *WNIDS) and sum(looked.counts.values()) == 11
    assert looked.said.endswith(
        "; left out: 6 hidden or of the system, 2 outside a class, 1 links to what was read"
    )
    classes_in(flat / "train", ending=".JPEG")
    by_names(flat, flat_val(flat))
    for name in ("._ILSVRC2012_val_00000001.JPEG", ".DS_Store"):
        (flat / "val" / name).write_bytes(b"x")
    save(flat / "val" / ".AppleDouble" / "0.png")
    looked = look_at(str(flat))
    assert looked.counts["val"] == 6
    assert looked.said.endswith("left out: 3 hidden or of the system")


@pytest.mark.parametrize("where", ["", "n01440764", "n01440764/deep"])
def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch, where):
    """Root reads everything, so that the system is made to say no."""
    classes_in(tmp_path)
    save(tmp_path / WNIDS[0] / "deep" / "x.png")
    scandir = os.scandir

    def refuse(path):
        if str(path) == str(tmp_path / where):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(OSError, match="^the folder .* must be readable, it is not: Permission den"):
        look_at(str(tmp_path))


@pytest.mark.parametrize("name", ["owls.zip", "imagenet.tar.gz", "owl.jpg", "owls.TAR"])
def test_a_file_is_no_folder(tmp_path, name):
    (tmp_path / name).write_bytes(b"PK")
    what = "a file" if name.endswith("jpg") else "an archive: unpack it"
    with pytest.raises(ValueError, match=f"the data must be a folder, .*{name} is {what}$"):
        look_at(str(tmp_path / name))


def test_an_empty_file_is_refused_before_anything_runs(tmp_path):
    classes_in(tmp_path, ("a", "b"))
    (tmp_path / "a" / "empty.png").touch()
    looked = look_at(str(tmp_path))
    assert looked.faults == {"a/empty.png": "an empty file"}
    assert sum(looked.counts.values()) == 6 and "1 files that are no pictures" in looked.said
    with pytest.raises(ValueError, match="1 of 7 are not: .*a/empty.png .an empty file."):
        loaded(tmp_path, tmp_path)
    data = loaded(tmp_path, tmp_path, broken_images="skip")
    assert len(data.train) + len(data.val) == 6


@pytest.mark.parametrize("split", ["train", "val", ""])
def test_a_class_of_empty_files_is_none(tmp_path, split):
    """With skip the class would be there without an image."""
    for each in ("train", "val") if split else ("",):
        classes_in(tmp_path / each, ("a", "b"))
    for path in (tmp_path / split / "b").iterdir():
        path.write_bytes(b"")
    says = f"every class must have an image in {split or 'train'} that can be read, b of "
    with pytest.raises(ValueError, match=says):
        look_at(str(tmp_path))
    with pytest.raises(ValueError, match=says):
        loaded(tmp_path, tmp_path, broken_images="skip")
    with pytest.raises(ValueError, match="3 of .* are not: .*an empty file"):
        loaded(tmp_path, tmp_path)


def ten_thousand(root, n):
    pixel = io.BytesIO()
    Image.new("RGB", (2, 2)).save(pixel, "BMP")
    for i in range(10_000):
        (root / f"{i:05}").mkdir()
        for k in range(n):
            (root / f"{i:05}" / f"{k}.bmp").write_bytes(pixel.getvalue())


def test_ten_thousand_classes_of_one_image_give_one_sentence(tmp_path):
    ten_thousand(tmp_path, 1)
    with pytest.raises(ValueError, match="00000, 00001, 00002 and 9997 more of .* have one$"):
        look_at(str(tmp_path))


@pytest.mark.long
def test_ten_thousand_classes_are_read(tmp_path):
    ten_thousand(tmp_path, 2)
    assert look_at(str(tmp_path)).said.startswith("10,000 classes, 10,000 images in train and 10,0")


def test_what_was_listed_is_known_again(tmp_path):
    """A folder without a split is kept as a whole: each seed draws its own from it."""
    root = tmp_path / "data"
    classes_in(root, n=6)
    digest = look_at(str(root)).digest
    first = loaded(root, tmp_path, digest=digest)
    (kept,) = (tmp_path / "cache").glob("listing-*.npz")
    shutil.rmtree(root)
    again = loaded(root, tmp_path, digest=digest)
    assert again.val.files.names == first.val.files.names and again.said == first.said
    assert dataclasses.asdict(DataConfig())["val_share"] == 0.2 and kept.is_file()

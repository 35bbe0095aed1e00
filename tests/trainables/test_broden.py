"""A small folder in Broden's layout, written by hand, read back against loops."""

import csv
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from small_studies import small_base

from sweeps.plan.inputs import look_at_inputs
from trainables.config import DissectionConfig
from trainables.contents import with_contents
from trainables.datasets.broden import broden_digest, broden_folder

CATEGORIES = ["object", "part", "material", "scene"]
LABELS = [  # number, name, category; 300 needs the green channel
    (1, "sky", "object(3)"),
    (2, "dog", "object(2)"),
    (7, "head", "part(2);object(1)"),
    (9, "glass", "object(4);material(9)"),
    (300, "fur", "material(1)"),
    (12, "street-s", "scene(1)"),
    (13, "beach-s", "scene(1)"),
]
INDEX = {  # by number
    number: position for position, (number, _, _) in enumerate(LABELS)
}


def write_csv(file, columns, rows):
    with file.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(columns)
        writer.writerows(rows)


def write_map(file, numbers):
    numbers = np.asarray(numbers)
    blue = np.full_like(numbers, 77)  # which says nothing
    Image.fromarray(np.stack([numbers % 256, numbers // 256, blue], -1).astype(np.uint8)).save(file)


@pytest.fixture
def maps():
    draw = np.random.default_rng(0)
    return {
        "a_object.png": draw.choice([0, 1, 2, 7], (6, 8)),
        "a_part.png": draw.choice([0, 7], (6, 8)),
        "a_part2.png": draw.choice([0, 7, 9], (6, 8)),
        "b_material.png": draw.choice([0, 300, 9], (6, 8)),
        "c_object.png": draw.choice([0, 1, 2], (3, 4)),
    }


@pytest.fixture
def folder(tmp_path, maps):
    pictures = tmp_path / "images" / "ade"
    pictures.mkdir(parents=True)
    draw = np.random.default_rng(1)
    for name, size in (("a.jpg", (12, 16)), ("b.jpg", (20, 20)), ("c.jpg", (10, 10))):
        Image.fromarray(draw.integers(0, 256, (*size, 3), dtype=np.uint8)).save(pictures / name)
    for name, numbers in maps.items():
        write_map(pictures / name, numbers)
    write_csv(
        tmp_path / "category.csv",
        ["name", "first", "last", "count", "frequency"],
        [(name, 1, 300, 2, 3) for name in CATEGORIES],
    )
    write_csv(
        tmp_path / "label.csv",
        ["number", "name", "category", "frequency", "coverage", "syns"],
        [(number, name, its, 3, 1.5, "") for number, name, its in LABELS],
    )
    columns = ["code", "number", "name", "frequency", "coverage"]
    write_csv(tmp_path / "c_object.csv", columns, [(1, 7, "head", 1, 0.5), (2, 9, "glass", 4, 2.0)])
    write_csv(tmp_path / "c_part.csv", columns, [(1, 7, "head", 2, 0.75)])
    write_csv(tmp_path / "c_material.csv", columns, [(1, 9, "glass", 9, 1e-05)])
    write_csv(
        tmp_path / "index.csv",
        ["image", "split", "ih", "iw", "sh", "sw", *CATEGORIES],
        [
            ("ade/a.jpg", "train", 12, 16, 6, 8, "ade/a_object.png",
             "ade/a_part.png;ade/a_part2.png", "", "12"),
            ("ade/b.jpg", "val", 20, 20, 6, 8, "", "", "ade/b_material.png", "12;13"),
            ("ade/c.jpg", "train", 10, 10, 3, 4, "ade/c_object.png;2", "", "", ""),
        ],
    )  # fmt: skip
    return tmp_path


def read(folder, size=8, **more):
    parts = list(broden_folder(folder, 10, **more).batches(size))
    ids, images, labels, whole = zip(*parts, strict=True)
    return (
        torch.cat(ids),
        torch.cat(images),
        [row for part in labels for row in part],
        torch.cat(whole),
    )


def test_concepts_and_their_primary_categories(folder):
    source = broden_folder(folder, 10)
    assert source.spec.names == tuple(name for _, name, _ in LABELS)
    # head covers more as a part, glass more as an object, whatever comes first or oftener.
    assert source.spec.category == (
        "object", "object", "part", "object", "material", "scene", "scene",
    )  # fmt: skip
    assert len(source) == 3


def test_of_equal_coverages_the_last_category(folder):
    columns = ["code", "number", "name", "frequency", "coverage"]
    write_csv(folder / "c_part.csv", columns, [(1, 7, "head", 2, 0.5)])
    assert broden_folder(folder, 10).spec.category[2] == "part"


@pytest.mark.parametrize("size", [1, 2, 8])
def test_maps_against_loops(folder, maps, size):
    ids, _, labels, whole = read(folder, size)
    assert ids.tolist() == [0, 1, 2]
    assert whole.nonzero().tolist() == [[0, 5], [1, 5], [1, 6], [2, 1]]
    files = [["a_object.png", "a_part.png", "a_part2.png"], ["b_material.png"], ["c_object.png"]]
    for image, names in enumerate(files):
        for y in range(6):
            for x in range(8):
                # c's maps are half as large: each of their pixels is 2 x 2 here.
                at = (y // 2, x // 2) if image == 2 else (y, x)
                expected = {INDEX[maps[name][at]] for name in names if maps[name][at]}
                expected -= {int(concept) for concept in whole[image].nonzero()}
                found = [int(label) - 1 for label in labels[image][:, y, x] if label]
                assert len(found) == len(set(found)) and set(found) == expected


def test_images_are_square_and_rgb(folder):
    _, images, _, _ = read(folder)
    assert images.dtype == torch.uint8 and images.shape == (3, 3, 10, 10)
    with Image.open(folder / "images/ade/c.jpg") as picture:  # of the right size as it is
        assert np.array_equal(images[2].permute(1, 2, 0), np.asarray(picture.convert("RGB")))


def test_the_first_images_only(folder):
    assert len(broden_folder(folder, 10, n_images=2)) == 2
    with pytest.raises(ValueError, match="must hold the 4 images asked for, it has 3"):
        broden_folder(folder, 10, n_images=4)


def test_the_digest_changes_with_what_is_read(folder):
    digests = {broden_folder(folder, 10).digest, broden_folder(folder, 10, 2).digest}
    digests.add(broden_folder(folder, 12).digest)
    assert broden_folder(folder, 10).digest in digests and len(digests) == 3
    write_map(folder / "images/ade/b_material.png", np.zeros((6, 8), int))
    digests.add(broden_folder(folder, 10).digest)
    assert len(digests) == 4


def edit(file, old, new):
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    "file,old,new,match",
    [
        ("category.csv", "name", "title", r"category.csv must have the columns name, lacks"),
        ("index.csv", ",part,", ",limb,", r"index.csv must have the columns .* lacks \['part'\]"),
        ("index.csv", ",sh,", ",height,", r"lacks \['sh'\]"),
        ("index.csv", "6,8", "six,8", "line 2 of index.csv: sh must be a whole .* got 'six'"),
        ("index.csv", "12;13", "12;99", "line 3 of index.csv: scene must hold files or .* got 99"),
        ("index.csv", "b_material", "b_mat", "line 3 of index.csv: there is no file .*b_mat.png"),
        ("index.csv", "ade/c.jpg", "ade/d.jpg", "line 4 of index.csv: there is no file .*d.jpg"),
        ("label.csv", "300,", "3x,", "line 6 of label.csv: number must be a whole .* got '3x'"),
        ("label.csv", "300,", "7,", "line 6 of label.csv: .* but 7 came before"),
        ("label.csv", "scene(1)", "place(1)", "line 7 of label.csv: .* but 'place' is none"),
        ("c_part.csv", "0.75", "much", "line 2 of c_part.csv: coverage must be a .* got 'much'"),
    ],
)
def test_faults_are_named_by_file_and_line(folder, file, old, new, match):
    edit(folder / file, old, new)
    with pytest.raises(ValueError, match=match):
        broden_folder(folder, 10)


@pytest.mark.parametrize("file", ["category.csv", "label.csv", "index.csv", "c_object.csv"])
def test_missing_and_empty_tables(folder, file):
    header = (folder / file).read_text().splitlines()[0]
    (folder / file).write_text(header + "\n")
    with pytest.raises(ValueError, match=f"{file} must list something"):
        broden_folder(folder, 10)
    (folder / file).unlink()
    with pytest.raises(ValueError, match=f"must hold {file}, there is no"):
        broden_folder(folder, 10)


def test_maps_that_are_not_what_the_index_says(folder):
    material = folder / "images/ade/b_material.png"
    write_map(material, np.full((6, 8), 11))
    with pytest.raises(ValueError, match=r"line 3 of index.csv: .*b_material.png .* it holds 11"):
        read(folder)
    write_map(material, np.zeros((6, 9), int))
    with pytest.raises(ValueError, match="line 3 .* RGB image of 6 x 8 pixels, it is RGB of 6 x 9"):
        read(folder)
    Image.fromarray(np.zeros((6, 8), np.uint8)).save(material)
    with pytest.raises(ValueError, match="line 3 .* it is L of 6 x 8"):
        read(folder)
    material.write_bytes(b"no png")
    with pytest.raises(ValueError, match=r"line 3 of index.csv: .*b_material.png cannot be read"):
        read(folder)


@pytest.mark.parametrize("name", ["ade/a_part.png", "ade/b.jpg", "ade/c_object.png"])
def test_new_maps_and_images_of_old_names_and_sizes_are_seen(folder, name):
    """The sibling of bug report F04: sizes alone were looked at."""
    before, file = broden_digest(folder), folder / "images" / name
    assert broden_folder(folder, 8, None, before).contents == before
    data = bytearray(file.read_bytes())
    data[-20] ^= 1
    file.write_bytes(data)
    assert broden_digest(folder) != before
    assert (broden_digest(folder, 1) != before) and broden_digest(folder, 1) == broden_digest(
        folder, 1
    )
    with pytest.raises(ValueError, match="must stay as they were when the sweep was planned"):
        broden_folder(folder, 8, None, before)


def test_two_folders_are_two_trials_wherever_they_lie(folder, tmp_path_factory):
    """Of a plan, and in a notebook; a copy in another place is the same one."""
    copy, other = (tmp_path_factory.mktemp(name) / "concepts" for name in ("copy", "other"))
    for place in (copy, other):
        shutil.copytree(folder, place)
    write_map(other / "images" / "ade" / "a_object.png", np.full((6, 8), 2))
    paths = [str(place) for place in (folder, copy, other)]
    concepts = [DissectionConfig(concepts="broden", path=path, n_images=3) for path in paths]
    trials = [small_base(dissection=of_folder) for of_folder in concepts]
    planned = [look_at_inputs([trial])[0][0] for trial in trials]
    assert planned[0].key == planned[1].key != planned[2].key
    assert [with_contents(trial).key for trial in trials] == [trial.key for trial in planned]


def test_odd_images_and_damaged_maps(folder):
    """Read as pictures of a folder are: transparency on white, 16 bits scaled, damage refused."""
    images = folder / "images" / "ade"
    Image.new("RGBA", (16, 12), (0, 0, 0, 0)).save(images / "a.jpg", "PNG")
    Image.fromarray(np.full((20, 20), 65_535, np.uint16)).save(images / "b.jpg", "PNG")
    ((_, pictures, *_),) = broden_folder(folder, 8).batches(8)
    assert (pictures[:2] == 255).all()
    data = bytearray((images / "a_object.png").read_bytes())
    data[-20] ^= 1
    (images / "a_object.png").write_bytes(data)
    with pytest.raises(ValueError, match="line 2 of index.csv: the image .*a_object.png cannot be"):
        list(broden_folder(folder, 8).batches(8))

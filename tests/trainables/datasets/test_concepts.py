"""The generated images: exact maps, no class given away, the same at every call, cached safely."""

import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from math import cos, hypot, pi, sin
from pathlib import Path

import numpy as np
import pytest

from trainables.datasets import concepts
from trainables.datasets.concepts import classes, store
from trainables.datasets.concepts.draw import ConceptImages, draw_chunk
from trainables.datasets.concepts.plan import CHUNK, Objects, plan_chunk
from trainables.datasets.concepts.sprites import paint_objects

N_CLASSES = len(concepts.CLASSES)


@pytest.fixture(scope="module")
def large() -> ConceptImages:
    """Two whole chunks and a bit of a third."""
    return concepts.draw("train", 2 * CHUNK + 88, pixels=32)


@pytest.fixture(scope="module")
def plans() -> dict[str, np.ndarray]:
    """Labels, and concepts of the scene and the main object, of 5120 images (none painted)."""
    parts = []
    for chunk in range(20):
        plan, _ = plan_chunk("train", chunk, seed=0, pixels=64)
        objects = plan.objects
        main = objects.take(objects.radius > 8)
        np.testing.assert_array_equal(main.image, np.arange(CHUNK))
        parts.append((plan.labels, plan.scene, main.shape, main.texture, main.colour))
    names = ("label", "scene", "shape", "texture", "colour")
    return dict(zip(names, map(np.concatenate, zip(*parts, strict=True)), strict=True))


def assert_equal(got: ConceptImages, expected: ConceptImages, count: int | None = None) -> None:
    for name, values in vars(expected).items():
        np.testing.assert_array_equal(getattr(got, name), values[:count], err_msg=name)


# --- what a class is ---


def test_the_table_has_no_concept_that_tells_the_class() -> None:
    assert N_CLASSES == 20 == len(set(concepts.CLASSES)) == len(set(concepts.class_names()))
    shapes, textures = (Counter(column) for column in zip(*concepts.CLASSES, strict=True))
    colours, scenes = (Counter(column) for column in zip(*concepts.PREFERRED, strict=True))
    assert shapes == dict.fromkeys(concepts.SHAPES, 2)
    for counts, names in (
        (textures, concepts.TEXTURES),
        (colours, concepts.COLOURS),
        (scenes, concepts.SCENES),
    ):
        assert set(counts) == set(names)
        assert min(counts.values()) >= 2


def test_concepts_are_ten_shapes_eight_textures_ten_colours_eight_scenes() -> None:
    sizes = {category: len(set(names)) for category, names in concepts.CONCEPTS.items()}
    assert sizes == {"shape": 10, "texture": 8, "colour": 10, "scene": 8}


@pytest.mark.parametrize("category", ["shape", "texture", "colour", "scene"])
def test_a_concept_alone_leaves_several_classes(
    plans: dict[str, np.ndarray], category: str
) -> None:
    for concept in range(len(concepts.CONCEPTS[category])):
        seen = np.bincount(plans["label"][plans[category] == concept], minlength=N_CLASSES)
        assert np.count_nonzero(seen) >= 2
        assert seen.max() < 0.65 * seen.sum()


def test_main_objects_are_what_the_class_says(plans: dict[str, np.ndarray]) -> None:
    seen = set(zip(plans["label"], plans["shape"], plans["texture"], strict=True))
    assert seen == {
        (label, concepts.SHAPES.index(shape), concepts.TEXTURES.index(texture))
        for label, (shape, texture) in enumerate(concepts.CLASSES)
    }


@pytest.mark.parametrize(
    ("category", "names", "column", "share"),
    [
        ("colour", concepts.COLOURS, 0, classes.PREFERRED_COLOUR_SHARE),
        ("scene", concepts.SCENES, 1, classes.PREFERRED_SCENE_SHARE),
    ],
)
def test_colour_and_scene_are_correlated_with_the_class(
    plans: dict[str, np.ndarray], category: str, names: tuple[str, ...], column: int, share: float
) -> None:
    preferred = np.array([names.index(row[column]) for row in concepts.PREFERRED])
    hit = plans[category] == preferred[plans["label"]]
    expected = share + (1 - share) / len(names)  # a uniform draw may hit it too
    assert abs(hit.mean() - expected) < 4 * 0.5 / np.sqrt(len(hit))
    # Where it is not the preferred one, it is any of the others.
    others = (plans[category] - preferred[plans["label"]])[~hit] % len(names)
    counts = np.bincount(others, minlength=len(names))[1:]
    fair = len(others) / (len(names) - 1)
    assert counts.min() > fair - 5 * np.sqrt(fair)
    assert counts.max() < fair + 5 * np.sqrt(fair)


def test_raw_pixels_do_not_give_the_class_away(large: ConceptImages) -> None:
    pixels = large.images.reshape(len(large.images), -1).astype(np.float64)
    test = concepts.draw("val", CHUNK, pixels=32)
    means = np.stack([pixels[large.labels == label].mean(0) for label in range(N_CLASSES)])
    squared = (means**2).sum(1) - 2 * test.images.reshape(CHUNK, -1).astype(np.float64) @ means.T
    assert (squared.argmin(1) == test.labels).mean() < 0.35


# --- balance, determinism ---


@pytest.mark.parametrize("n_images", [1, 19, 256, 261, 600])
def test_every_prefix_is_balanced_within_one(large: ConceptImages, n_images: int) -> None:
    counts = np.bincount(large.labels[:n_images], minlength=N_CLASSES)
    assert counts.max() - counts.min() <= 1


def test_kinds_and_ranges(large: ConceptImages) -> None:
    n = 2 * CHUNK + 88
    assert large.images.shape == (n, 32, 32, 3)
    assert large.images.dtype == np.uint8
    assert large.labels.dtype == np.int64
    for category, names in concepts.CONCEPTS.items():
        values = getattr(large, category)
        assert values.dtype == np.uint8
        assert values.shape == ((n,) if category == "scene" else (n, 32, 32))
        assert set(np.unique(values)) == set(range(category == "scene", len(names) + 1))
    assert 60 < large.images.mean() < 190
    assert large.images.std(axis=(1, 2, 3)).min() > 8


def test_a_shorter_set_begins_a_longer_one(large: ConceptImages) -> None:
    assert_equal(concepts.draw("train", 270, pixels=32), large, 270)


def test_a_chunk_alone_is_the_chunk_of_the_set(large: ConceptImages) -> None:
    alone = draw_chunk("train", 1, seed=0, pixels=32)
    for name, values in vars(alone).items():
        np.testing.assert_array_equal(values, getattr(large, name)[CHUNK : 2 * CHUNK])


def test_splits_and_seeds_and_chunks_are_unlike(large: ConceptImages) -> None:
    others = [concepts.draw(split, 20, pixels=32) for split in ("val", "probe")]
    others += [concepts.draw("train", 20, seed=1, pixels=32)]
    sets = [large.images[:20], large.images[CHUNK : CHUNK + 20], *(o.images for o in others)]
    seen = {image.tobytes() for images in sets for image in images}
    assert len(seen) == 20 * len(sets)
    assert len({tuple(o.labels) for o in others} | {tuple(large.labels[:20])}) == 4


# --- maps, against an oracle that knows only what the shapes are ---


def _corners(count: int, radii: tuple[float, ...], first: float) -> list[tuple[float, float]]:
    turns = [first + 2 * pi * i / count for i in range(count)]
    return [
        (radii[i % len(radii)] * cos(turn), radii[i % len(radii)] * sin(turn))
        for i, turn in enumerate(turns)
    ]


def _rectangle(width: float, height: float) -> list[tuple[float, float]]:
    return [(width, height), (-width, height), (-width, -height), (width, -height)]


POLYGONS = {
    "square": [_rectangle(0.78, 0.78)],
    "triangle": [[(x, y + 0.2) for x, y in _corners(3, (1.16,), -pi / 2)]],
    "star": [_corners(10, (1.05, 0.5), -pi / 2)],
    "cross": [_rectangle(0.96, 0.34), _rectangle(0.34, 0.96)],
    "hexagon": [_corners(6, (0.84 / cos(pi / 6),), 0.0)],
    "bar": [_rectangle(1.0, 0.4)],
    "heart": [[(x, y + 0.08) for x, y in _corners(4, (0.58 * 2**0.5,), 0.0)]],
}
CURVES = {
    "disc": lambda x, y: hypot(x, y) < 0.94,
    "ring": lambda x, y: 0.36 < hypot(x, y) < 0.96,
    "crescent": lambda x, y: hypot(x, y) < 0.98 and hypot(x - 0.5, y) > 0.66,
    "heart": lambda x, y: hypot(abs(x) - 0.58 / 2**0.5, y - 0.08 + 0.58 / 2**0.5) < 0.58,
}


def _in_polygon(corners: list[tuple[float, float]], x: float, y: float) -> bool:
    """Even-odd rule."""
    within = False
    for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True):
        if (y0 > y) != (y1 > y) and x < x0 + (x1 - x0) * (y - y0) / (y1 - y0):
            within = not within
    return within


def is_inside(objects: Objects, i: int, column: float, row: float) -> bool:
    """Is this point of the image (in pixels) within the outline of object i?"""
    right = (column - float(objects.x[i])) / float(objects.radius[i])
    down = (row - float(objects.y[i])) / float(objects.radius[i])
    angle = float(objects.angle[i])
    x = right * cos(angle) + down * sin(angle)
    y = down * cos(angle) - right * sin(angle)
    shape = concepts.SHAPES[objects.shape[i]]
    return any(_in_polygon(corners, x, y) for corners in POLYGONS.get(shape, [])) or (
        shape in CURVES and CURVES[shape](x, y)
    )


def topmost(objects: Objects, rows: np.ndarray, column: float, row: float) -> int | None:
    """The last painted of the objects `rows` at a point."""
    hits = [
        i
        for i in rows
        if hypot(column - objects.x[i], row - objects.y[i]) < 1.3 * objects.radius[i]
        and is_inside(objects, i, column, row)
    ]
    return hits[-1] if hits else None


@pytest.mark.parametrize(("pixels", "images"), [(64, range(20)), (32, range(20, 40)), (100, [41])])
def test_maps_tell_the_topmost_object_at_every_pixel_centre(pixels: int, images: range) -> None:
    plan, _ = plan_chunk("probe", 0, seed=3, pixels=pixels)
    objects = plan.objects
    drawn = concepts.draw("probe", images[-1] + 1, seed=3, pixels=pixels)
    assert set(objects.shape) == set(range(10))
    unsure = 0
    for image in images:
        rows = np.nonzero(objects.image == image)[0]
        for row, column in np.ndindex(pixels, pixels):
            x, y = column + 0.5, row + 0.5
            top = topmost(objects, rows, x, y)
            expected = [0] * 3
            if top is not None:
                expected = [
                    int(concept[top]) + 1
                    for concept in (objects.shape, objects.texture, objects.colour)
                ]
            got = [int(m[image, row, column]) for m in (drawn.shape, drawn.texture, drawn.colour)]
            if got != expected:
                # float32 may err where the outline passes within a thousandth of a pixel.
                shifts = [(-1e-3, 0), (1e-3, 0), (0, -1e-3), (0, 1e-3)]
                around = {topmost(objects, rows, x + dx, y + dy) for dx, dy in shifts}
                assert len(around) > 1, (image, row, column, got, expected)
                unsure += 1
    assert unsure <= 3


def test_every_image_has_its_main_object_wholly_in_view(plans: dict[str, np.ndarray]) -> None:
    plan, _ = plan_chunk("train", 0, seed=0, pixels=64)
    main = plan.objects.take(plan.objects.radius > 8)
    for centre in (main.x, main.y):
        assert (centre - main.radius).min() >= 0
        assert (centre + main.radius).max() <= 64
    assert main.radius.min() >= 12
    assert main.radius.max() <= 23
    distractors = plan.objects.take(plan.objects.radius <= 8)
    assert (np.bincount(distractors.image) <= 2).all()
    assert distractors.radius.min() >= 3
    assert distractors.radius.max() <= 5
    assert 0.8 < len(distractors.image) / CHUNK < 1.2


def test_the_picture_shows_the_colour_that_the_map_tells() -> None:
    drawn = concepts.draw("val", CHUNK)
    palette = np.array(list(classes.PALETTE.values()), dtype=np.float64)
    chroma = palette - palette.mean(1, keepdims=True)
    for index, name in enumerate(concepts.COLOURS):
        seen = drawn.images[drawn.colour == index + 1].mean(0)
        seen -= seen.mean()
        if name == "grey":
            assert np.abs(seen).max() < 8
        else:
            likeness = seen @ chroma[index] / np.linalg.norm(seen) / np.linalg.norm(chroma[index])
            assert likeness > 0.95, name


def test_distractors_are_over_and_under_the_main_object() -> None:
    """Where an outline is over another, the picture shows the upper one's paint."""
    plan, _ = plan_chunk("train", 0, seed=0, pixels=64)
    objects = plan.objects
    sprites = paint_objects(objects, plan.light[objects.image], 1.0)
    drawn = concepts.draw("train", CHUNK)
    over = under = 0
    for i, sprite in enumerate(sprites):
        row, column = int(objects.y[i]), int(objects.x[i])
        rows = np.nonzero(objects.image == objects.image[i])[0]
        at = [
            int(j)
            for j in rows
            if hypot(objects.x[j] - column - 0.5, objects.y[j] - row - 0.5)
            < 1.3 * objects.radius[j]
            and is_inside(objects, j, column + 0.5, row + 0.5)
        ]
        if objects.radius[i] > 8 or i not in at or len(at) < 2 or max(at) > i + 1:
            continue
        top = at[-1]
        over += top == i
        under += top != i
        sprite = sprites[top]
        if sprite.cover[row - sprite.top, column - sprite.left] < 1:
            continue
        painted = sprite.picture[:, row - sprite.top, column - sprite.left]
        shown = drawn.images[objects.image[i], row, column]
        # Lighting and noise move it, but not by as much as the tones differ.
        assert np.abs(shown - painted).max() < 75
    assert over >= 10
    assert under >= 10


# --- arguments ---


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "test"}, "split must be one of train, val, probe, got 'test'"),
        ({"n_images": 0}, "n_images must be at least 1, got 0"),
        ({"seed": -1}, r"seed must be at least 0 and below 2\*\*64, got -1"),
        (
            {"pixels": 31},
            "data.pixels of generated images must be a whole number from 32 to 256, got 31",
        ),
        (
            {"pixels": 257},
            "data.pixels of generated images must be a whole number from 32 to 256, got 257",
        ),
    ],
)
def test_wrong_arguments_are_refused(
    arguments: dict[str, object], message: str, tmp_path: Path
) -> None:
    call: dict = {"split": "train", "n_images": 4, **arguments}
    with pytest.raises(ValueError, match=message):
        concepts.draw(**call)
    with pytest.raises(ValueError, match=message):
        concepts.load(**call, root=tmp_path)
    assert not list(tmp_path.iterdir())


# --- the cache ---


def load(root: Path, **changes: object) -> ConceptImages:
    call: dict = {"split": "val", "n_images": 200, "pixels": 32, "root": root, **changes}
    return concepts.load(**call)


def forbid_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("drawn again")

    monkeypatch.setattr(store, "draw_chunks", refuse)


def test_the_second_load_opens_what_the_first_drew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[int, int]] = []
    root = tmp_path / "new" / "cache"
    first = load(root, n_images=300, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(256, 300), (300, 300)]
    assert_equal(first, concepts.draw("val", 300, pixels=32))
    forbid_drawing(monkeypatch)
    second = load(root, n_images=300)
    assert_equal(second, first)
    assert isinstance(second.images, np.memmap)
    assert not second.images.flags.writeable
    assert len(list(root.iterdir())) == 1


@pytest.mark.parametrize(
    "changes", [{"split": "train"}, {"n_images": 199}, {"seed": 1}, {"pixels": 33}, {"VERSION": 2}]
)
def test_whatever_the_images_depend_on_is_in_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object]
) -> None:
    load(tmp_path)
    forbid_drawing(monkeypatch)
    load(tmp_path)
    if "VERSION" in changes:
        monkeypatch.setattr(store, "VERSION", changes["VERSION"])
        changes = {}
    with pytest.raises(RuntimeError, match="drawn again"):
        load(tmp_path, **changes)


@pytest.mark.parametrize("damage", ["cut", "emptied", "missing", "another shape"])
def test_a_damaged_cache_is_drawn_anew(tmp_path: Path, damage: str) -> None:
    expected = load(tmp_path)
    (folder,) = tmp_path.iterdir()
    file = folder / "texture.npy"
    whole = file.read_bytes()
    copy = expected.texture.copy()
    expected = ConceptImages(**{**vars(expected), "texture": copy})
    file.unlink()  # the arrays above stay mapped to what it was
    if damage == "cut":
        file.write_bytes(whole[: len(whole) // 2])
    elif damage == "emptied":
        file.write_bytes(b"")
    elif damage == "another shape":
        np.save(file, copy[:-1])
    assert_equal(load(tmp_path), expected)
    assert file.read_bytes() == whole
    assert list(tmp_path.iterdir()) == [folder]


def test_a_build_that_is_interrupted_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        assert list(tmp_path.glob("*.partial-*"))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load(tmp_path, progress=interrupt)
    assert not list(tmp_path.iterdir())


def test_what_a_killed_build_left_is_removed_once_it_is_old(tmp_path: Path) -> None:
    name = f"concepts-v{store.VERSION}-val-200-seed0-32px"
    old, fresh = (tmp_path / f"{name}.partial-{kind}" for kind in ("old", "fresh"))
    for folder in (old, fresh):
        folder.mkdir()
        (folder / "images.npy").write_bytes(b"half")
    for path in (old / "images.npy", old):
        os.utime(path, (time.time() - 7200,) * 2)
    load(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {name, fresh.name}


def test_a_build_under_way_stays_however_old_a_clock_that_jumps_makes_it(tmp_path: Path) -> None:
    """The sibling of orders that hang on the clock: another machine's may be hours ahead."""

    def jump(done: int, total: int) -> None:
        (partial,) = tmp_path.glob("*.partial-*")
        for path in (*partial.rglob("*"), partial):
            os.utime(path, (0, 0))
        store._remove_abandoned(tmp_path / partial.name.partition(".partial-")[0])
        assert list(partial.rglob("*.npy"))

    load(tmp_path, progress=jump)
    (folder,) = tmp_path.iterdir()
    assert ".partial-" not in folder.name


def test_no_room_is_said_before_anything_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid_drawing(monkeypatch)
    monkeypatch.setattr(
        shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 10**6)
    )
    with pytest.raises(OSError, match=r"need 1\.2 MB of disk, but 1\.0 MB are free in .+") as error:
        load(tmp_path)
    assert str(tmp_path) in str(error.value)
    assert not list(tmp_path.iterdir())


BUILDER = """
import pathlib, sys, time
from trainables.datasets import concepts

root, mine, other = pathlib.Path(sys.argv[1]), *sys.argv[2:]

def meet(done, total):  # neither goes on before both have begun to build
    (root / mine).touch()
    while not (root / other).exists():
        time.sleep(0.005)

images = concepts.load("val", 300, pixels=32, root=root / "cache", progress=meet)
print(int(images.images.sum()), int(images.shape.sum()))
"""


@pytest.mark.parametrize("broken", [False, True])
def test_two_processes_may_build_at_once(tmp_path: Path, broken: bool) -> None:
    folder = tmp_path / "cache" / f"concepts-v{store.VERSION}-val-300-seed0-32px"
    if broken:
        folder.mkdir(parents=True)
        (folder / "images.npy").write_bytes(b"cut")
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", BUILDER, str(tmp_path), *names],
            cwd=Path(concepts.__file__).parents[3],
            stdout=subprocess.PIPE,
            text=True,
        )
        for names in (("a", "b"), ("b", "a"))
    ]
    try:
        outputs = [process.communicate(timeout=60)[0].split() for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert all(process.returncode == 0 for process in processes)
    right = concepts.draw("val", 300, pixels=32)
    expected = [str(int(right.images.sum())), str(int(right.shape.sum()))]
    assert outputs == [expected, expected]
    assert_equal(load(tmp_path / "cache", n_images=300), right)
    assert list((tmp_path / "cache").iterdir()) == [folder]

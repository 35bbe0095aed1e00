"""A folder in Broden's layout, as its authors distribute it (Bau et al. 2017, Sec. 2.1).

category.csv names the categories, label.csv the concepts by number, index.csv the images of
images/ and, in a column a category, what they show: png files whose pixels hold the number as
red + 256 x green, or numbers that hold for the whole image, separated by semicolons.
"""

import csv
import hashlib
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from mis.dissection.concepts import ConceptSpec
from trainables.datasets.concept_maps import LabelledBatch
from trainables.datasets.decoding import read_channels, read_picture
from trainables.datasets.names import shown
from trainables.datasets.regular import UnreadableError, mark_of
from trainables.fields import digest_of

_UNKNOWN = -1  # of a number that label.csv does not list
_THREADS = 4

Table = list[tuple[int, dict[str, str]]]  # line in the file, its cells by column


@dataclass(frozen=True)
class _Row:
    """One image and what is known of it."""

    line: int  # in index.csv
    image: Path
    maps: tuple[Path, ...]
    whole: tuple[int, ...]  # concepts of the whole image
    size: tuple[int, int]  # of its maps: height, width


def broden_folder(
    path: Path, pixels: int, n_images: int | None = None, contents: str = ""
) -> "_Broden":
    """The first n_images (None: all, of every split) of a folder in Broden's layout.

    Images are resized to pixels x pixels. Maps are taken as they are; those of another size than
    the first image's are brought to it, nearest pixel. A concept of several categories belongs to
    the one in which it covers most (c_<category>.csv), of equal ones to the last, as with the
    authors; on a pixel that several maps give it, it counts once.

    contents: `broden_digest` when the sweep was planned. Raises ValueError, naming file and line,
    for files and columns that are missing, for numbers that are none or no concept's, for fewer
    images than asked for, and for a folder that has changed; while reading, for files that cannot
    be read and maps of another size than index.csv says.
    """
    categories = [row["name"] for _, row in _read(path / "category.csv", ["name"])]
    numbers, spec = _concepts(path, categories)
    table = _read(path / "index.csv", ["image", "sh", "sw", *categories])
    if n_images is not None and n_images > len(table):
        raise ValueError(f"{path} must hold the {n_images} images asked for, it has {len(table)}")
    rows = tuple(_row(path, line, cells, categories, numbers) for line, cells in table[:n_images])
    lookup = np.full(2**16, _UNKNOWN)  # what two bytes can hold
    lookup[0] = 0
    for number, concept in numbers.items():
        lookup[number] = concept + 1
    found = _contents(path, rows)
    if contents and found != contents:
        raise ValueError(
            f"the images and maps of {shown(path)} must stay as they were when the sweep was "
            "planned, they have changed; plan it anew"
        )
    digest = digest_of(["broden", spec.category, found, pixels, n_images])[:16]
    return _Broden(rows, spec, digest, pixels, lookup, found)


def broden_digest(path: Path, n_images: int | None = None) -> str:
    """16 hex digits of the tables, and of the first n_images with their maps.

    Raises ValueError as `broden_folder`.
    """
    return broden_folder(path, 1, n_images).contents


def _contents(path: Path, rows: Sequence[_Row]) -> str:
    """Changes with any byte of the tables, and with what is in the images and maps."""

    def mark(file: Path) -> int:
        try:
            return mark_of(file)
        except UnreadableError as error:
            raise ValueError(f"{shown(file)} of index.csv must be a file: {error.why}") from error

    tables = [path / f"{name}.csv" for name in ("category", "label", "index")]
    read = [hashlib.sha256(file.read_bytes()).hexdigest() for file in tables]
    marks: list[int] = []
    with ThreadPoolExecutor(_THREADS) as threads:
        for start in range(0, len(rows), 1_024):
            files = [f for row in rows[start : start + 1_024] for f in (row.image, *row.maps)]
            marks += threads.map(mark, files)
    return digest_of([read, marks])[:16]


@dataclass(frozen=True)
class _Broden:
    rows: tuple[_Row, ...]
    spec: ConceptSpec
    digest: str
    pixels: int
    lookup: np.ndarray  # int64 [number], 0 for none, else concept + 1
    contents: str  # `broden_digest`

    def __len__(self) -> int:
        return len(self.rows)

    def batches(self, batch_size: int) -> Iterator[LabelledBatch]:
        with ThreadPoolExecutor(_THREADS) as threads:
            for ids in torch.arange(len(self)).split(batch_size):
                rows = [self.rows[i] for i in ids.tolist()]
                images = list(threads.map(self._image, rows))
                maps = list(threads.map(self._maps, rows))
                labels = np.zeros((len(rows), max(map(len, maps)), *self.rows[0].size), np.int64)
                whole = torch.zeros(len(rows), len(self.spec.names), dtype=torch.bool)
                for i, row in enumerate(rows):
                    labels[i, : len(maps[i])] = maps[i]
                    whole[i, list(row.whole)] = True
                pictures = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
                yield ids, pictures, torch.from_numpy(labels), whole

    def _image(self, row: _Row) -> np.ndarray:
        """uint8 [pixels, pixels, 3]"""
        try:
            picture = read_picture(row.image)
        except UnreadableError as error:
            raise ValueError(f"line {row.line} of index.csv: {error}") from error
        if picture.size != (self.pixels, self.pixels):
            picture = picture.resize((self.pixels, self.pixels), Image.Resampling.BILINEAR)
        return np.asarray(picture)

    def _maps(self, row: _Row) -> list[np.ndarray]:
        """int64 [H, W] each, at least one; no concept twice on a pixel."""
        maps: list[np.ndarray] = []
        for file in row.maps:
            labels = _nearest(self._labels(file, row), self.rows[0].size)
            repeated = np.isin(labels, [concept + 1 for concept in row.whole])
            for before in maps:
                repeated |= labels == before
            maps.append(np.where(repeated, 0, labels))
        return maps or [np.zeros(self.rows[0].size, np.int64)]

    def _labels(self, file: Path, row: _Row) -> np.ndarray:
        picture = _open(file, row)
        if picture.mode not in ("RGB", "RGBA") or picture.size != row.size[::-1]:
            raise ValueError(
                f"line {row.line} of index.csv: {file} must be an RGB image of "
                f"{row.size[0]} x {row.size[1]} pixels, it is {picture.mode} of "
                f"{picture.height} x {picture.width}"
            )
        channels = np.asarray(picture, np.int64)
        numbers = channels[..., 0] + 256 * channels[..., 1]
        labels = self.lookup[numbers]
        if (labels == _UNKNOWN).any():
            raise ValueError(
                f"line {row.line} of index.csv: {file} must hold numbers that label.csv lists, "
                f"it holds {int(numbers[labels == _UNKNOWN][0])}"
            )
        return labels


def _open(file: Path, row: _Row) -> Image.Image:
    """As it is: its channels are numbers."""
    try:
        return read_channels(file)
    except UnreadableError as error:
        raise ValueError(f"line {row.line} of index.csv: {error}") from error


def _nearest(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if labels.shape == size:
        return labels
    rows, columns = (
        ((np.arange(wanted) + 0.5) * present / wanted).astype(int)
        for wanted, present in zip(size, labels.shape, strict=True)
    )
    return labels[rows[:, None], columns]


def _read(file: Path, columns: list[str]) -> Table:
    if not file.is_file():
        raise ValueError(f"a folder in Broden's layout must hold {file.name}, there is no {file}")
    with file.open(newline="", encoding="utf-8") as lines:
        reader = csv.DictReader(lines, restval="")
        missing = [name for name in columns if name not in (reader.fieldnames or ())]
        if missing:
            raise ValueError(f"{file} must have the columns {', '.join(columns)}, lacks {missing}")
        table = [(reader.line_num, row) for row in reader]
    if not table:
        raise ValueError(f"{file} must list something, it has no line but the first")
    return table


def _number(text: str, file: str, line: int, column: str, legal: range) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) not in legal:
        raise ValueError(
            f"line {line} of {file}: {column} must be a whole number from {legal[0]} to "
            f"{legal[-1]}, got {text!r}"
        )
    return int(text)


def _concepts(path: Path, categories: list[str]) -> tuple[dict[int, int], ConceptSpec]:
    """Number -> concept, and the concepts, in the order of label.csv."""
    numbers: dict[int, int] = {}
    names: list[str] = []
    primary: list[str] = []
    coverage: dict[str, dict[int, float]] = {}
    for line, row in _read(path / "label.csv", ["number", "name", "category"]):
        number = _number(row["number"], "label.csv", line, "number", range(1, 2**16))
        its = [part.partition("(")[0] for part in row["category"].split(";")]
        unknown = [category for category in its if category not in categories]
        if unknown or number in numbers:
            fault = f"{unknown[0]!r} is none" if unknown else f"{number} came before"
            raise ValueError(
                f"line {line} of label.csv: a number must come once and its categories must be "
                f"of category.csv, but {fault}"
            )
        if len(its) > 1:
            for category in its:
                if category not in coverage:
                    coverage[category] = _coverage(path / f"c_{category}.csv")
            # Of equals the last, as in the authors' code.
            its.sort(key=lambda c: (coverage[c].get(number, 0.0), categories.index(c)))
        numbers[number] = len(names)
        names.append(row["name"])
        primary.append(its[-1])
    return numbers, ConceptSpec(tuple(names), tuple(primary))


def _coverage(file: Path) -> dict[int, float]:
    """Number -> pixels in this category, in whole images."""
    covered = {}
    for line, row in _read(file, ["number", "coverage"]):
        number = _number(row["number"], file.name, line, "number", range(1, 2**16))
        try:
            covered[number] = float(row["coverage"])
        except ValueError:
            raise ValueError(
                f"line {line} of {file.name}: coverage must be a number, got {row['coverage']!r}"
            ) from None
    return covered


def _row(
    path: Path, line: int, cells: dict[str, str], categories: list[str], numbers: dict[int, int]
) -> _Row:
    height, width = (
        _number(cells[side], "index.csv", line, side, range(1, 10**6)) for side in ("sh", "sw")
    )
    maps, whole = [], []
    for category in categories:
        for entry in filter(None, cells[category].split(";")):
            if not entry.isdecimal():
                maps.append(path / "images" / entry)
            elif int(entry) in numbers:
                whole.append(numbers[int(entry)])
            elif int(entry) != 0:
                raise ValueError(
                    f"line {line} of index.csv: {category} must hold files or numbers that "
                    f"label.csv lists, got {entry}"
                )
    image = path / "images" / cells["image"]
    for file in (image, *maps):
        if not file.is_file():
            raise ValueError(f"line {line} of index.csv: there is no file {file}")
    return _Row(line, image, tuple(maps), tuple(dict.fromkeys(whole)), (height, width))

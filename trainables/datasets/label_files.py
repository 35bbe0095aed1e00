"""Files that say which class each picture of a flat folder is of, as data sets ship them.

Of ImageNet's validation images there are four: the devkit's numbers, a CSV file (Kaggle), names
with a class (Caffe), a class per line (TensorFlow); and Tiny ImageNet has one of its own.
"""

import csv
import re
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import IO

import numpy as np

from trainables.datasets.names import shown, some

Labels = dict[str, str]
"""Name of a picture, with or without its ending, or its number in the data set -> its class."""

_TRUTH, _META = "ILSVRC2012_validation_ground_truth.txt", "meta.mat"
_KAGGLE = ("ILSVRC", "Data", "CLS-LOC")
_NUMBER = re.compile(r"ILSVRC\d{4}_val_0*(\d+)$")
KNOWN = (
    "val_annotations.txt, LOC_val_solution.csv, val.txt with a name and a class per line, "
    f"*synset_labels.txt, or {_TRUTH} with {_META}"
)


def labelled(
    root: Path, at: str, pictures: Sequence[str], classes: Sequence[str]
) -> tuple[dict[str, list[str]], str] | None:
    """Class -> its pictures, and the file that says so; None where there is no such file.

    at: the folder of the flat split, relative to root, as `pictures` are. classes: of train/.
    Raises ValueError for a file that cannot be understood, or does not name every picture.
    """
    for file, read in _files(root, at):
        try:
            labels = read(file, classes)
        except (OSError, EOFError, tarfile.TarError, UnicodeDecodeError, csv.Error) as error:
            said = getattr(error, "strerror", None) or (str(error).splitlines() or [""])[0]
            raise ValueError(f"{shown(file)} must be readable, it is not: {shown(said)}") from error
        found: dict[str, list[str]] = {}
        without = []
        for picture in pictures:
            name = picture.rpartition("/")[2]
            stem = name.rpartition(".")[0]
            number = _NUMBER.match(stem)
            keys = (name, stem, number.group(1) if number else "")
            label = next((labels[key] for key in keys if key in labels), None)
            if label is None:
                without.append(name)
            else:
                found.setdefault(label, []).append(picture)
        if without:
            raise ValueError(
                f"every image of {shown(root / at)} must have its class in {shown(file)}, "
                f"{len(without):,} of {len(pictures):,} have none there: {some(without)}"
            )
        return found, file.name
    return None


Read = Callable[[Path, Sequence[str]], Labels]


def _files(root: Path, at: str) -> Iterator[tuple[Path, Read]]:
    """Files that are there, the most telling first, and what reads each."""
    folder = root / at
    base = folder.parent
    places = list(dict.fromkeys([folder, folder.parent, root]))
    if base.parts[-3:] == _KAGGLE:  # as Kaggle's archive unpacks, beside ILSVRC/
        places.append(base.parents[2])
    kinds: list[tuple[str, Read]] = [
        ("val_annotations.txt", _names_and_classes),
        ("LOC_val_solution.csv", _kaggle),
        ("*synset_labels*.txt", _class_per_line),
        ("val.txt", _names_and_classes),
        (_TRUTH, _devkit),
        (f"*devkit*/data/{_TRUTH}", _devkit),
        (f"*devkit*/{_TRUTH}", _devkit),
        ("ILSVRC2012_devkit*.tar.gz", _packed_devkit),
    ]
    for pattern, read in kinds:
        for place in places:
            yield from ((file, read) for file in sorted(place.glob(pattern)) if file.is_file())


def _lines(file: Path) -> list[str]:
    return [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]


def _names_and_classes(file: Path, classes: Sequence[str]) -> Labels:
    """A name and its class per line; more may follow. Classes are names, or all of them numbers."""
    rows = [line.split() for line in _lines(file)]
    for row in rows:
        if len(row) < 2:
            raise ValueError(
                f"{shown(file)} must have a name and a class per line, got {shown(' '.join(row))!r}"
            )
    names = {PurePosixPath(row[0]).name: row[1] for row in rows}
    known = set(classes)
    if not all(label.isdecimal() and label not in known for label in names.values()):
        return names
    listed = file.with_name("synsets.txt")
    order = _lines(listed) if listed.is_file() else sorted(classes)
    # Numbers mean nothing unless they are of just these classes: ten folders of a thousand are not.
    if {int(label) for label in names.values()} != set(range(len(order))):
        raise ValueError(
            f"the numbers in {shown(file)} must be 0 … {len(order) - 1:,}, one for each of the "
            f"{len(order):,} classes in order, they are not; a synsets.txt beside it names the "
            "classes of other numbers"
        )
    return {name: order[int(label)] for name, label in names.items()}


def _kaggle(file: Path, classes: Sequence[str]) -> Labels:
    with file.open(newline="", encoding="utf-8") as lines:
        rows = csv.DictReader(lines)
        if not {"ImageId", "PredictionString"} <= set(rows.fieldnames or ()):
            raise ValueError(f"{shown(file)} must have the columns ImageId and PredictionString")
        return {
            row["ImageId"]: row["PredictionString"].split()[0]
            for row in rows
            if row["ImageId"] and (row["PredictionString"] or "").strip()
        }


def _class_per_line(file: Path, classes: Sequence[str]) -> Labels:
    """Of the first image, the second, …"""
    return {str(n): line.strip() for n, line in enumerate(_lines(file), start=1)}


def _devkit(file: Path, classes: Sequence[str]) -> Labels:
    for meta in (file.with_name(_META), file.parent / "data" / _META):
        if meta.is_file():
            with meta.open("rb") as opened:
                return _by_number(file, _lines(file), _synsets(opened, meta))
    raise ValueError(f"{shown(file)} needs the devkit's {_META} beside it, which names its numbers")


def _packed_devkit(file: Path, classes: Sequence[str]) -> Labels:
    with tarfile.open(file) as archive:
        inside = {PurePosixPath(member.name).name: member for member in archive if member.isfile()}
        if not {_TRUTH, _META} <= set(inside):
            raise ValueError(f"{shown(file)} must hold {_TRUTH} and {_META}, it does not")
        truth, meta = (archive.extractfile(inside[name]) or BytesIO() for name in (_TRUTH, _META))
        return _by_number(file, truth.read().decode().split(), _synsets(meta, file))


def _synsets(meta: IO[bytes], file: Path) -> dict[str, str]:
    """The devkit's number of each class -> its WordNet id."""
    from scipy.io import loadmat

    try:
        synsets = np.atleast_1d(loadmat(meta, squeeze_me=True)["synsets"])
        return {
            str(int(number)): str(wnid)
            for number, wnid in zip(synsets["ILSVRC2012_ID"], synsets["WNID"], strict=True)
        }
    except Exception as error:  # scipy raises as many kinds as there are ways to be no such file
        raise ValueError(
            f"{shown(file)} must be the devkit's, with synsets of ILSVRC2012_ID and WNID, it is not"
        ) from error


def _by_number(file: Path, lines: Sequence[str], synsets: Mapping[str, str]) -> Labels:
    labels = {}
    for n, line in enumerate(lines, start=1):
        if line.strip() not in synsets:
            raise ValueError(
                f"line {n:,} of {shown(file)} must be the number of a class in {_META}, got "
                f"{shown(line.strip())!r}"
            )
        labels[str(n)] = synsets[line.strip()]
    return labels

"""What a folder of pictures holds: classes and files, each known by what is in it."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np

from trainables.datasets.images import Progress
from trainables.datasets.layouts import lay_out, listed
from trainables.datasets.many_names import Names
from trainables.datasets.names import some
from trainables.datasets.regular import EMPTY, UnreadableError, mark_of

SPLITS = ("train", "val")
_AT_ONCE = 16  # files that are read side by side
_PART = 4_096  # names that are hashed at once


@dataclass(frozen=True)
class Split:
    """The pictures of one split, in order of class and name.

    names: "train/n01/a.JPEG", relative to the folder. labels: int64 [picture].
    marks: int64 [picture], of what each file holds (`mark_of`); -1 where it cannot be read.
    """

    names: Names
    labels: np.ndarray
    marks: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    def at(self, places: np.ndarray) -> "Split":
        """The pictures at these places."""
        return Split(self.names.at(places), self.labels[places], self.marks[places])


@dataclass(frozen=True)
class Listing:
    """splits: "train" and "val", or `layouts.POOL` alone where a split must be drawn first.

    faults: by name, why a file with a picture's ending is none. left_out: kind -> how many.
    called: "train", "val" -> how people know it. notes: for people, what else there is to say.
    """

    classes: tuple[str, ...]
    splits: dict[str, Split]
    faults: dict[str, str]
    left_out: dict[str, int]
    called: tuple[str, str] = ("train/", "val/")
    notes: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """16 hex digits: changes with any file's name, size or contents, not with place or time."""
        found = hashlib.sha256(b"[" + json.dumps(self.classes).encode())
        for split in self.splits.values():
            for values in (split.names, split.labels, split.marks):
                found.update(b", [")
                _add(found, values)
                found.update(b"]")
        found.update(b"]")
        return found.hexdigest()[:16]

    @property
    def counts(self) -> dict[str, int]:
        """Split -> how many pictures it has, those that cannot be read left out."""
        return {name: int((split.marks >= 0).sum()) for name, split in self.splits.items()}

    @property
    def counts_per_class(self) -> dict[str, tuple[int, ...]]:
        """Split -> the same of each class."""
        n = len(self.classes)
        return {
            name: tuple(np.bincount(split.labels[split.marks >= 0], minlength=n).tolist())
            for name, split in self.splits.items()
        }

    def said(self) -> str:
        """For people: classes, pictures, and what was left out."""
        train, val = (self.counts[name] for name in SPLITS)
        text = f"{len(self.classes):,} classes, {train:,} images in {self.called[0]}"
        text = "; ".join([f"{text} and {val:,} in {self.called[1]}", *self.notes])
        if self.faults:
            text += f"; {len(self.faults):,} files that are no pictures"
        return text + (f"; left out: {listed(self.left_out)}" if self.left_out else "")

    def require_pictures(self, where: object) -> None:
        """Raise ValueError where a file that ends as a picture is none."""
        if self.faults:
            refuse_broken(where, self.faults, sum(len(split) for split in self.splits.values()))


def _add(found: "hashlib._Hash", values: Sequence[str] | np.ndarray) -> None:
    """A list as JSON has it, in parts: whole, that of a million names is a gigabyte."""
    for start in range(0, len(values), _PART):
        part = values[start : start + _PART]
        told = part.tolist() if isinstance(part, np.ndarray) else list(part)
        found.update((", " if start else "").encode() + json.dumps(told)[1:-1].encode())


def refuse_broken(where: object, broken: Mapping[str, str], n_images: int) -> NoReturn:
    raise ValueError(
        f"every image must be readable to its end, {len(broken)} of {n_images} are not: "
        f"{some_broken(where, broken)}; data.broken_images='skip' leaves them out"
    )


def some_broken(where: object, broken: Mapping[str, str]) -> str:
    """The first names, each with the reason."""
    return some([f"{where}/{name} ({why})" for name, why in broken.items()])


def list_folder(root: Path, progress: Progress | None = None) -> Listing:
    """What is in `root`. Every picture is looked at, a few blocks of it (`mark_of`).

    Raises ValueError for a folder that is not as it must be, OSError for a disk that is away.
    """
    layout = lay_out(root)
    classes, faults = layout.classes, dict(layout.faults)
    names = {
        split: [name for files in its.values() for name in files]
        for split, its in layout.splits.items()
    }
    marks = _marks(root, [name for its in names.values() for name in its], faults, progress)
    splits = {}
    for split, its in layout.splits.items():
        lengths = [len(its[name]) for name in classes]
        labels = np.repeat(np.arange(len(classes), dtype=np.int64), lengths)
        ours, marks = marks[: len(labels)], marks[len(labels) :]
        splits[split] = Split(Names.of(names[split]), labels, ours)
    left_out, faults = dict(layout.left_out), dict(sorted(faults.items()))
    return Listing(classes, splits, faults, left_out, layout.called, layout.notes)


def _marks(
    root: Path, names: list[str], faults: dict[str, str], progress: Progress | None
) -> np.ndarray:
    """int64 [picture]; what cannot be read is told in `faults`."""
    marks = np.full(len(names), -1, np.int64)

    def look(start: int) -> None:
        for i in range(start, min(start + 256, len(names))):
            try:
                mark = mark_of(os.path.join(root, names[i]))
                if mark == EMPTY:
                    raise UnreadableError("an empty file")
                marks[i] = mark
            except UnreadableError as error:
                faults[names[i]] = str(error)

    starts = range(0, len(names), 256)  # chunks, since a future a picture would need gigabytes
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        for start, _ in zip(starts, threads.map(look, starts), strict=True):
            if progress is not None:
                progress(min(start + 256, len(names)), len(names))
    return marks

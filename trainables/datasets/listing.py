"""What a folder in ImageNet's layout holds: train/ and val/, in each a folder a class.

Read are the files that torchvision's ImageFolder reads, in its order, sub folders of a class
included. Hidden and system folders are no classes, hidden files no pictures; what is left out is
counted, so that it can be said.
"""

import os
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from torchvision.datasets.folder import IMG_EXTENSIONS

from trainables.datasets.images import Progress
from trainables.datasets.names import shown, some
from trainables.datasets.regular import UnreadableError, mark_of
from trainables.fields import digest_of

SPLITS = ("train", "val")
# What systems and storage boxes put beside people's files; all that begin with a dot as well.
_SYSTEM = {
    "$recycle.bin", "recycler", "system volume information", "lost+found", "__macosx",
    "@eadir", "#recycle", "@recycle", "@recently-snapshot", "#snapshot", "~snapshot",
    "__pycache__", "thumbs.db", "desktop.ini",
}  # fmt: skip
_HIDDEN, _OUTSIDE, _LINKS = "hidden or of the system", "outside a class", "links to what was read"
_KINDS = 6  # that are named of what is left out
_AT_ONCE = 16  # files that are read side by side


@dataclass(frozen=True)
class Split:
    """The pictures of train/ or val/, in order of class and name.

    names: "train/n01/a.JPEG", relative to the folder. labels: int64 [picture].
    marks: int64 [picture], of what each file holds (`mark_of`); -1 where it cannot be read.
    """

    names: tuple[str, ...]
    labels: np.ndarray
    marks: np.ndarray

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class Listing:
    """faults: by name, why a file with a picture's ending is none. left_out: kind -> how many."""

    classes: tuple[str, ...]
    splits: dict[str, Split]
    faults: dict[str, str]
    left_out: dict[str, int]

    @property
    def digest(self) -> str:
        """16 hex digits: changes with any file's name, size or contents, not with place or time."""
        parts: list[object] = [self.classes]
        for split in self.splits.values():
            parts += [list(split.names), split.labels.tolist(), split.marks.tolist()]
        return digest_of(parts)[:16]

    @property
    def counts(self) -> dict[str, int]:
        """Split -> how many pictures it has, those that cannot be read left out."""
        return {name: int((split.marks >= 0).sum()) for name, split in self.splits.items()}

    def said(self) -> str:
        """For people: classes, pictures, and what was left out."""
        train, val = (self.counts[name] for name in SPLITS)
        text = f"{len(self.classes):,} classes, {train:,} images in train/ and {val:,} in val/"
        if self.faults:
            text += f"; {len(self.faults):,} files that are no pictures"
        return text + (f"; left out: {_listed(self.left_out)}" if self.left_out else "")


def is_ours(name: str) -> bool:
    """Whether a file or folder is one that somebody put there, and no system's."""
    return not name.startswith(".") and name.lower() not in _SYSTEM


def is_picture(name: str) -> bool:
    """Whether it ends as torchvision's pictures do."""
    return name.lower().endswith(IMG_EXTENSIONS)


def kind_of(name: str) -> str:
    """How a file is counted that is no picture: by its ending."""
    ending = os.path.splitext(name)[1].lower()
    return shown(ending) if ending else "without an ending"


def list_folder(root: Path, progress: Progress | None = None) -> Listing:
    """What is in `root`. Every picture is looked at, a few blocks of it (`mark_of`).

    Raises ValueError for a folder that is not as it must be, OSError for a disk that is away.
    """
    if not root.is_dir():
        raise ValueError(f"the data folder must exist, {shown(root)} does not")
    found = {split: _classes(root, split) for split in SPLITS}
    require_same_classes(root, {split: list(f.files) for split, f in found.items()})
    classes = tuple(found["train"].files)
    left_out: Counter[str] = Counter()
    faults: dict[str, str] = {}
    names: dict[str, list[str]] = {}
    for split, its in found.items():
        left_out += its.left_out
        faults |= its.faults
        names[split] = [name for files in its.files.values() for name in files]
    marks = _marks(root, [n for split in SPLITS for n in names[split]], faults, progress)
    splits = {}
    for split in SPLITS:
        lengths = [len(found[split].files[name]) for name in classes]
        labels = np.repeat(np.arange(len(classes), dtype=np.int64), lengths)
        ours, marks = marks[: len(labels)], marks[len(labels) :]
        splits[split] = Split(tuple(names[split]), labels, ours)
    return Listing(classes, splits, dict(sorted(faults.items())), dict(left_out))


def _require_classes(root: Path, split: str, files: dict[str, list[str]], others: str) -> None:
    where = f"{shown(root)}/{split}"
    if not files:
        raise ValueError(f"{where} must hold one folder a class, it holds none{others}")
    empty = [name for name, its in files.items() if not its]
    if empty:
        raise ValueError(
            f"every class must have images, {some(empty)} of {where} have none{others}"
        )


def require_same_classes(root: object, classes: dict[str, list[str]]) -> None:
    """Raise ValueError unless both splits have the same classes."""
    for here, there in (SPLITS, SPLITS[::-1]):
        known = set(classes[there])
        missing = [name for name in classes[here] if name not in known]
        if missing:
            raise ValueError(
                f"both splits must hold the same classes, {shown(root)}/{there} lacks "
                f"{some(missing)}"
            )


@dataclass
class _Found:
    """Class -> names of its pictures; what is no picture, and what is not read."""

    files: dict[str, list[str]] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)


def _classes(root: Path, split: str) -> _Found:
    folder = root / split
    if not folder.is_dir():
        raise ValueError(
            "an image folder must hold train/ and val/, a folder a class in each: no "
            f"{shown(folder)}"
        )
    found = _Found()
    above = {_identity(root), _identity(folder)}
    for entry in sorted(_entries(folder), key=lambda entry: entry.name):
        if not is_ours(entry.name):
            found.left_out[_HIDDEN] += 1
        elif not _is_folder(entry):
            found.left_out[_OUTSIDE] += 1
        elif _identity(entry.path) in above:
            found.left_out[_LINKS] += 1
        else:
            seen = {*above, _identity(entry.path)}
            pictures = _pictures(entry.path, f"{split}/{entry.name}", seen, found)
            # torchvision's order: by folder, then by file.
            found.files[entry.name] = [f"{at}/{name}" for at, name in sorted(pictures)]
    some_left = f"; left out there: {_listed(found.left_out)}" if found.left_out else ""
    _require_classes(root, split, found.files, some_left)
    return found


def _pictures(
    top: str, name: str, seen: set[tuple[int, int]], found: _Found
) -> list[tuple[str, str]]:
    """(folder, file) of each picture under a class; a folder is read once, however it is linked."""
    pictures: list[tuple[str, str]] = []
    like_pictures: list[str] = []  # folders that are named so
    waiting = [(top, name)]
    while waiting:
        folder, at = waiting.pop()
        for entry in sorted(_entries(folder), key=lambda entry: entry.name):
            inside = f"{at}/{entry.name}"
            if not is_ours(entry.name):
                found.left_out[_HIDDEN] += 1
            elif _is_folder(entry):
                identity = _identity(entry.path)
                if identity in seen:
                    found.left_out[_LINKS] += 1
                    continue
                seen.add(identity)
                waiting.append((entry.path, inside))
                if is_picture(entry.name):
                    like_pictures.append(inside)
            elif is_picture(entry.name):
                pictures.append((at, entry.name))
            else:
                found.left_out[kind_of(entry.name)] += 1
    for folder in like_pictures:
        if not any(f"{at}/".startswith(f"{folder}/") for at, _ in pictures):
            found.faults[folder] = "a folder"
    return pictures


def _entries(folder: Path | str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise OSError(
            f"the folder {shown(folder)} must be readable, it is not: {error.strerror}"
        ) from error


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a loop of links
        return False


def _identity(folder: Path | str) -> tuple[int, int]:
    found = os.stat(folder)
    return found.st_dev, found.st_ino


def _marks(
    root: Path, names: list[str], faults: dict[str, str], progress: Progress | None
) -> np.ndarray:
    """int64 [picture]; what cannot be read is told in `faults`."""
    marks = np.full(len(names), -1, np.int64)

    def look(start: int) -> None:
        for i in range(start, min(start + 256, len(names))):
            try:
                marks[i] = mark_of(os.path.join(root, names[i]))
            except UnreadableError as error:
                faults[names[i]] = str(error)

    starts = range(0, len(names), 256)  # chunks, since a future a picture would need gigabytes
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        for start, _ in zip(starts, threads.map(look, starts), strict=True):
            if progress is not None:
                progress(min(start + 256, len(names)), len(names))
    return marks


def _listed(left_out: Mapping[str, int]) -> str:
    """The most frequent kinds."""
    most = Counter(left_out).most_common(_KINDS)
    rest = sum(left_out.values()) - sum(n for _, n in most)
    shown_ = [f"{n:,} {kind}" for kind, n in most]
    return ", ".join([*shown_, f"{rest:,} others"] if rest else shown_)

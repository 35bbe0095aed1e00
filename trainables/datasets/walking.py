"""Folders walked for pictures: which belong to which class, what is none, what is left out.

Read are the files that torchvision's ImageFolder reads, in its order, sub folders of a class
included. Hidden and system folders are no classes, hidden files no pictures; what is left out is
counted, so that it can be said.
"""

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from torchvision.datasets.folder import IMG_EXTENSIONS

from trainables.datasets.names import shown

# What systems and storage boxes put beside people's files; all that begin with a dot as well.
_SYSTEM = {
    "$recycle.bin", "recycler", "system volume information", "lost+found", "__macosx",
    "@eadir", "#recycle", "@recycle", "@recently-snapshot", "#snapshot", "~snapshot",
    "__pycache__", "thumbs.db", "desktop.ini",
}  # fmt: skip
HIDDEN, OUTSIDE, LINKS = "hidden or of the system", "outside a class", "links to what was read"


@dataclass
class Found:
    """What a folder of classes holds; all names are relative to the root.

    files: class -> its pictures. loose: files that lie in no class. faults: name -> why what ends
    as a picture is none. left_out: kind -> how many.
    """

    files: dict[str, list[str]] = field(default_factory=dict)
    loose: list[str] = field(default_factory=list)
    faults: dict[str, str] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)


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


def walk(root: Path, at: str) -> Found:
    """The classes in the folder root/at ("" is the root itself), of each all that lies below it.

    Raises OSError for a folder that cannot be read.
    """
    folder, found = root / at, Found()
    above = {_identity(root), _identity(folder)}
    for entry in sorted(entries(folder), key=lambda entry: entry.name):
        name = f"{at}/{entry.name}" if at else entry.name
        if not is_ours(entry.name):
            found.left_out[HIDDEN] += 1
        elif not is_folder(entry):
            found.loose.append(name)
        elif _identity(entry.path) in above:
            found.left_out[LINKS] += 1
        else:
            pictures = _pictures(entry.path, name, {*above, _identity(entry.path)}, found)
            # torchvision's order: by folder, then by file.
            found.files[entry.name] = [f"{inside}/{name}" for inside, name in sorted(pictures)]
    return found


def _pictures(
    top: str, name: str, seen: set[tuple[int, int]], found: Found
) -> list[tuple[str, str]]:
    """(folder, file) of each picture under a class; a folder is read once, however it is linked."""
    pictures: list[tuple[str, str]] = []
    like_pictures: list[str] = []  # folders that are named so
    waiting = [(top, name)]
    while waiting:
        folder, at = waiting.pop()
        for entry in sorted(entries(folder), key=lambda entry: entry.name):
            inside = f"{at}/{entry.name}"
            if not is_ours(entry.name):
                found.left_out[HIDDEN] += 1
            elif is_folder(entry):
                identity = _identity(entry.path)
                if identity in seen:
                    found.left_out[LINKS] += 1
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


def entries(folder: Path | str) -> list[os.DirEntry[str]]:
    """Raises OSError, in one sentence, for a folder that cannot be read."""
    try:
        with os.scandir(folder) as found:
            return list(found)
    except OSError as error:
        raise OSError(
            f"the folder {shown(folder)} must be readable, it is not: {error.strerror}"
        ) from error


def is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a loop of links
        return False


def _identity(folder: Path | str) -> tuple[int, int]:
    found = os.stat(folder)
    return found.st_dev, found.st_ino

"""An image folder in an object store: listed to plan a sweep, copied once to each machine."""

import os
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pyarrow import ArrowException
from pyarrow.fs import FileSelector, FileSystem, FileType

from trainables.datasets.images import Progress
from trainables.datasets.layouts import require_same_classes
from trainables.datasets.listing import SPLITS
from trainables.datasets.names import shown
from trainables.datasets.packs import copy_note, note_copy
from trainables.datasets.walking import is_ours, is_picture
from trainables.fields import digest_of
from trainables.locks import locked
from trainables.workspace import require_space, whole_file

_AT_ONCE = 32  # requests: a store answers slowly, and many at a time


def is_remote(path: str) -> bool:
    """Whether it is a URI, such as s3://bucket/imagenet or gs://bucket/imagenet."""
    return "://" in path


def remote_digest(uri: str) -> str:
    """16 hex digits: changes when an image is added, removed, renamed or written anew.

    A store is not read for it, but asked for sizes and times; so that a copy of it, in a folder
    or in another store, is known by another one.
    """
    return _digest(_listed(uri)[2])


def remote_counts(uri: str) -> tuple[tuple[str, ...], dict[str, tuple[int, ...]]]:
    """The classes, and split -> images of each. Raises ValueError as `fetched`."""
    found = Counter(PurePosixPath(name).parts[:2] for name in _listed(uri)[2])
    classes = tuple(sorted({name for _, name in found}))
    return classes, {split: tuple(found[split, name] for name in classes) for split in SPLITS}


def _digest(found: dict[str, "_Object"]) -> str:
    return digest_of([[name, its.size, its.changed] for name, its in found.items()])[:16]


def fetched(uri: str, digest: str, root: Path, progress: Progress | None = None) -> Path:
    """The copy of a remote image folder under `root`, which is made at the first call.

    digest: of `remote_digest`. A copy that was cut off goes on where it was; several processes may
    call at once: one copies, the others wait. Raises ValueError for a URI that holds no images,
    cannot be read or has changed, and OSError when the disk has no room.
    """
    folder = root / f"fetched-{digest}"
    if copy_note(folder).exists():
        return folder
    with locked(folder / "lock", f"another process copies the images of {uri}"):
        if not copy_note(folder).exists():
            note_copy(folder, uri, _copy(uri, digest, folder, progress))
    return folder


def _copy(uri: str, digest: str, folder: Path, progress: Progress | None) -> int:
    """Copy what is missing; returns the bytes of all."""
    store, base, found = _listed(uri)
    if _digest(found) != digest:
        raise ValueError(
            f"the images of {uri} must stay as they were when the sweep was planned, they have "
            "changed; plan it anew"
        )
    missing = [name for name, its in found.items() if not _is_there(folder / name, its)]
    require_space(folder, sum(found[name].size for name in missing))

    def copy(name: str) -> None:
        its = found[name]
        with whole_file(folder / name) as partial, store.open_input_stream(f"{base}/{name}") as of:
            partial.write_bytes(of.read(its.size))
            if partial.stat().st_size != its.size:
                raise ValueError(f"{uri}/{shown(name)} must have {its.size} bytes, it has fewer")
            os.utime(partial, ns=(its.changed, its.changed))  # so that it is known again

    done = len(found) - len(missing)
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        # Chunks, since a future an image would need gigabytes for ImageNet.
        for start in range(0, len(missing), 4_096):
            chunk = missing[start : start + 4_096]
            for _ in threads.map(copy, chunk):
                done += 1
            if progress is not None:
                progress(done, len(found))
    return sum(its.size for its in found.values())


def _is_there(path: Path, its: "_Object") -> bool:
    if not path.exists():
        return False
    found = path.stat()
    return (found.st_size, found.st_mtime_ns) == (its.size, its.changed)


@dataclass(frozen=True)
class _Object:
    size: int  # bytes
    changed: int  # nanoseconds


def _listed(uri: str) -> tuple[FileSystem, str, dict[str, _Object]]:
    """The store, the folder in it, and what it has of split/class/…/file, of images alone."""
    try:
        store, base = FileSystem.from_uri(uri)
        entries = store.get_file_info(FileSelector(base, recursive=True))
    except (ArrowException, OSError, ValueError) as error:
        said = (str(error).splitlines() or [""])[0]
        raise ValueError(f"the image folder {uri} must be readable, it is not: {said}") from error
    found: dict[str, _Object] = {}
    for entry in entries:
        parts = PurePosixPath(entry.path).relative_to(base).parts
        # A name of a store may be anything: "..", which would lead out of the copy, begins with a
        # dot, as what is hidden does.
        is_ours_ = len(parts) >= 3 and parts[0] in SPLITS and all(map(is_ours, parts))
        if entry.type == FileType.File and is_ours_ and is_picture(parts[-1]):
            found["/".join(parts)] = _Object(entry.size, entry.mtime_ns)
    _require_both(uri, found)
    by_parts = sorted(found, key=lambda name: PurePosixPath(name).parts)
    return store, base, {name: found[name] for name in by_parts}


def _require_both(uri: str, names: Iterable[str]) -> None:
    classes = {split: {n.split("/")[1] for n in names if n.startswith(split)} for split in SPLITS}
    if not all(classes.values()):
        raise ValueError(
            f"{uri} must hold train/ and val/, one folder per class in each, it does not"
        )
    found = {split: sorted(its) for split, its in classes.items()}
    require_same_classes((f"{uri}/train", f"{uri}/val"), found)

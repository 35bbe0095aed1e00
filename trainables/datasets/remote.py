"""An image folder in an object store: listed to plan a sweep, copied once to each machine."""

import fcntl
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from pyarrow import ArrowException
from pyarrow.fs import FileSelector, FileSystem, FileType
from torchvision.datasets.folder import IMG_EXTENSIONS

from trainables.datasets.images import Progress
from trainables.fields import digest_of
from trainables.workspace import require_space, whole_file

_AT_ONCE = 32  # requests: a store answers slowly, and many at a time


def is_remote(path: str) -> bool:
    """Whether it is a URI, such as s3://bucket/imagenet or gs://bucket/imagenet."""
    return "://" in path


def remote_digest(uri: str) -> str:
    """As `folder_digest` of a copy of it, without copying it."""
    return _digest(_listed(uri)[2])


def _digest(sizes: dict[str, int]) -> str:
    listing = [[*PurePosixPath(name).parts, size] for name, size in sizes.items()]
    splits = [[entry for entry in listing if entry[0] == split] for split in ("train", "val")]
    return digest_of([*splits[0], *splits[1]])[:16]


def fetched(uri: str, digest: str, root: Path, progress: Progress | None = None) -> Path:
    """The copy of a remote image folder under `root`, which is made at the first call.

    digest: of `remote_digest`; what has changed since is copied anew.
    A copy that was cut off goes on where it was; several processes may call at once: one copies,
    the others wait. Raises ValueError for a URI that holds no images or cannot be read, and
    OSError when the disk has no room.
    """
    folder = root / f"fetched-{digest}"
    complete = folder / "complete"
    if complete.exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not complete.exists():
            _copy(uri, digest, folder, progress)
            complete.touch()
    return folder


def _copy(uri: str, digest: str, folder: Path, progress: Progress | None) -> None:
    store, base, sizes = _listed(uri)
    if _digest(sizes) != digest:
        raise ValueError(
            f"the images of {uri} must stay as they were when the sweep was planned, they have "
            "changed; plan it anew"
        )
    missing = [name for name, size in sizes.items() if not _is_there(folder / name, size)]
    require_space(folder, sum(sizes[name] for name in missing))

    def copy(name: str) -> None:
        with whole_file(folder / name) as partial, store.open_input_stream(f"{base}/{name}") as of:
            partial.write_bytes(of.read())

    done = len(sizes) - len(missing)
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        # Chunks, since a future an image would need gigabytes for ImageNet.
        for start in range(0, len(missing), 4_096):
            chunk = missing[start : start + 4_096]
            for _ in threads.map(copy, chunk):
                done += 1
            if progress is not None:
                progress(done, len(sizes))


def _is_there(path: Path, size: int) -> bool:
    return path.exists() and os.path.getsize(path) == size


def _listed(uri: str) -> tuple[FileSystem, str, dict[str, int]]:
    """The store, the folder in it, and split/class/file -> bytes, of images alone."""
    try:
        store, base = FileSystem.from_uri(uri)
        found = store.get_file_info(FileSelector(base, recursive=True))
    except (ArrowException, OSError, ValueError) as error:
        raise ValueError(f"the image folder {uri} must be readable, it is not: {error}") from error
    sizes = {}
    for entry in found:
        name = PurePosixPath(entry.path).relative_to(base)
        is_image = name.suffix.lower() in IMG_EXTENSIONS
        is_ours = len(name.parts) == 3 and name.parts[0] in ("train", "val")
        if entry.type == FileType.File and is_image and is_ours:
            sizes[str(name)] = entry.size
    if not sizes:
        raise ValueError(f"{uri} must hold train/ and val/, a folder a class in each, it does not")
    by_parts = sorted(sizes, key=lambda name: PurePosixPath(name).parts)
    return store, base, {name: sizes[name] for name in by_parts}

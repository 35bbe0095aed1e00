"""Image files decoded once: pixels in shards on disk, which all trials map into memory."""

import errno
import fcntl
import os
import shutil
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from torchvision.transforms import v2

from trainables.datasets.images import Progress
from trainables.fields import digest_of
from trainables.workspace import whole_file

VERSION = 1  # of the files; raised when they change
SHARD = 512  # images a file

_USUAL_RATIO = 1.35  # longer side / shorter side, ImageNet's mean: for the disk's room


@dataclass(frozen=True)
class Pack:
    """Images whose shorter side is `side` pixels, read-only and memory-mapped.

    shapes: int32 [image, 2], height and width.
    """

    shards: tuple[np.ndarray, ...]  # uint8 [byte] each
    shapes: np.ndarray
    starts: np.ndarray  # int64 [image]: where an image begins in its shard
    side: int

    def __len__(self) -> int:
        return len(self.shapes)

    def image(self, i: int) -> np.ndarray:
        """uint8 [height, width, 3]."""
        height, width = self.shapes[i]
        start = self.starts[i]
        return self.shards[i // SHARD][start : start + height * width * 3].reshape(height, width, 3)


def open_pack(
    files: Sequence[Path],
    digest: str,
    side: int,
    root: Path,
    *,
    workers: int = 0,
    progress: Progress | None = None,
) -> Pack:
    """The images of `files`, decoded at the first call and kept under `root`.

    digest: of what the files hold. side: the shorter side of what is kept, in pixels; resized as
    evaluation resizes the files themselves. workers: threads that decode, 0 for one a core.

    A build that was cut off goes on where it was. Shards whose size or checksum is wrong are
    built again. Several processes may call at once: one builds, the others wait for it.
    Raises ValueError, naming the file, for an image that cannot be read, and OSError when the
    disk has no room.
    """
    names = [file.parts[-3:] for file in files]  # train and val may use the same names
    folder = root / f"pack-{digest_of([VERSION, digest, side, names])[:16]}"
    folder.mkdir(parents=True, exist_ok=True)
    cuts = [files[i : i + SHARD] for i in range(0, len(files), SHARD)]
    missing = [i for i, cut in enumerate(cuts) if not _is_whole(folder, i, len(cut))]
    if missing:
        with _only_builder(folder):
            missing = [i for i in missing if not _is_whole(folder, i, len(cuts[i]))]
            _require_room(folder, sum(len(cuts[i]) for i in missing), side)
            _build(folder, cuts, missing, side, workers, progress)
    return _mapped(folder, len(cuts), side)


def _require_room(folder: Path, n_images: int, side: int) -> None:
    needed = int(n_images * side * side * _USUAL_RATIO * 3)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(
            f"the decoded images need {needed / 1e9:,.1f} GB of disk, but {free / 1e9:,.1f} GB are "
            f"free in {folder}; RESULTS=/a/larger/disk, or SET=data.packed=None, which decodes "
            "them in every epoch"
        )


def _build(
    folder: Path,
    cuts: Sequence[Sequence[Path]],
    missing: Sequence[int],
    side: int,
    workers: int,
    progress: Progress | None,
) -> None:
    for partial in folder.glob(".*.*.*"):  # nobody else is building: of one that was killed
        partial.unlink(missing_ok=True)
    total = sum(len(cut) for cut in cuts)
    done = total - sum(len(cuts[i]) for i in missing)
    # Threads: Pillow decodes and resizes without Python's lock.
    with ThreadPoolExecutor(workers or os.cpu_count() or 1) as threads:
        for i in missing:
            images = list(threads.map(lambda file: _decoded(file, side), cuts[i]))
            try:
                _write(folder, i, images)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                raise OSError(
                    f"no room is left in {folder} for the decoded images, {done} of {total} are "
                    "there; make room and start again, or SET=data.packed=None"
                ) from error
            done += len(images)
            if progress is not None:
                progress(done, total)


def _decoded(file: Path, side: int) -> np.ndarray:
    try:
        image = Image.open(file).convert("RGB")
    except Exception as error:
        # Whatever Pillow raises: each format has its own.
        raise ValueError(f"the image {file} cannot be read: {error}") from error
    return np.asarray(v2.functional.resize(image, [side], antialias=True))


def _write(folder: Path, i: int, images: Sequence[np.ndarray]) -> None:
    """A shard, then what tells that it is whole."""
    pixels, about = _paths(folder, i)
    checksum = 0
    with whole_file(pixels) as partial, partial.open("wb") as file:
        for image in images:
            # Written, not mapped: on a full disk a write raises, a mapped page kills the process.
            data = np.ascontiguousarray(image).data
            checksum = zlib.crc32(data, checksum)
            file.write(data)
        file.flush()
        os.fsync(file.fileno())
    shapes = np.array([image.shape[:2] for image in images], dtype=np.int32)
    _tell(about, shapes, checksum, pixels.stat().st_mtime_ns)


def _tell(about: Path, shapes: np.ndarray, checksum: int, changed: int) -> None:
    with whole_file(about) as partial, partial.open("wb") as file:
        np.savez(file, shapes=shapes, checksum=np.uint32(checksum), changed=np.int64(changed))


def _is_whole(folder: Path, i: int, n_images: int) -> bool:
    """Whether a shard is what was written; read again only if its file was touched since."""
    pixels, about = _paths(folder, i)
    try:
        with np.load(about) as told:
            shapes, checksum, changed = told["shapes"], int(told["checksum"]), int(told["changed"])
        stat = pixels.stat()
    except Exception:
        # Missing, cut off, or of anything else: numpy raises as many kinds of errors.
        return False
    n_bytes = int(shapes.astype(np.int64).prod(1).sum()) * 3
    if len(shapes) != n_images or stat.st_size != n_bytes:
        return False
    if stat.st_mtime_ns == changed:
        return True
    if zlib.crc32(np.memmap(pixels, mode="r").data) != checksum:
        return False
    _tell(about, shapes, checksum, stat.st_mtime_ns)
    return True


def _mapped(folder: Path, n_shards: int, side: int) -> Pack:
    shards, shapes, starts = [], [], []
    for i in range(n_shards):
        pixels, about = _paths(folder, i)
        shards.append(np.memmap(pixels, mode="r"))
        with np.load(about) as told:
            shapes.append(told["shapes"])
        ends = shapes[-1].astype(np.int64).prod(1).cumsum() * 3
        starts.append(np.concatenate([[0], ends[:-1]]))
    return Pack(tuple(shards), np.concatenate(shapes), np.concatenate(starts), side)


def _paths(folder: Path, i: int) -> tuple[Path, Path]:
    return folder / f"{i:05}.pixels", folder / f"{i:05}.npz"


@contextmanager
def _only_builder(folder: Path) -> Iterator[None]:
    """Others wait here; a builder that is killed leaves no lock behind."""
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield

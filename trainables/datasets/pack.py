"""Image files decoded once: pixels in shards on disk, which all trials map into memory.

A shard is named after what its files hold. Where some files change, the shards of all others are
taken as they are; `packs.py` tells which shards nobody asks for any more.
"""

import errno
import hashlib
import os
import shutil
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torchvision.transforms import v2

from trainables.datasets.files import Pictures
from trainables.datasets.images import Progress
from trainables.datasets.names import some
from trainables.datasets.packs import note_pack, packs_folder
from trainables.datasets.regular import UnreadableError
from trainables.datasets.threads import prepared
from trainables.locks import locked
from trainables.workspace import size_shown, whole_file

VERSION = 2  # of the files; raised when they change
SHARD = 512  # images a file, on the average

_USUAL_RATIO = 1.35  # longer side / shorter side, ImageNet's mean: for the disk's room


class BrokenImagesError(ValueError):
    """Some of the images cannot be read; all others are decoded and kept.

    broken: position among the files -> why.
    """

    def __init__(self, files: Pictures, broken: Mapping[int, str]) -> None:
        self.broken = dict(broken)
        names = [f"{files.where(i)} ({why})" for i, why in broken.items()]
        super().__init__(f"{len(broken)} of {len(files)} images cannot be read: {some(names)}")


@dataclass(frozen=True)
class Pack:
    """Images whose shorter side is `side` pixels, read-only and memory-mapped.

    shapes: int32 [image, 2], height and width.
    """

    shards: tuple[np.ndarray, ...]  # uint8 [byte] each
    shapes: np.ndarray
    shard_of: np.ndarray  # int32 [image]
    starts: np.ndarray  # int64 [image]: where an image begins in its shard
    side: int

    def __len__(self) -> int:
        return len(self.shapes)

    def image(self, i: int) -> np.ndarray:
        """uint8 [height, width, 3]."""
        height, width = self.shapes[i]
        start = self.starts[i]
        pixels = self.shards[self.shard_of[i]][start : start + height * width * 3]
        return pixels.reshape(height, width, 3)


def open_pack(
    files: Pictures,
    side: int,
    root: Path,
    *,
    of: Mapping[str, object] | None = None,
    workers: int = 0,
    progress: Progress | None = None,
) -> Pack:
    """The images of `files`, decoded at the first call and kept under `root`.

    side: the shorter side of what is kept, in pixels; resized as evaluation resizes the files
    themselves. of: whose they are; what was kept for the same before is no longer needed then.
    workers: threads that decode, 0 for one per core.

    A build that was cut off goes on where it was. Shards whose size or checksum is wrong are
    built again. Several processes may call at once: one builds, the others wait for it.
    Raises BrokenImagesError when all the others are decoded, ValueError for a file that has
    changed since it was listed, and OSError when the disk has no room.
    """
    folder = packs_folder(root)
    cuts = _cuts(files.names)
    keys = [_key(files.marks[cut.start : cut.stop], side) for cut in cuts]
    missing = [i for i, cut in enumerate(cuts) if not _is_whole(folder, keys[i], len(cut))]
    note_pack(root, {**(of or {}), "side": side}, keys)
    if missing:
        with locked(folder / "lock", "another process decodes images"):
            missing = [i for i in missing if not _is_whole(folder, keys[i], len(cuts[i]))]
            _require_room(folder, sum(len(cuts[i]) for i in missing), side)
            wanted = [(keys[i], cuts[i]) for i in missing]
            broken = _build(folder, files, wanted, side, workers, progress)
        if broken:
            raise BrokenImagesError(files, broken)
    return _mapped(folder, keys, side)


def _cuts(names: Sequence[str]) -> list[range]:
    """Where a shard ends and the next begins: after a name that says so by its checksum.

    An image that is added or removed moves the others of its own shard and no further.
    """
    cuts, start = [], 0
    for end, name in enumerate(names, start=1):
        seen = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=4)
        says_so = int.from_bytes(seen.digest(), "big") % SHARD == 0
        if says_so or end - start == 4 * SHARD or end == len(names):
            cuts.append(range(start, end))
            start = end
    return cuts


def _key(marks: np.ndarray, side: int) -> str:
    seen = hashlib.blake2b(f"{VERSION} {side} ".encode(), digest_size=12)
    seen.update(marks.astype("<i8").tobytes())
    return seen.hexdigest()


def _require_room(folder: Path, n_images: int, side: int) -> None:
    needed = int(n_images * side * side * _USUAL_RATIO * 3)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(
            f"the decoded images need {size_shown(needed)} of disk, but {size_shown(free)} are "
            f"free in {folder}; RESULTS=/a/larger/disk, or SET=data.packed=None, which decodes "
            "them in every epoch"
        )


def _build(
    folder: Path,
    files: Pictures,
    wanted: Sequence[tuple[str, range]],
    side: int,
    workers: int,
    progress: Progress | None,
) -> dict[int, str]:
    """Write the shards that are wanted; returns which images cannot be read, and why."""
    for partial in folder.glob(".*.*.*"):  # nobody else is building: of one that was killed
        partial.unlink(missing_ok=True)
    total = len(files)
    done = total - sum(len(cut) for _, cut in wanted)
    broken: dict[int, str] = {}
    for key, cut in wanted:
        try:
            broken |= _write(folder, key, files, cut, side, workers or os.cpu_count() or 1)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise OSError(
                f"no room is left in {folder} for the decoded images, {done} of {total} are "
                "there; make room and start again, or SET=data.packed=None"
            ) from error
        done += len(cut)
        if progress is not None:
            progress(done, total)
    return broken


def _write(
    folder: Path, key: str, files: Pictures, cut: range, side: int, workers: int
) -> dict[int, str]:
    """A shard, then what tells that it is whole; neither where an image of it cannot be read."""
    pixels, about = _paths(folder, key)
    checksum, shapes = 0, []
    broken: dict[int, str] = {}

    def decode(i: int) -> np.ndarray | str:
        return _decoded(files, i, side)

    try:
        with whole_file(pixels) as partial, partial.open("wb") as file:
            # One after the other: a few stand in memory, however large they are.
            for i, image in zip(cut, prepared(decode, cut, workers), strict=True):
                if isinstance(image, str):
                    broken[i] = image
                elif not broken:
                    # Written, not mapped: a full disk then raises and does not kill the process.
                    data = np.ascontiguousarray(image).data
                    checksum = zlib.crc32(data, checksum)
                    file.write(data)
                    shapes.append(image.shape[:2])
            if broken:
                raise BrokenImagesError(files, broken)
            file.flush()
            os.fsync(file.fileno())
    except BrokenImagesError:
        return broken
    _tell(about, np.array(shapes, dtype=np.int32), checksum, pixels.stat().st_mtime_ns)
    return broken


def _decoded(files: Pictures, i: int, side: int) -> np.ndarray | str:
    """uint8 [height, width, 3], or why there is none."""
    try:
        image = files.read(i)
    except UnreadableError as error:
        return error.why
    return np.asarray(v2.functional.resize(image, [side], antialias=True))


def _tell(about: Path, shapes: np.ndarray, checksum: int, changed: int) -> None:
    with whole_file(about) as partial, partial.open("wb") as file:
        np.savez(file, shapes=shapes, checksum=np.uint32(checksum), changed=np.int64(changed))


def _is_whole(folder: Path, key: str, n_images: int) -> bool:
    """Whether a shard is what was written; read again only if its file was touched since."""
    pixels, about = _paths(folder, key)
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


def _mapped(folder: Path, keys: Sequence[str], side: int) -> Pack:
    shards, shapes, starts = [], [], []
    for key in keys:
        pixels, about = _paths(folder, key)
        shards.append(np.memmap(pixels, mode="r"))
        with np.load(about) as told:
            shapes.append(told["shapes"])
        ends = shapes[-1].astype(np.int64).prod(1).cumsum() * 3
        starts.append(np.concatenate([[0], ends[:-1]]))
    shard_of = np.repeat(np.arange(len(keys), dtype=np.int32), [len(its) for its in shapes])
    return Pack(tuple(shards), np.concatenate(shapes), shard_of, np.concatenate(starts), side)


def _paths(folder: Path, key: str) -> tuple[Path, Path]:
    return folder / f"{key}.pixels", folder / f"{key}.npz"

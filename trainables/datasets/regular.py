"""Files of pictures on the disk: regular ones alone are opened, and told by their bytes."""

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trainables.datasets.names import shown

MOST_BYTES = 2**30  # of a file: what Pillow opens has less, even decoded

# Bytes of these are pixels one by one, so that a change stays where it was made.
_UNPACKED = {".bmp", ".pgm", ".ppm", ".tif", ".tiff"}
_BLOCK, _BLOCKS = 4_096, 9  # of the others, read at even distances; the middle is among them

# What says that the file is not to be had, today and tomorrow. Any other error of a disk may pass.
LASTING = {
    errno.EACCES: "it may not be read",
    errno.EISDIR: "a folder",
    errno.ELOOP: "a loop of links",
    errno.ENAMETOOLONG: "its name is too long",
    errno.ENODEV: "no regular file",
    errno.ENOENT: "a link to nothing, or gone",
    errno.ENOTDIR: "a link to nothing, or gone",
    errno.ENXIO: "no regular file",
    errno.EPERM: "it may not be read",
}

# `mark_of` a file without a byte.
EMPTY = int.from_bytes(hashlib.blake2b(b"0", digest_size=8).digest(), "big") >> 1


class UnreadableError(ValueError):
    """A file that is no picture, or not a whole one. why: without the file's name."""

    def __init__(self, why: str, file: object = None) -> None:
        self.why = why
        super().__init__(why if file is None else f"the image {shown(file)} cannot be read: {why}")


@contextmanager
def opened(path: Path | str) -> Iterator[int]:
    """A descriptor of a regular file of at most MOST_BYTES; waits for no pipe's other end.

    Raises UnreadableError for anything else, and OSError for what may pass (a disk that is away).
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except ValueError as error:  # a name with a null byte
        raise UnreadableError(str(error)) from error
    except OSError as error:
        if error.errno in LASTING:
            raise UnreadableError(LASTING[error.errno]) from error
        raise
    try:
        found = os.fstat(descriptor)
        if stat.S_ISDIR(found.st_mode):
            raise UnreadableError("a folder")
        if not stat.S_ISREG(found.st_mode):
            raise UnreadableError("no regular file")
        if found.st_size > MOST_BYTES:
            raise UnreadableError(f"larger than {MOST_BYTES / 2**30:g} GiB")
        yield descriptor
    finally:
        os.close(descriptor)


def mark_of(path: Path | str) -> int:
    """63 bits of a file's size and contents; of what lies in a file, and not of where or when.

    Files of up to 36 kB and those that are not packed (BMP, PNM, TIFF) are read whole, of others
    nine blocks: in a JPEG or PNG a changed pixel changes all bytes to the end, or a checksum there.
    Raises as `opened` does.
    """
    with opened(path) as descriptor:
        size = os.fstat(descriptor).st_size
        seen = hashlib.blake2b(str(size).encode(), digest_size=8)
        whole = os.path.splitext(path)[1].lower() in _UNPACKED
        for start, length in _pieces(size, whole):
            seen.update(os.pread(descriptor, length, start))
    return int.from_bytes(seen.digest(), "big") >> 1


def _pieces(size: int, whole: bool) -> Iterator[tuple[int, int]]:
    """Where to read, and how many bytes; never more than the file said it has."""
    if whole or size <= _BLOCK * _BLOCKS:
        step = 2**20
        yield from ((start, min(step, size - start)) for start in range(0, size, step))
        return
    for i in range(_BLOCKS):
        yield (size - _BLOCK) * i // (_BLOCKS - 1), _BLOCK

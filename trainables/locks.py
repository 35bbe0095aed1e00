"""Waiting for another process: with a word about what for, and until the first signal."""

import fcntl
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_QUIET_SECONDS = 10  # of waiting, before a word is said
_PAUSE = 0.1


@contextmanager
def locked(path: Path, why: str) -> Iterator[None]:
    """Hold the lock of a file, which a killed process gives back; the file is not changed.

    why: what is done by who holds it, for who waits. Raises OSError where the path is a link.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o666)
    except OSError as error:
        raise OSError(f"{path} must be a file that can be locked: {error.strerror}") from error
    try:
        _wait(descriptor, path, why)
        yield
    finally:
        os.close(descriptor)


def _wait(descriptor: int, path: Path, why: str) -> None:
    started, told = time.monotonic(), False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if not told and time.monotonic() - started > _QUIET_SECONDS:
                print(f"{why}: waiting for it to give back {path}", file=sys.stderr, flush=True)
                told = True
            time.sleep(_PAUSE)

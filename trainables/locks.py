"""Waiting for another process: with a word about what for, and until the first signal."""

import contextlib
import fcntl
import math
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_QUIET_SECONDS = 10  # of waiting, before a word is said
_PAUSE = 0.1


@contextmanager
def held_folder(folder: Path) -> Iterator[None]:
    """Hold a folder's lock, which a killed process gives back. Raises OSError where another
    does."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


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
        wait(descriptor, f"{why}: waiting for it to give back {path}", _QUIET_SECONDS)
        yield
    finally:
        os.close(descriptor)


def wait(
    descriptor: int,
    word: str,
    quiet: float,
    patience: float = math.inf,
    *,
    shared: bool = False,
) -> bool:
    """Wait for the lock of an open file; False where it is not had within `patience` seconds.

    word: said once, on the terminal, when that takes more than `quiet` seconds. shared: with all
    others who want it shared, and nobody who wants it alone.
    """
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    started, told = time.monotonic(), False
    while True:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return True
        waited = time.monotonic() - started
        if waited > patience:
            return False
        if not told and waited > quiet:
            print(word, file=sys.stderr, flush=True)
            told = True
        time.sleep(_PAUSE)

"""Who runs which study in a results folder, and when files there may be removed.

A driver holds its study's lock alone, and together with all others that of the folder, for as long
as it runs. A killed process gives back both.
"""

import fcntl
import os
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trainables.locks import wait
from trainables.workspace import open_own, own_path

_FOLDER = "sweeps.lock"
_MOMENT = 1.0  # seconds: for as long as another may look who holds a lock
_SAY_AFTER = 10.0
_WHOSE = re.compile(r"(\d+) on (.+)")


@contextmanager
def only_driver(results: Path, study: str) -> Iterator[None]:
    """Hold the study's lock, and keep others from removing files of the folder.

    Raises ValueError when another process runs this study in this results folder.
    """
    path = own_path(results, "outbox") / f"{study}.lock"
    with open(open_own(path), "r+") as file:
        if not wait(file.fileno(), "", _SAY_AFTER, _MOMENT):
            raise ValueError(
                f"one sweep of a study at a time may run in a results folder, {study} is run in "
                f"{results} by process {file.read().strip()}; wait for it, or take other RESULTS"
            )
        file.truncate(0)
        file.write(f"{os.getpid()} on {platform.node()}")
        file.flush()
        with open(open_own(results / _FOLDER), "r+") as folder:
            word = f"waiting for `secateur clean`, which removes files of {results} …"
            wait(folder.fileno(), word, _SAY_AFTER, shared=True)
            yield


def drivers(results: Path) -> dict[str, str]:
    """Study -> who runs it now, "process 12 on host". Nothing is written or made."""
    found = {}
    for path in sorted((results / "outbox").glob("*.lock")):
        try:
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            continue  # another user's, or no file: no sweep of ours has it
        with open(handle) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                whose = _WHOSE.fullmatch(file.read(300).strip())
                who = f"process {whose[1]} on {whose[2]}" if whose else "a process"
                found[path.name.removesuffix(".lock")] = who
    return found


@contextmanager
def no_driver(results: Path) -> Iterator[bool]:
    """Keep sweeps of this folder from starting, where none runs: whether it is so.

    Raises ValueError where another process does the same.
    """
    with open(open_own(results / _FOLDER), "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not drivers(results):
                raise ValueError(
                    f"one process at a time may remove files of {results}, another does: wait for "
                    "it"
                ) from None
            yield False
            return
        yield not drivers(results)

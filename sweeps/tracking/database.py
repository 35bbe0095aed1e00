"""The SQLite database of a results folder: made by one process, and right where the folder is."""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote, urlparse
from urllib.request import url2pathname

from trainables.locks import wait
from trainables.workspace import open_own

_PATIENCE, _SAY_AFTER = 300, 10  # seconds: a new database has 65 tables
_MOVED = (
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
    ("experiments", "artifact_location"),
)
"""Table and column of every address of a file that MLflow keeps, in full."""


@contextmanager
def opening(results: Path) -> Iterator[None]:
    """While a process opens the folder's database, and makes it where there is none: no other does.

    A folder that was moved or copied is put right first. Raises ValueError when another process
    takes longer than five minutes.
    """
    try:
        lock = open_own(results / "mlflow.lock")
    except PermissionError:  # somebody else's, to be read only
        yield
        return
    try:
        _wait_for(lock, results)
        move_to(results)
        yield
    finally:
        os.close(lock)


def _wait_for(lock: int, results: Path) -> None:
    begun = time.monotonic()
    word = f"waiting for another process to open the database in {results} …"
    if not wait(lock, word, _SAY_AFTER, _PATIENCE):
        raise ValueError(
            f"the database in {results} must be free to be opened, another process has been at it "
            f"for {time.monotonic() - begun:.0f} s"
        )


def move_to(results: Path) -> None:
    """Have the database look for its files where the folder is now, and nowhere else.

    MLflow keeps full paths. After a copy they would be those of the original.
    """
    path = results.resolve() / "mlflow.db"
    if not path.is_file():
        return
    with closing(sqlite3.connect(path, timeout=60)) as database, database:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
        if "experiments" not in tables:
            return
        for old in _roots(database, results.resolve()):
            new = f"{results.resolve().as_uri()}/artifacts/"
            for table, column in _MOVED:
                if table in tables:
                    database.execute(
                        f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                        f"WHERE substr({column}, 1, ?) = ?",
                        (new, len(old) + 1, len(old), old),
                    )


def _roots(database: sqlite3.Connection, here: Path) -> set[str]:
    """Where the artifacts of studies lie, as far as it is another results folder than this."""
    found = set()
    for name, location in database.execute("SELECT name, artifact_location FROM experiments"):
        for end in (f"/artifacts/{quote(str(name))}", f"/artifacts/{name}"):
            if location and location.startswith("file:") and location.endswith(end):
                root = location.removesuffix(end)
                if not _is(Path(url2pathname(urlparse(root).path)), here):
                    found.add(f"{root}/artifacts/")
    return found


def _is(old: Path, here: Path) -> bool:
    """Whether a path leads to this folder, maybe by another name."""
    try:
        return old == here or os.path.samefile(old, here)
    except OSError:
        return False

"""Whose a run on a shared MLflow server is: a results folder's, wherever that lies."""

import json
import platform
import uuid
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from trainables.locks import locked
from trainables.workspace import read_own, whole_file

HOST, FOLDER = "host", "folder"
_ID = "results_id"
_NOTED = ".folder.json"


class Owner:
    """A results folder.

    Where others may log to the server, too, the folder has an id, which goes with it to another
    path or machine. It is noted in the folder when it is first asked for, which raises OSError
    where nothing can be written.
    """

    def __init__(self, results: Path, *, is_shared: bool) -> None:
        self.host, self.folder = platform.node(), str(results)
        self._results, self._is_shared = results, is_shared

    @cached_property
    def id(self) -> str:
        """ "" where the server is the folder's own."""
        return _id_of(self._results) if self._is_shared else ""

    @property
    def tags(self) -> dict[str, str]:
        """What its runs are tagged with: where they were made, and by whom."""
        return {HOST: self.host, FOLDER: self.folder} | ({_ID: self.id} if self.id else {})

    def owns(self, tags: Mapping[str, str]) -> bool:
        """Whether it has made the run with these tags, or the run does not tell."""
        if not self.id:
            return True
        if _ID in tags:
            return tags[_ID] == self.id
        place = (tags.get(HOST, self.host), tags.get(FOLDER, self.folder))
        return place == (self.host, self.folder)


def _id_of(results: Path) -> str:
    """The id that is noted in the folder, or a new one: where there is none, or in a copy."""
    path, here = results / _NOTED, _place(results)
    with locked(path, "another notes which results folder this is"):
        noted = _noted(path)
        if _is_same(noted, here):
            said = {"id": noted["id"], **here}
        else:
            said = {"id": uuid.uuid4().hex, **here}
        if said != noted:
            with whole_file(path) as partial:  # a copy may share the file with what it is of
                partial.write_text(json.dumps(said))
    return said["id"]


def _place(results: Path) -> dict[str, str]:
    return {
        "path": str(results.resolve()),
        "host": platform.node(),
        "inode": str(results.stat().st_ino),
    }


def _is_same(noted: Mapping[str, str], here: Mapping[str, str]) -> bool:
    """Whether the folder is the one that noted this: a folder that moves within a disk, or that
    other machines see, keeps its inode, and a copy has another."""
    if not noted:
        return False
    stays = all(noted[name] == here[name] for name in ("path", "host"))
    return stays or noted["inode"] == here["inode"]


def _noted(path: Path) -> dict[str, str]:
    """What a folder says of itself; nothing where that is not to be read."""
    try:
        found = json.loads(read_own(path))
    except (OSError, ValueError, RecursionError):
        return {}
    names = ("id", "path", "host", "inode")
    known = isinstance(found, dict) and all(isinstance(found.get(n), str) for n in names)
    return {n: found[n] for n in names} if known and found["id"] else {}

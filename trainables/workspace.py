"""Where a trial's files go, and how they are written: whole or not at all."""

import contextlib
import errno
import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Workspace:
    """The folders of a results directory; all nodes of a cluster must see the same one.

    study: whose trials they are. Studies share trials of one key, and each runs its own: what one
    has finished and removed is not taken from another. "" for trials of no study.
    """

    root: Path
    study: str = ""

    @property
    def cache(self) -> Path:
        """Data, embeddings, dense networks: keyed by all they depend on, safe to delete."""
        return self.root / "cache"

    def trial(self, key: str) -> Path:
        """What one trial leaves behind until the tracking server has it."""
        return self.root / "trials" / self.study / key

    def state(self, key: str) -> Path:
        """Where an unfinished trial goes on from."""
        return self.root / "states" / self.study / f"{key}.pt"

    def adopt_state(self, key: str) -> None:
        """Take over what a trial left that ran before states belonged to studies."""
        mine, old = self.state(key), Workspace(self.root).state(key)
        if mine == old or mine.exists() or not old.is_file() or old.is_symlink():
            return
        mine.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # another study was faster
            old.rename(mine)

    def begin(self) -> None:
        """Remove what was half-written when the study's last sweep was killed.

        Raises ValueError where a link leads away from the results folder: what lies there is
        another's, and nothing of it may be overwritten or removed.
        """
        trials = self.trial("-").parent
        for path in (trials, self.state("-").parent):
            own_path(self.root, *path.relative_to(self.root).parts)
        for folder, inner, _ in os.walk(trials):
            for name in inner:
                own_path(self.root, *(Path(folder) / name).relative_to(self.root).parts)
        for partial in self.state("-").parent.glob(".*.pt.*"):
            partial.unlink()

    def has_state(self, key: str) -> bool:
        """Whether a trial goes on where it stopped."""
        return self.state(key).exists() or Workspace(self.root).state(key).exists()


def node_cache(cache: Path) -> Path:
    """Where this machine keeps images, drawn or decoded: a disk of its own, which the environment
    variable SECATEUR_NODE_CACHE names where the node of a cluster was started, or `cache`."""
    own = os.environ.get("SECATEUR_NODE_CACHE")
    return at_home(own).resolve() if own else cache


def at_home(path: str) -> Path:
    """The path with a home folder for its `~`. Raises ValueError where that stands for none."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ValueError(f"the ~ of a path must stand for a user's home, got {path!r}") from error


class SetAside(UserWarning):
    """A file that was kept cannot be used, and has another name now."""


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Write to the path given, which becomes `path` only when all went well, and is on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not the process id: writers on two nodes may share one.
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        yield partial
        _to_disk(partial)
        partial.replace(path)
        _to_disk(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def files_of(folder: Path) -> list[str]:
    """Names of the files in a folder and below it; no links, and nothing half-written."""
    found = []
    for root, _, names in os.walk(folder):
        for name in names:
            path = Path(root) / name
            if not name.startswith(".") and path.is_file() and not path.is_symlink():
                found.append(path.relative_to(folder).as_posix())
    return sorted(found)


def own_path(root: Path, *parts: str) -> Path:
    """The path root/parts, which no link leads away from root.

    Raises ValueError where one of the parts climbs up, or is a link. root itself may be one.
    """
    if not parts or any(part in ("", ".", "..") or "/" in part or "\0" in part for part in parts):
        raise ValueError(f"a path must lie in {root}, got {'/'.join(parts)!r}")
    path = root.resolve().joinpath(*parts)
    if path.is_symlink() or path.resolve() != path:
        raise ValueError(f"{path} must be a file or folder of its own, it is or lies behind a link")
    return path


def open_own(path: Path, *, append: bool = False) -> int:
    """A file's descriptor, to read and write, the file made where there is none.

    Raises OSError for a link, for a second name of another file, for what is no file.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        found = os.open(path, flags | (os.O_APPEND if append else 0), 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP or path.is_symlink():
            raise OSError(f"{path} must be a file of its own, it is a link") from None
        raise
    what = os.fstat(found)
    if not stat.S_ISREG(what.st_mode) or what.st_nlink > 1:
        os.close(found)
        raise OSError(f"{path} must be a file of its own, it is none or has a second name")
    return found


def read_own(path: Path) -> bytes:
    """What a file of ours holds; nothing where there is none.

    Raises OSError for a link and for what is no file: what another has put there may have no end.
    """
    try:
        found = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return b""
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(f"{path} must be a file of its own, it is a link") from None
        raise
    if not stat.S_ISREG(os.fstat(found).st_mode):
        os.close(found)
        raise OSError(f"{path} must be a file of its own, it is none")
    with open(found, "rb") as file:
        return file.read()


def add_line(path: Path, text: str) -> None:
    """Append a line to a file of ours. Raises OSError on a full disk, and for a link."""
    with open(open_own(path, append=True), "ab") as file:
        # The break comes first: it also ends a line that was cut short.
        file.write(b"\n" + text.encode())


def _to_disk(path: Path) -> None:
    """Wait until a file, or the names in a folder, would be there after a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_partials(folder: Path, name: str = "*") -> None:
    """Remove what writers that were killed left of files called `name`; nobody may write one."""
    for partial in folder.glob(f".{name}.{'[0-9a-f]' * 32}"):
        partial.unlink(missing_ok=True)


def require_space(folder: Path, n_bytes: int) -> None:
    """Raise OSError unless the disk of `folder` has n_bytes free."""
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < n_bytes:
        raise OSError(
            f"{folder} needs {size_shown(n_bytes)} of free disk, it has {size_shown(free)}"
        )


def size_shown(n_bytes: float) -> str:
    """For people: "1.5 GB", in the unit that shows a number."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n_bytes >= size:
            return f"{n_bytes / size:,.1f} {unit}"
    return f"{n_bytes:.0f} bytes"

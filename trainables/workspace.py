"""Where a trial's files go, and how they are written: whole or not at all."""

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Workspace:
    """The folders of a results directory; all nodes of a cluster must see the same one."""

    root: Path

    @property
    def cache(self) -> Path:
        """Data, embeddings, dense networks: keyed by all they depend on, safe to delete."""
        return self.root / "cache"

    def trial(self, key: str) -> Path:
        """What one trial leaves behind until the tracking server has it."""
        return self.root / "trials" / key


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Write to the path given, which becomes `path` only when all went well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not the process id: writers on two nodes may share one.
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def require_space(folder: Path, n_bytes: int) -> None:
    """Raise OSError unless the disk of `folder` has n_bytes free."""
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < n_bytes:
        raise OSError(
            f"{folder} needs {n_bytes / 1e9:.1f} GB of free disk, it has {free / 1e9:.1f} GB"
        )

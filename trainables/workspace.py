"""Where a trial's files go, and how they are written: whole or not at all."""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch


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

    def state(self, key: str) -> Path:
        """Where an unfinished trial goes on from."""
        return self.root / "states" / f"{key}.pt"


def node_cache(cache: Path) -> Path:
    """Where this machine keeps images, drawn or decoded: a disk of its own, which the environment
    variable SECATEUR_NODE_CACHE names where the node of a cluster was started, or `cache`."""
    own = os.environ.get("SECATEUR_NODE_CACHE")
    return Path(own).expanduser().resolve() if own else cache


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


def read_state(path: Path, device: torch.device) -> dict[str, Any] | None:
    """What `torch.save` left at `path`; None where there is nothing, or nothing whole.

    A file that cannot be read (a disk that filled up, a machine that went down) is set aside
    under another name, and the work starts over.
    """
    if not path.exists():
        return None
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except Exception:
        # Anything may be in a broken file, and torch.load raises as many kinds of errors.
        path.replace(broken_state(path))
        return None


def broken_state(path: Path) -> Path:
    """Where a state is set aside that cannot be read."""
    return path.with_name(f"{path.name}.broken")

"""What Ray leaves in a results folder, and its removal."""

import contextlib
import shutil
from pathlib import Path

from trainables.workspace import own_path

_OF_RAY = (
    "PruningTrial_*",
    "experiment_state-*.json",
    "basic-variant-state-*.json",
    "search_gen_state-*.json",
    "searcher-state-*.pkl",
    ".*-.tmp_*",
    "tuner.pkl",
    "trainable.pkl",
    "driver_artifacts",
)
"""Patterns of what it writes into the folder of an experiment."""


def forget_ray(results: Path, study: str) -> None:
    """Remove what Ray has written of a study, by name, where it lies in the results folder.

    Whoever keeps it on another disk, by a link, may keep more there: then all of it stays.
    """
    try:
        folder = own_path(results, "ray", study)
    except ValueError:
        return
    for path in written_by_ray(folder):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # of somebody else, too, or not there
        folder.rmdir()


def written_by_ray(folder: Path) -> list[Path]:
    """What of the folder of an experiment is Ray's."""
    return [path for pattern in _OF_RAY for path in folder.glob(pattern)]

"""Whether a folder can be that of results: asked before anything is read from it or written."""

import os
from collections.abc import Sequence
from pathlib import Path

_FOLDERS = (
    "artifacts",
    "cache",
    "code",
    "export",
    "outbox",
    "ray",
    "report",
    "search",
    "states",
    "stopping",
    "trials",
)
_DATABASE = ("mlflow.db", "mlflow.lock")  # unless MLflow is elsewhere
_FILES = ("ray/tune.log", "sweeps.lock")
_FOLDERS_OF_STUDY = ("artifacts/{}", "ray/{}", "report/{}", "states/{}", "trials/{}")
_FILES_OF_STUDY = tuple(
    f"outbox/{{}}.{end}" for end in ("delivered", "jsonl", "lease", "lock", "notes", "refused")
)
_KEPT = ("search", "stopping")  # where files STUDY-KEY.jsonl are
_LONGEST_NAME, _LONGEST_PATH = 255, 4_095  # bytes: what Linux takes
_BELOW = 400  # bytes of the longest path that is written below it
_SHOWN = 60  # characters of a name that is too long


def require_folder(results: Path, *, written: bool) -> None:
    """Raise ValueError, in one sentence, unless the folder is there or can be made.

    written: what asks is going to write to it, or plans what will. Nothing is made or changed.
    """
    mask = os.umask(0o022)
    os.umask(mask)
    if mask & 0o700:
        raise ValueError(f"umask must leave files to their owner, it is {mask:04o}: umask 022")
    _require_length(results)
    there = next(path for path in (results, *results.parents) if os.path.lexists(path))
    if not there.is_dir():
        raise ValueError(
            f"RESULTS must be a folder or the name of a new one, {there} is {_kind(there)}"
        )
    if written and not os.statvfs(there).f_blocks:
        raise ValueError(f"RESULTS must be on a disk, nothing can be kept in {there}")
    if written and not os.access(there, os.W_OK | os.X_OK):
        raise ValueError(
            f"RESULTS must be a folder that this user may write to, {there} is not: take another"
        )
    elsewhere = os.environ.get("MLFLOW_TRACKING_URI", "").strip()
    _require_own(results, _FOLDERS, _FILES if elsewhere else (*_DATABASE, *_FILES), written)


def require_study_folder(results: Path, study: str, *, written: bool) -> None:
    """The same of what belongs to a study."""
    folders, files = (
        [pattern.format(study) for pattern in patterns]
        for patterns in (_FOLDERS_OF_STUDY, _FILES_OF_STUDY)
    )
    kept = [p for place in _KEPT for p in (results / place).glob(f"{study}-*.jsonl")]
    files += [path.relative_to(results).as_posix() for path in kept]
    _require_own(results, folders, files, written)


def _require_length(results: Path) -> None:
    name = max(results.parts, key=lambda part: len(os.fsencode(part)))
    if (length := len(os.fsencode(name))) > _LONGEST_NAME:
        raise ValueError(
            f"a name in the path of RESULTS must have at most {_LONGEST_NAME} bytes, "
            f"{name[:_SHOWN]}… has {length:,}"
        )
    most, length = _LONGEST_PATH - _BELOW, len(os.fsencode(results.absolute()))
    if length > most:
        raise ValueError(
            f"the path of RESULTS must have at most {most:,} bytes, it has {length:,}: "
            f"{str(results)[:_SHOWN]}…"
        )


def _require_own(
    results: Path, folders: Sequence[str], files: Sequence[str], written: bool
) -> None:
    for name in (*folders, *files):
        path = results / name
        if not os.path.lexists(path):
            continue
        is_folder = name in folders
        if not (path.is_dir() if is_folder else path.is_file()):
            kind = "folder" if is_folder else "file"
            raise ValueError(f"{path} must be a {kind}, it is {_kind(path)}: move it away")
        needed = os.W_OK | os.X_OK if is_folder else os.R_OK | os.W_OK
        if written and not os.access(path, needed):
            does = "writes to" if is_folder else "reads and writes"
            kind = "folder" if is_folder else "file"
            raise ValueError(
                f"{path} must be a {kind} that this user {does}, it is not: take other RESULTS"
            )


def _kind(path: Path) -> str:
    """What is there instead, for people."""
    if not path.exists():
        return "a link that leads nowhere"
    if path.is_dir():
        return "a folder"
    return "a file" if path.is_file() else "a device or a pipe"

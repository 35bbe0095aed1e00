"""Who started a sweep, with which code: what MLflow's pages show as a run's source and user."""

import contextlib
import getpass
import importlib.metadata
import subprocess
import sys
from functools import cache
from pathlib import Path

from sweeps.addresses import without_secrets

_ROOT = Path(__file__).parents[2]
_OURS = ("mis", "pruning", "sweeps", "trainables")
_DRIVER = ("ray", "mlflow", "optuna")
_SECONDS = 10  # that git may take; a slow disk is no reason to wait longer


@cache
def provenance() -> dict[str, str]:
    """Tags: source, user, git commit of this program and whether its tree was changed since, and
    the versions of what drives a sweep. What is not known is left out."""
    tags = {
        "mlflow.source.type": "LOCAL",
        "mlflow.source.name": _command(),
        "versions_driver": ", ".join(_version(name) for name in _DRIVER),
    }
    with contextlib.suppress(KeyError, OSError, ImportError):  # a container's, without a name
        tags["mlflow.user"] = getpass.getuser()
    if commit := _git("rev-parse", "HEAD"):
        changed = _git("status", "--porcelain", "--", *_OURS)
        tags["mlflow.source.git.commit"] = commit
        tags["git_tree"] = "unknown" if changed is None else "changed" if changed else "clean"
    return tags


def _command() -> str:
    """As it was typed, but for passwords."""
    words = [Path(sys.argv[0]).name, *sys.argv[1:]] if sys.argv else ["python"]
    if words[0] in ("__main__.py", "make.py"):
        words[0] = "secateur"
    return without_secrets(" ".join(words))[:500]


def _version(name: str) -> str:
    try:
        return f"{name} {importlib.metadata.version(name)}"
    except importlib.metadata.PackageNotFoundError:
        return f"{name} unknown"


def _git(*words: str) -> str | None:
    """What git says of this program's checkout; None where it is none, or there is no git."""
    if not (_ROOT / ".git").exists():
        return None
    command = ["git", "-C", str(_ROOT), *words]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return said.stdout.strip()

"""Files of this results folder on their way to a run's artifacts, one by one."""

import os
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mlflow import MlflowClient

from sweeps.tracking.refusals import Verdict, reason, verdict

_TIMEOUT = "MLFLOW_HTTP_REQUEST_TIMEOUT"
_SECONDS, _BYTES_A_SECOND = 60, 500_000  # what the slowest line and proxy need for a file


def upload(
    client: MlflowClient,
    run_id: str,
    folder: Path,
    names: Iterable[str],
    into: str | None = None,
    *,
    have: Collection[str] = (),
) -> Iterator[tuple[str, str]]:
    """Upload files of a folder; a pair each: its name, and "" or why the server never takes it.

    have: names that need not be sent again. Raises what says that the server is away.
    """
    for name in names:
        if name in have:
            continue
        path = folder / name
        parent = "/".join(part for part in (into or "", name.rpartition("/")[0]) if part)
        try:
            with _time_for(path.stat().st_size):
                client.log_artifact(run_id, str(path), parent or None)
        except Exception as error:
            if verdict(error) is not Verdict.NEVER:
                raise
            size = path.stat().st_size / 1e6
            yield name, f"{name} ({size:.1f} MB): {reason(error)}"
        else:
            yield name, ""


def names_there(client: MlflowClient, run_id: str, folders: Iterable[str]) -> set[str]:
    """Names of the artifacts that a run has in the folders; "" is that of them all."""
    return {
        file.path
        for folder in folders or ("",)
        for file in client.list_artifacts(run_id, folder or None)
        if not file.is_dir
    }


@contextmanager
def _time_for(n_bytes: int) -> Iterator[None]:
    """A limit on the wait for the server's answer that fits what it has to take."""
    before = os.environ.get(_TIMEOUT)
    theirs = int(before) if before and before.isascii() and before.isdigit() else 0
    seconds = max(theirs, _SECONDS + n_bytes // _BYTES_A_SECOND)
    os.environ[_TIMEOUT] = str(seconds)
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(_TIMEOUT, None)
        else:
            os.environ[_TIMEOUT] = before

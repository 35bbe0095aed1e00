"""How MLflow's client behaves while this program drives it, and not in the notebooks of others."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

# A request that fails is tried again by the outbox, which can wait for days and looks first what
# the server has: a lost answer must not make a second run.
_OURS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


def settle() -> None:
    """For a process that is ours from beginning to end. What its caller has set stays."""
    for name, value in _OURS.items():
        os.environ.setdefault(name, value)


@contextmanager
def settled() -> Iterator[None]:
    """The same, and afterwards all is as it was."""
    mine = [name for name in _OURS if name not in os.environ]
    settle()
    try:
        yield
    finally:
        for name in mine:
            os.environ.pop(name, None)

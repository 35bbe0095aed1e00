"""Whether Ray can start here, or answers at RAY_ADDRESS: asked before anything is trained."""

import os
import secrets
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from sweeps.addresses import host_shown, without_secrets
from sweeps.terminal import word_after
from trainables.workspace import size_shown

_LONGEST_SOCKET = 107  # bytes: what Linux takes as the path of a socket
_BYTES = 400_000_000  # of Ray's own files, its object store among them
_PATIENCE, _FIRST_WORD = 60, 5.0  # seconds for a cluster; for its port to say what it is
# How a client of gRPC greets: the preface of HTTP/2, and a frame of settings without any.
_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
_SETTINGS = 4  # the type of the frame that it is answered by
_JOIN = (
    "import logging, sys, ray; ray.init(address=sys.argv[1], log_to_driver=False, "
    "logging_level=logging.CRITICAL); print('joined', flush=True)"
)


def require_ray() -> None:
    """Raise ValueError, in one sentence, where no trial could be launched.

    Imports no Ray on one machine; a cluster is joined for a moment by a process of its own, since
    nothing else ends Ray's own patience, which is a quarter of an hour.
    """
    address = os.environ.get("RAY_ADDRESS")
    if address:
        with word_after(f"the Ray cluster {host_shown(address)}"):
            _require_cluster(address)
    else:
        _require_here()


def own_token() -> None:
    """Give a Ray of our own a token that is in no file; to be called before Ray is imported.

    Ray would write one to ~/.ray, which others may read, and where the home may not be written.
    """
    given = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
    if os.environ.get("RAY_AUTH_MODE", "token") == "token" and not any(map(os.environ.get, given)):
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def own_python() -> dict[str, str]:
    """Ray's runtime environment: this Python, as a shell must be told of it, for Ray tells one."""
    quoted = shlex.quote(sys.executable)
    return {} if quoted == sys.executable else {"py_executable": quoted}


def _require_here() -> None:
    # As Ray does.
    folder = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
    session = f"ray/session_2026-01-01_00-00-00_000000_{os.getpid()}/sockets/plasma_store"
    length = len(os.fsencode(os.path.join(folder, session)))
    if length > _LONGEST_SOCKET:
        most = _LONGEST_SOCKET - (length - len(os.fsencode(folder)))
        raise ValueError(
            f"the folder of temporary files must have at most {most} characters for Ray's sockets, "
            f"TMPDIR={folder} has {len(os.fsencode(folder))}: set RAY_TMPDIR to a shorter one, "
            "such as /tmp"
        )
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise ValueError(
            f"Ray must be able to write its files in {folder}, it cannot ({error.strerror}): set "
            "RAY_TMPDIR to a folder where it can"
        ) from error
    if free < _BYTES:
        raise ValueError(
            f"Ray needs {size_shown(_BYTES)} of free disk for its files in {folder}, there are "
            f"{size_shown(free)}: set RAY_TMPDIR to a folder with more"
        )


def _require_cluster(address: str) -> None:
    shown = f"RAY_ADDRESS={host_shown(address)}"
    if address == "local":
        raise ValueError(f"{shown} must be that of a cluster; unset it to run on this machine")
    if "://" not in address and address != "auto":
        _require_grpc(address, shown)
    elif "://" in address and not address.startswith("ray://"):
        raise ValueError(
            f"RAY_ADDRESS must be HOST:PORT of a cluster's head, got {host_shown(address)}"
        )
    command = [sys.executable, "-c", _JOIN, address]
    with_token = {"RAY_AUTH_MODE": "token", **os.environ}
    try:
        joined = subprocess.run(
            command, capture_output=True, text=True, timeout=_PATIENCE, env=with_token
        )
    except subprocess.TimeoutExpired as error:
        raise ValueError(
            f"a Ray cluster must answer at {shown}, none did in {_PATIENCE} s; unset it to run on "
            "this machine"
        ) from error
    if "joined" not in joined.stdout:
        raise ValueError(_why_not_joined(joined.stderr, shown))


def _why_not_joined(said: str, shown: str) -> str:
    if "AuthenticationError" in said:
        return (
            f"the token of this machine must be that of the Ray cluster of {shown}: copy its "
            "~/.ray/auth_token here, or name a copy by RAY_AUTH_TOKEN_PATH"
        )
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    at = next((n for n, line in enumerate(lines) if "Version mismatch" in line), None)
    if at is not None:
        return (
            f"the Ray cluster of {shown} must run the same Ray and Python as this machine: "
            + "; ".join(lines[at + 1 : at + 3])
        )
    last = without_secrets(lines[-1] if lines else "no more is said")[:300]
    return f"a Ray cluster must answer at {shown}, none does ({last}); unset it to run here"


def _require_grpc(address: str, shown: str) -> None:
    """In a moment: most other programs answer a greeting of HTTP/2 by something else."""
    host, _, port = address.rpartition(":")
    if not (host and port.isascii() and port.isdecimal()):
        raise ValueError(
            f"RAY_ADDRESS must be HOST:PORT of a cluster's head, got {host_shown(address)}"
        )
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_FIRST_WORD) as there:
            there.sendall(_GREETING)
            answer = there.recv(9)
    except TimeoutError as error:
        raise ValueError(
            f"a Ray cluster must answer at {shown}, none did in {_FIRST_WORD:g} s; unset it to run "
            "on this machine"
        ) from error
    except (OSError, ValueError, OverflowError) as error:
        raise ValueError(
            f"a Ray cluster must answer at {shown}, none does ({without_secrets(str(error))}); "
            "unset it to run on this machine"
        ) from error
    if len(answer) < 4 or answer[3] != _SETTINGS:
        raise ValueError(
            f"RAY_ADDRESS must be the port of a Ray cluster's head (6379 where nothing is said), "
            f"at {shown} another program answers; unset it to run on this machine"
        )

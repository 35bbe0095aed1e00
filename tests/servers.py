"""Real servers on loopback for the tests: MLflow, and the PostgreSQL it may stand on."""

import contextlib
import importlib.util
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import requests

from sweeps.tracking.outbox import Outbox
from sweeps.tracking.tracker import Tracker


def free_port():
    """One that stays free while its server is away: the system gives none of these to others, and
    Ray takes its own from below and above.
    """
    while True:
        port = random.SystemRandom().randrange(20_000, 30_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def start_mlflow(folder, port, store=None):
    """`mlflow server` on a database (SQLite in `folder`, or `store`); returns when it answers."""
    deadline = time.monotonic() + 240
    server = subprocess.Popen(
        [
            *(sys.executable, "-m", "mlflow", "server", "--workers", "1", "--port", str(port)),
            *("--backend-store-uri", store or f"sqlite:///{folder}/mlflow.db"),
            *("--artifacts-destination", str(folder / "artifacts")),
        ],
        env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        stdout=(folder / "server.log").open("a"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    while server.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(requests.exceptions.RequestException):
            if requests.get(f"http://127.0.0.1:{port}/health", timeout=1).ok:
                return server
        time.sleep(0.1)
    stop(server)
    raise TimeoutError((folder / "server.log").read_text()[-2_000:])


def stop(server):
    """kill -9 of it and all that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()


def log_much(results, name, uri):
    """A trial's ten epochs of 20 metrics through an outbox of its own; run in a process."""
    os.environ["MLFLOW_TRACKING_URI"] = uri
    outbox = Outbox(results / f"{name}.jsonl", Tracker("eight", results), None)
    outbox.start(name, name, "trial", {"seed": name})
    for step in range(1, 11):
        outbox.metrics(name, step, {f"m{i}": step * i for i in range(20)})
    outbox.end(name, "FINISHED", "completed", {})
    waiting = outbox.close(300)
    assert (waiting, outbox.refused) == (0, []), (waiting, outbox.refused)


def postgres_binaries():
    """The folder of Debian's initdb and postgres, which are not on the PATH; None without them."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


def why_no_postgres():
    """What is missing for `Postgres` under MLflow; None where all is there."""
    if postgres_binaries() is None:
        return "Debian's package postgresql is not installed"
    if importlib.util.find_spec("psycopg2") is None:
        return "the package psycopg2-binary is not installed"
    return None


class Postgres:
    """A PostgreSQL of its own in `folder`, as the user `nobody`, since it refuses to be root."""

    def __init__(self, folder):
        self.data, self.port, self.bin = folder / "data", free_port(), postgres_binaries()
        self.uri = f"postgresql+psycopg2://postgres@127.0.0.1:{self.port}/postgres"
        folder.mkdir()
        if os.geteuid() == 0:
            shutil.chown(folder, "nobody")
            for parent in folder.parents:  # pytest's folders are closed to others
                if parent.stat().st_mode & 0o001 == 0:
                    parent.chmod(parent.stat().st_mode | 0o011)
        self._as_user("initdb", "--auth=trust", "--username=postgres", "--pgdata", str(self.data))
        self.start()

    def _as_user(self, program, *arguments):
        user = "nobody" if os.geteuid() == 0 else None
        subprocess.run(
            [str(self.bin / program), *arguments],
            user=user,
            check=True,
            stdout=subprocess.DEVNULL,
            cwd="/",
        )

    def tell(self, words):
        """SQL, as its owner."""
        self._as_user(
            *("psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres"),
            *("-v", "ON_ERROR_STOP=1", "-c", words),
        )

    def start(self):
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -k {self.data}"
        log = str(self.data / "log")
        self._as_user("pg_ctl", "-D", str(self.data), "-w", "-l", log, "-o", options, "start")

    def stop(self):
        """At once: whoever is connected is thrown out."""
        self._as_user("pg_ctl", "-D", str(self.data), "-w", "-m", "immediate", "stop")

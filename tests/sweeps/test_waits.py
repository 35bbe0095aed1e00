"""Every wait has an end, says what it is for, and ends at the first signal; an upload has time."""

import fcntl
import os
import signal
import socket
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

import sweeps.terminal
import sweeps.tracking.answering
import sweeps.tracking.database
import sweeps.tracking.lease
import sweeps.tracking.outbox
import sweeps.tune.ready
from sweeps.afterwards import sigterm_like_ctrl_c
from sweeps.tracking.answering import require_answer
from sweeps.tracking.database import opening
from sweeps.tracking.lease import only_sweep
from sweeps.tracking.outbox import Outbox
from sweeps.tracking.owner import Owner
from sweeps.tracking.sync import deliver
from sweeps.tracking.uploads import upload
from trainables import locks
from trainables.locks import locked

NO_SERVER = ConnectionError("no server")


@contextmanager
def held(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def silent_server():
    """One that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@contextmanager
def a_lock(tmp_path):
    with held(tmp_path / "pack" / "lock"), locked(tmp_path / "pack" / "lock", "another decodes"):
        yield


@contextmanager
def a_database(tmp_path):
    with held(tmp_path / "mlflow.lock"), opening(tmp_path):
        yield


@contextmanager
def a_lease(tmp_path):
    """Of a driver that has begun, and of which nobody knows yet whether it is alive."""
    mine = SimpleNamespace(info=SimpleNamespace(run_id="b"))
    tags = {"folder": "/there", "host": "other", "process": "7"}
    other = SimpleNamespace(info=SimpleNamespace(run_id="a"), data=SimpleNamespace(tags=tags))
    client = SimpleNamespace(create_run=lambda *_: mine, set_tag=lambda *_: None)
    client.delete_run = lambda *_: None
    tracker = SimpleNamespace(client=client, runs=lambda *_: [other], is_shared=True, study="s")
    tracker.results, tracker.experiment_id, tracker.uri = tmp_path, "1", "http://there"
    tracker.owner = Owner(tmp_path, is_shared=True)
    with only_sweep(tracker, tmp_path / "s.lease", print):
        yield


def away(tmp_path):
    """A tracker whose server takes nothing, and an outbox with something to tell it."""

    def refuse(*_, **__):
        raise NO_SERVER

    tracker = SimpleNamespace(results=tmp_path, study="s", start_run=refuse, find_run=refuse)
    path = tmp_path / "outbox" / "s.jsonl"
    outbox = Outbox(path, tracker, "parent", print)
    outbox.start("abc", "t", "trial", {})
    return tracker, path, outbox


@contextmanager
def an_outbox(tmp_path):
    _, _, outbox = away(tmp_path)
    outbox.close(600)
    if outbox.broken_off:
        raise KeyboardInterrupt
    yield


@contextmanager
def what_an_outbox_left(tmp_path):
    tracker, path, outbox = away(tmp_path)
    outbox.close(0.1, 0.1)
    deliver(path, tracker, print)
    yield


@contextmanager
def an_mlflow_server(tmp_path):
    with silent_server() as port:
        require_answer(f"http://127.0.0.1:{port}")
        yield


@contextmanager
def a_postgresql(tmp_path):
    with silent_server() as port:
        require_answer(f"postgresql+psycopg2://someone@127.0.0.1:{port}/runs")
        yield


@contextmanager
def a_ray(tmp_path):
    os.environ["RAY_ADDRESS"] = ""
    with silent_server() as port:
        os.environ["RAY_ADDRESS"] = f"127.0.0.1:{port}"
        sweeps.tune.ready.require_ray()
        yield


WAITS = {
    a_lock: "another decodes: waiting for it to give back",
    a_database: "waiting for another process to open the database",
    a_lease: "waiting to see whether the sweep of /there on other",
    an_outbox: "MLflow is still to take 1 events",
    what_an_outbox_left: "MLflow is still to take",
    an_mlflow_server: "waiting for MLflow at http://127.0.0.1:",
    a_postgresql: "waiting for MLflow at postgresql+psycopg2://127.0.0.1:",
    a_ray: "waiting for the Ray cluster 127.0.0.1:",
}


@pytest.fixture
def soon(monkeypatch):
    """Words come at once that come after ten seconds else."""
    monkeypatch.setenv("RAY_ADDRESS", "")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(locks, "_QUIET_SECONDS", 0.1)
    monkeypatch.setattr(sweeps.tracking.database, "_SAY_AFTER", 0.1)
    monkeypatch.setattr(sweeps.tracking.lease, "_SAY_AFTER", 0.0)
    monkeypatch.setattr(sweeps.tracking.outbox, "SAY_AFTER_SECONDS", 0.1)
    monkeypatch.setattr(sweeps.tracking.answering, "word_after", lambda what: word(what, 0.1))
    monkeypatch.setattr(sweeps.tune.ready, "word_after", lambda what: word(what, 0.1))
    word = sweeps.terminal.word_after


@contextmanager
def ctrl_c_is_heard():
    """Also where the tests run in the background of a shell, which ignores it for them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
@pytest.mark.parametrize("wait", WAITS, ids=lambda wait: wait.__name__)
def test_the_first_signal_ends_a_wait_that_has_said_what_it_is_for(
    wait, number, soon, tmp_path, capfd
):
    sent = []

    def send_when_it_has_said_it():
        said, end = "", time.monotonic() + 60
        while WAITS[wait] not in " ".join(said.split()) and time.monotonic() < end:
            time.sleep(0.05)
            said += "".join(capfd.readouterr())
        sent.append((time.monotonic(), " ".join(said.split())))
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=send_when_it_has_said_it)
    thread.start()
    problem = None
    with ctrl_c_is_heard(), sigterm_like_ctrl_c():
        try:
            with wait(tmp_path):
                problem = "it did not wait"
        except KeyboardInterrupt:
            pass
        except Exception as error:
            problem = error
        with suppress(KeyboardInterrupt):
            thread.join()
    assert problem is None, problem
    when, said = sent[0]
    assert WAITS[wait] in said
    assert time.monotonic() - when < 4.5  # of patience that is five seconds at least


def test_a_database_that_says_nothing_is_given_up(soon, tmp_path, monkeypatch):
    monkeypatch.setattr(sweeps.tracking.answering, "_PATIENCE", 0.2)
    monkeypatch.setattr("sweeps.tracking.answering.word_after", sweeps.terminal.word_after)
    with pytest.raises(ValueError, match="said nothing for 0.2 s"), a_postgresql(tmp_path):
        pass


# Uploads


def uploaded(tmp_path, n_bytes):
    """What the limit on a request is while a file of that size is sent."""
    with (tmp_path / "file").open("wb") as file:
        file.truncate(n_bytes)
    seen = []

    def log_artifact(*_):
        seen.append(os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"])

    client = SimpleNamespace(log_artifact=log_artifact)
    assert list(upload(client, "run", Path(tmp_path), ["file"])) == [("file", "")]
    return int(seen[0])


def test_an_upload_has_the_time_that_its_size_takes(tmp_path, monkeypatch):
    name = "MLFLOW_HTTP_REQUEST_TIMEOUT"
    monkeypatch.setenv(name, "20")  # ours, for questions
    assert uploaded(tmp_path, 0) == 60
    assert uploaded(tmp_path, 100_000_000) == 60 + 200  # .5 MB per second
    assert uploaded(tmp_path, 20_000_000_000) > 10 * 3_600
    assert os.environ[name] == "20"
    monkeypatch.setenv(name, "1000")  # their owner knows better
    assert uploaded(tmp_path, 100) == 1_000
    for odd in ("", "60s", "²", "-5"):
        monkeypatch.setenv(name, odd)
        assert uploaded(tmp_path, 100) == 60 and os.environ[name] == odd
    monkeypatch.delenv(name)
    assert uploaded(tmp_path, 100) == 60 and name not in os.environ


def test_the_limit_is_as_it_was_when_an_upload_fails(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    (tmp_path / "file").write_text("x")

    def log_artifact(*_):
        raise NO_SERVER

    with pytest.raises(ConnectionError):
        list(upload(SimpleNamespace(log_artifact=log_artifact), "run", tmp_path, ["file"]))
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "20"

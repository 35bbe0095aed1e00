"""Waiting for another process."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest

from trainables import locks
from trainables.locks import locked


def hold(path, held):
    with locked(path, "test"):
        held.set()
        time.sleep(300)


@pytest.fixture
def holder(tmp_path):
    """A lock that another process holds."""
    context = multiprocessing.get_context("fork")
    held = context.Event()
    process = context.Process(target=hold, args=(tmp_path / "lock", held), daemon=True)
    process.start()
    assert held.wait(60)
    yield process
    process.kill()
    process.join(60)


def test_who_waits_says_for_what_and_goes_on_when_the_other_is_killed(
    tmp_path, holder, monkeypatch, capsys
):
    monkeypatch.setattr(locks, "_QUIET_SECONDS", 0.2)
    told = []

    def sleep(seconds):
        told.append(capsys.readouterr().err)
        if any(told):
            os.kill(holder.pid, signal.SIGKILL)
        time_sleep(seconds)

    time_sleep = time.sleep
    monkeypatch.setattr(locks.time, "sleep", sleep)
    with locked(tmp_path / "lock", "another process decodes images"):
        said = f"another process decodes images: waiting for it to give back {tmp_path}/lock\n"
        assert "".join(told) == said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_ends_the_wait(tmp_path, holder, number):
    code = (
        "import sys; from pathlib import Path; from trainables import locks;"
        "locks._QUIET_SECONDS = 0\n"
        "with locks.locked(Path(sys.argv[1]), 'test'): print('held')"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "lock")], stderr=subprocess.PIPE, text=True
    )
    assert "waiting" in process.stderr.readline()
    process.send_signal(number)
    assert process.wait(60) != 0


def test_a_link_or_a_pipe_in_its_place_is_refused_and_left_alone(tmp_path):
    """Attack A3: a link planted where a lock is opened emptied what it pointed to."""
    target = tmp_path / "thesis"
    target.write_text("not ours")
    (tmp_path / "link").symlink_to(target)
    (tmp_path / "nothing").symlink_to(tmp_path / "new")
    (tmp_path / "folder").mkdir()
    for name in ("link", "nothing", "folder"):
        message = f"{name} must be a file that can be locked: "
        with pytest.raises(OSError, match=message), locked(tmp_path / name, "test"):
            pass
    assert target.read_text() == "not ours" and not (tmp_path / "new").exists()
    target.chmod(0o600)
    with locked(target, "test"):
        assert target.read_text() == "not ours"

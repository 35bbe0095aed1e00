"""Who may run a study on an MLflow server: one driver at a time, wherever it is.

MLflow cannot compare and set. Each driver makes a run of its own that says so, before it reads
those of others: of two that start at once, one at least sees the other. The lower run id stays.
"""

import contextlib
import os
import platform
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from sweeps.tracking.answering import no_answer
from sweeps.tracking.owner import FOLDER, HOST
from sweeps.tracking.tracker import KIND, Tracker, Unavailable
from trainables.workspace import whole_file

LEASE = "lease"
_BEAT, _HELD, _PID = "heartbeat", "held", "pid"
BEAT_SECONDS, _SAY_AFTER = 10.0, 10.0
DEAD_AFTER_BEATS = 6  # a run whose heartbeat stands still for so long is a dead driver's


@contextmanager
def only_sweep(tracker: Tracker, path: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the study's lease on the tracker's server, where others may log to it, too.

    path: where the lease is noted, under the lock of the results folder: one of this very folder
    that is found there is dead. say: told what is waited for. Raises ValueError, in one sentence,
    where another driver has the lease.
    """
    if not tracker.is_shared:
        yield
        return
    stop, lost = threading.Event(), threading.Event()
    mine = ""
    try:
        try:
            _forget(tracker, path)
            mine = _begin(tracker, path)
            arguments = (tracker.client, mine, stop, lost)
            threading.Thread(target=_beat, args=arguments, name="lease", daemon=True).start()
            _win(tracker, mine, say)
        except Unavailable as error:
            raise ValueError(no_answer(tracker.uri, error)) from error
        yield
        if lost.is_set():
            say(
                f"another sweep of {tracker.study} took this one for dead, since the server did "
                "not hear of it for a minute: some trials may have been run by both"
            )
    finally:
        stop.set()
        with contextlib.suppress(*Unavailable):  # else the next one finds it dead
            if mine:
                tracker.client.delete_run(mine)
                path.unlink(missing_ok=True)


def _forget(tracker: Tracker, path: Path) -> None:
    """End the lease of this folder's last sweep, which was killed. In a copy of a folder, or on
    another machine, it may be of one that lives: there its beat tells."""
    noted = path.read_text().strip() if path.is_file() else ""
    for run in tracker.runs(LEASE) if noted else ():
        if run.info.run_id == noted and tracker.owner.tags.items() <= run.data.tags.items():
            tracker.client.delete_run(noted)


def _begin(tracker: Tracker, path: Path) -> str:
    tags = {KIND: LEASE, _PID: str(os.getpid()), _BEAT: "0"}
    tags |= tracker.owner.tags
    name = f"lease of {platform.node()}"
    run = tracker.client.create_run(tracker.experiment_id, None, tags, name)
    with whole_file(path) as partial:
        partial.write_text(run.info.run_id)
    return str(run.info.run_id)


def _beat(client: MlflowClient, run_id: str, stop: threading.Event, lost: threading.Event) -> None:
    n = 0
    while not stop.wait(BEAT_SECONDS):
        n += 1
        try:
            client.set_tag(run_id, _BEAT, str(n))
        except MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                lost.set()  # deleted
                return
        except Exception:  # away: the next beat may reach it
            continue


def _win(tracker: Tracker, mine: str, say: Callable[[str], None]) -> None:
    """Return once no other lease is alive. Raises ValueError for one that stays."""
    watch, begun, said = _Watch(), time.monotonic(), False
    while True:
        others = [run for run in tracker.runs(LEASE, "RUNNING") if run.info.run_id != mine]
        for run in others:
            watch.look(run)
        for run in filter(watch.is_dead, others):
            with contextlib.suppress(MlflowException):
                tracker.client.delete_run(run.info.run_id)
        left = [run for run in others if not watch.is_dead(run)]
        if not left:
            tracker.client.set_tag(mine, _HELD, "yes")
            return
        for run in filter(watch.is_alive, left):
            # One that has only begun makes way for a lower id.
            if _HELD in run.data.tags or str(run.info.run_id) < mine:
                raise ValueError(
                    "one sweep of a study at a time may run on an MLflow server, "
                    f"{tracker.study} is run from {_place(run)}; wait for it, or unset "
                    "MLFLOW_TRACKING_URI to have a database of your own"
                )
        if not said and time.monotonic() > begun + _SAY_AFTER:
            said = True
            say(f"waiting to see whether the sweep of {_place(left[0])} is alive …")
        time.sleep(min(1.0, BEAT_SECONDS / 4))


class _Watch:
    """Which leases are alive: by their heartbeats alone, since clocks of two machines differ."""

    def __init__(self) -> None:
        self._first: dict[str, tuple[str, float]] = {}  # run id -> its heartbeat, and when
        self._alive: set[str] = set()

    def look(self, run: Run) -> None:
        beat = run.data.tags.get(_BEAT, "")
        first, _ = self._first.setdefault(run.info.run_id, (beat, time.monotonic()))
        if first != beat:
            self._alive.add(run.info.run_id)

    def is_alive(self, run: Run) -> bool:
        return run.info.run_id in self._alive

    def is_dead(self, run: Run) -> bool:
        waited = time.monotonic() - self._first[run.info.run_id][1]
        return not self.is_alive(run) and waited > DEAD_AFTER_BEATS * BEAT_SECONDS


def _place(run: Run) -> str:
    tags = run.data.tags
    return f"{tags.get(FOLDER, '?')} on {tags.get(HOST, '?')} (process {tags.get(_PID, '?')})"

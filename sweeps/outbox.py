"""An outbox on disk between the sweep and MLflow: what is logged is never lost, nor in the way.

The sweep appends one line of JSON an event and goes on; one thread delivers the lines in order,
at least once, and waits when the server is away. Delivering a line twice changes nothing: a run is
found again by its key, and metrics are left out that it has at that step. What a killed sweep left
is delivered when the outbox is opened again.
"""

import contextlib
import itertools
import json
import os
import shutil
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlflow.exceptions import MlflowException

from sweeps.tracking import OUTCOME, Away, Tracker

_RETRY_SECONDS = (1, 2, 5, 10, 30)
_NOT_NOW = (401, 403, 408, 429, 502, 503, 504)
# How often an event is tried that the server refuses, before it is set aside: an error of MLflow's
# store may pass, wrong input will not.
_TRIES, _TRIES_OF_WRONG_INPUT = 20, 3
_WRONG_INPUT = ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS")
_SWEEP = "sweep"  # stands for the parent run where a trial's key stands else


class Outbox:
    """The events of one study's sweeps, on their way to one tracker.

    path: a file of JSON lines, deleted when all is delivered; beside it `.delivered`, how far, and
    `.refused`, metrics that the server would not take, which `deliver` tries once more.
    parent: id of the sweep's run; None only to deliver what is there. Raises OSError where the
    folder cannot be written to. One process at a time may have it open.
    """

    def __init__(self, path: Path, tracker: Tracker, parent: str | None) -> None:
        self.path, self.tracker, self.parent = path, tracker, parent
        self.refused: list[str] = []  # sentences about events that the server would not take
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab", buffering=0)
        self._progress = path.with_suffix(".delivered")
        self._runs: dict[str, str] = {}
        self._open: dict[str, str] = {}  # key -> id of its run, or "" : started and not ended
        self._offset = self._read_what_is_there()
        if parent is not None:
            self._open[_SWEEP] = parent
        self._news = threading.Condition()
        self._closing = False
        self._deadline, self._heard = float("inf"), time.monotonic()
        self._thread = threading.Thread(target=self._deliver_all, name="outbox", daemon=True)
        self._thread.start()

    def _read_what_is_there(self) -> int:
        """Drop a last line that was cut off, note who has not ended; how far it is delivered."""
        lines = self.path.read_bytes().splitlines(keepends=True)
        if lines and not lines[-1].endswith(b"\n"):
            self._file.truncate(sum(map(len, lines[:-1])))
            lines.pop()
        for event in filter(None, map(_parsed, lines)):
            self._note(event)
        saved = self._progress.read_text() if self._progress.exists() else ""
        offset = int(saved) if saved.isdigit() else 0
        ends = itertools.accumulate(map(len, lines))
        return offset if offset in ends else 0  # else of another file: a machine that went down

    # What the sweep calls; each returns at once.

    def start(
        self,
        key: str,
        name: str,
        kind: str,
        params: Mapping[str, Any],
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """A run begins, or goes on. tags: what tells its attempt from another one (Tracker)."""
        about = {"name": name, "run_kind": kind, "params": params, "tags": tags or {}}
        self._append("start", key, parent=self.parent, **about)

    def metrics(self, key: str, step: int, values: Mapping[str, float]) -> None:
        self._append("metrics", key, step=step, values=values)

    def end(
        self,
        key: str,
        status: str,
        outcome: str | None,
        tags: Mapping[str, str],
        *,
        step: int = 0,
        values: Mapping[str, float] | None = None,
        folder: Path | None = None,
        forget: Sequence[Path] = (),
    ) -> None:
        """A run is over, in one line: last values, a folder to upload, then what to delete here.

        It is on the disk when this returns, and the trial that it is of need not run again.
        """
        tags = {**({OUTCOME: outcome} if outcome else {}), **tags}
        paths = {"folder": str(folder) if folder else None, "forget": [str(p) for p in forget]}
        self._append("end", key, status=status, tags=tags, step=step, values=values or {}, **paths)
        os.fsync(self._file.fileno())

    def end_sweep(self, status: str) -> None:
        """All is over: the sweep's own run, and every other that has not ended was broken off."""
        for key, run in list(self._open.items()):
            own = key == _SWEEP and run == self.parent
            try:
                self._append("end", key, run=run, status=status if own else "KILLED", tags={})
            except OSError as error:  # a full disk
                self.refused.append(f"end of {key}: {error}")

    def close(self, timeout_seconds: float, patience_seconds: float = 60) -> int:
        """Wait for the delivery of what is left; returns how many events could not be.

        patience_seconds: how long to wait for a server that takes nothing.
        """
        with self._news:
            self._closing, self._heard = True, time.monotonic()
            self._deadline, self._patience = self._heard + timeout_seconds, patience_seconds
            self._news.notify()
        while self._thread.is_alive():
            self._thread.join(1)
        self._file.close()
        n_waiting = self._n_waiting()
        if n_waiting == 0:
            # In this order: how far another file was delivered must not be believed of a new one.
            self._progress.unlink(missing_ok=True)
            self.path.unlink()
        return n_waiting

    def _n_waiting(self) -> int:
        with self.path.open("rb") as file:
            file.seek(self._offset)
            return sum(1 for _ in file)

    def _append(self, event: str, key: str, **details: Any) -> None:
        line = {"event": event, "key": key, "time_ms": int(time.time() * 1000), **details}
        text = (json.dumps(line, default=str) + "\n").encode()
        with self._news:
            before = self.path.stat().st_size
            try:
                if self._file.write(text) != len(text):
                    raise OSError(f"the disk of {self.path} is full")
            except OSError:
                self._file.truncate(before)  # half a line would spoil the next one
                raise
            self._note(line)
            self._news.notify()

    def _note(self, event: Mapping[str, Any]) -> None:
        """Keep in mind which runs have started and not ended."""
        if event["event"] == "start":
            self._open.setdefault(event["key"], "")
            if event["parent"] is not None:
                self._open[_SWEEP] = event["parent"]
        elif event["event"] == "end":
            self._open.pop(event["key"], None)

    # The delivering thread.

    def _deliver_all(self) -> None:
        while True:
            with self._news:
                while self._offset >= self.path.stat().st_size:
                    if self._closing:
                        return
                    self._news.wait()
            with self.path.open("rb") as file:
                file.seek(self._offset)
                line = file.readline()
            if not self._deliver(line):
                return
            self._offset += len(line)
            self._remember()

    def _deliver(self, line: bytes) -> bool:
        """Deliver one event; False when the sweep closes before the server is back."""
        event = _parsed(line)
        if event is None:
            self.refused.append(f"a line of {self.path} that is no event: {line[:80]!r}")
            return True
        refusals = 0
        for attempt in range(1_000_000):
            if time.monotonic() > self._deadline:
                return False
            try:
                getattr(self, f"_send_{event['event']}")(event)
                self._heard = time.monotonic()
                return True
            except Exception as error:
                # Whatever goes wrong here must not end the thread: the sweep goes on without it.
                refusals += not _is_away(error)
                if refusals >= _tries(error):
                    self._set_aside(line, event, error)
                    return True
            with self._news:
                if self._closing and time.monotonic() > self._heard + self._patience:
                    return False
                wait = _RETRY_SECONDS[min(attempt, len(_RETRY_SECONDS) - 1)]
                self._news.wait(min(wait, 2) if self._closing else wait)
        return False

    def _set_aside(self, line: bytes, event: Mapping[str, Any], error: Exception) -> None:
        """Metrics are kept. A trial whose run did not begin or end runs its last step again."""
        self.refused.append(f"{event['event']} of {event['key']}: {error}")
        if event["event"] == "metrics":
            with contextlib.suppress(OSError), refused_path(self.path).open("ab") as file:
                file.write(line)

    def _remember(self) -> None:
        partial = self._progress.with_suffix(".partial")
        with contextlib.suppress(OSError):  # a full disk: then more is sent again after a crash
            partial.write_text(str(self._offset))
            partial.replace(self._progress)

    def _run(self, event: Mapping[str, Any]) -> str:
        key = event["key"]
        if event.get("run"):
            return str(event["run"])
        if key not in self._runs:  # started before this process
            self._runs[key] = self.tracker.find_run(key)
        return self._runs[key]

    def _send_start(self, event: dict[str, Any]) -> None:
        self._runs[event["key"]] = self.tracker.start_run(
            event["name"],
            kind=event["run_kind"],
            key=event["key"],
            parent=event["parent"],
            params=event["params"],
            tags=event["tags"],
            time_ms=event["time_ms"],
        )

    def _send_metrics(self, event: dict[str, Any]) -> None:
        run = self._run(event)
        self.tracker.log_metrics(run, event["values"], event["step"], event["time_ms"])

    def _send_end(self, event: dict[str, Any]) -> None:
        run = self._run(event)
        if event.get("values"):
            self._send_metrics(event)
        folder = event.get("folder")
        if folder and Path(folder).exists():  # gone when this event is delivered a second time
            self.tracker.log_folder(run, Path(folder))
        if event["tags"]:
            self.tracker.set_tags(run, event["tags"])
        self.tracker.end_run(run, event["status"], event["time_ms"])
        self.tracker.remove_doubles(event["key"], run)
        # Only now: until the server has it all, the trial can end once more from its state.
        if folder:
            shutil.rmtree(folder, ignore_errors=True)
        for path in event.get("forget", ()):
            Path(path).unlink(missing_ok=True)


def refused_path(path: Path) -> Path:
    """Where the metrics are that an outbox could not get rid of."""
    return path.with_suffix(".refused")


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "event" in event else None


def _is_away(error: Exception) -> bool:
    """Whether the server could not be reached, or could not answer now."""
    if isinstance(error, Away):
        return True
    if isinstance(error, MlflowException):
        text = str(error)
        not_now = error.get_http_status_code() in _NOT_NOW
        return not_now or "Max retries" in text or "API request" in text
    return False


def _tries(error: Exception) -> int:
    """After how many refusals an event is set aside."""
    wrong = isinstance(error, (LookupError, TypeError, ValueError))
    if isinstance(error, MlflowException):
        wrong = error.error_code in _WRONG_INPUT
    return _TRIES_OF_WRONG_INPUT if wrong else _TRIES

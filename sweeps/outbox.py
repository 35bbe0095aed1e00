"""An outbox on disk between the sweep and MLflow: what is logged is never lost, nor in the way.

The sweep appends one line of JSON an event and goes on; one thread delivers the lines in order,
at least once, and waits when the server is away. Delivering a line twice changes nothing: metrics
carry their own time, a run is found again by its key.
"""

import json
import shutil
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow.exceptions import MlflowException

from sweeps.tracking import OUTCOME, Away, Tracker

_RETRY_SECONDS = (1, 2, 5, 10, 30)
_TRIES_WHEN_REFUSED = 3  # an event that the server refuses so often is set aside


class Outbox:
    """The events of one sweep, on their way to one tracker.

    path: a file of JSON lines; beside it `.delivered`, how far it is delivered and to which runs.
    """

    def __init__(self, path: Path, tracker: Tracker, parent: str | None) -> None:
        self.path, self.tracker, self.parent = path, tracker, parent
        self.refused: list[str] = []  # sentences about events that the server would not take
        path.parent.mkdir(parents=True, exist_ok=True)
        self._progress = path.with_suffix(".delivered")
        self._runs: dict[str, str] = {}
        self._offset = 0
        if self._progress.exists():
            saved = json.loads(self._progress.read_text())
            self._runs, self._offset = saved["runs"], saved["offset"]
        self._file = path.open("a", encoding="utf-8")
        self._news = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._deliver_all, name="outbox", daemon=True)
        self._thread.start()

    # What the sweep calls; each returns at once.

    def start(self, key: str, name: str, kind: str, params: Mapping[str, Any]) -> None:
        self._append("start", key, name=name, run_kind=kind, params=params, parent=self.parent)

    def metrics(self, key: str, step: int, values: Mapping[str, float]) -> None:
        self._append("metrics", key, step=step, values=values)

    def folder(self, key: str, folder: Path) -> None:
        """Upload a folder's files, then delete it here."""
        self._append("folder", key, folder=str(folder))

    def end(self, key: str, status: str, outcome: str, tags: Mapping[str, str]) -> None:
        self._append("end", key, status=status, tags={OUTCOME: outcome, **tags})

    def close(self, timeout_seconds: float) -> int:
        """Wait for the delivery of what is left; returns how many events could not be."""
        with self._news:
            self._closing = True
            self._news.notify()
        self._thread.join(timeout_seconds)
        self._file.close()
        n_waiting = self._n_waiting()
        if n_waiting == 0:
            self.path.unlink()
            self._progress.unlink(missing_ok=True)
        return n_waiting

    def _n_waiting(self) -> int:
        with self.path.open("rb") as file:
            file.seek(self._offset)
            return sum(1 for _ in file)

    def _append(self, event: str, key: str, **details: Any) -> None:
        line = {"event": event, "key": key, "time_ms": int(time.time() * 1000), **details}
        with self._news:
            self._file.write(json.dumps(line, default=str) + "\n")
            self._file.flush()
            self._news.notify()

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
            if not self._deliver(json.loads(line)):
                return
            self._offset += len(line)
            self._remember()

    def _deliver(self, event: dict[str, Any]) -> bool:
        """Deliver one event; False when the sweep closes before the server is back."""
        refusals = 0
        for attempt in range(1_000_000):
            try:
                getattr(self, f"_send_{event['event']}")(event)
                return True
            except Exception as error:
                # Whatever goes wrong here must not end the thread: the sweep goes on without it.
                refusals += not _is_away(error)
                if refusals == _TRIES_WHEN_REFUSED:
                    self.refused.append(f"{event['event']} of {event['key']}: {error}")
                    return True
            with self._news:
                wait = _RETRY_SECONDS[min(attempt, len(_RETRY_SECONDS) - 1)]
                if self._closing and attempt >= 2:
                    return False
                self._news.wait(wait)
        return False

    def _remember(self) -> None:
        partial = self._progress.with_suffix(".partial")
        partial.write_text(json.dumps({"offset": self._offset, "runs": self._runs}))
        partial.replace(self._progress)

    def _send_start(self, event: dict[str, Any]) -> None:
        self._runs[event["key"]] = self.tracker.start_run(
            event["name"],
            kind=event["run_kind"],
            key=event["key"],
            parent=event["parent"],
            params=event["params"],
            time_ms=event["time_ms"],
        )

    def _send_metrics(self, event: dict[str, Any]) -> None:
        run = self._runs[event["key"]]
        self.tracker.log_metrics(run, event["values"], event["step"], event["time_ms"])

    def _send_folder(self, event: dict[str, Any]) -> None:
        folder = Path(event["folder"])
        if folder.exists():  # gone when this event is delivered for the second time
            self.tracker.log_folder(self._runs[event["key"]], folder)
            shutil.rmtree(folder)

    def _send_end(self, event: dict[str, Any]) -> None:
        run = self._runs[event["key"]]
        self.tracker.set_tags(run, event["tags"])
        self.tracker.end_run(run, event["status"], event["time_ms"])


def _is_away(error: Exception) -> bool:
    """Whether the server could not be reached, or could not answer now."""
    if isinstance(error, Away):
        return True
    if isinstance(error, MlflowException):
        status = error.get_http_status_code()
        text = str(error)
        return status in (429, 502, 503, 504) or "Max retries" in text or "API request" in text
    return False

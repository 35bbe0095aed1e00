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
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sweeps.tracking.delivery import Delivery, Lost
from sweeps.tracking.provenance import provenance
from sweeps.tracking.quiet import settled
from sweeps.tracking.refusals import Verdict, reason, verdict
from sweeps.tracking.tracker import OUTCOME, Tracker
from trainables.workspace import open_own, whole_file

_RETRY_SECONDS = (1, 2, 5, 10, 30)
SAY_AFTER_SECONDS = 10
# How often, and how long, an event is tried that the server refuses, before it is set aside: an
# error of MLflow's store may pass, wrong input will not.
_TRIES, _UNCLEAR_SECONDS, _TRIES_OF_WRONG_INPUT = 20, 600, 2
_SWEEP = "sweep"  # stands for the parent run where a trial's key stands else


class Outbox:
    """The events of one study's sweeps, on their way to one tracker.

    path: a file of JSON lines, deleted when all is delivered; beside it `.delivered`, how far, and
    `.refused`, events that the server would not take, which `deliver` tries once more.
    parent: id of the sweep's run; None only to deliver what is there. say: told in a sentence what
    is waited for. Raises OSError where the folder cannot be written to. One process at a time may
    have it open.
    """

    def __init__(
        self,
        path: Path,
        tracker: Tracker,
        parent: str | None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.path, self.tracker, self.parent, self._say = path, tracker, parent, say
        self.refused: list[str] = []  # sentences about events that the server would not take
        self.reason, self._told = "", ""  # why the next event is not delivered yet
        self._settings = contextlib.ExitStack()
        file = os.fdopen(open_own(path, append=True), "ab", buffering=0)
        self._file = self._settings.enter_context(file)
        self._progress = path.with_suffix(".delivered")
        self._delivery = Delivery(tracker)
        self._aside: set[str] = set()  # keys whose run did not begin or end
        self._open: dict[str, str] = {}  # key -> id of its run, or "" : started and not ended
        self._offset = self._read_what_is_there()
        if parent is not None:
            self._open[_SWEEP] = parent
        self._news = threading.Condition()
        self._closing = self.broken_off = False
        self._deadline, self._heard = float("inf"), time.monotonic()
        self._thread = threading.Thread(target=self._deliver_all, name="outbox", daemon=True)
        self._settings.enter_context(settled())
        self._thread.start()

    def _read_what_is_there(self) -> int:
        """Drop a last line that was cut off, note who has not ended; how far it is delivered."""
        lines = self.path.read_bytes().splitlines(keepends=True)
        if lines and not lines[-1].endswith(b"\n"):
            self._file.truncate(sum(map(len, lines)) - len(lines.pop()))
        for event in filter(None, map(parsed, lines)):
            self._note(event)
        saved = self._progress.read_bytes() if self._progress.is_file() else b""
        offset = int(saved) if saved.isdigit() and len(saved) < 19 else 0
        # Else of another file: a machine went down.
        return offset if offset in itertools.accumulate(map(len, lines)) else 0

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
        self._append("start", key, parent=self.parent, provenance=provenance(), **about)

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
        holds: Sequence[str] = (),
        forget: Sequence[Path] = (),
        inputs: Sequence[Mapping[str, str]] = (),
    ) -> None:
        """A run is over, in one line: last values, a folder to upload, then what to delete here.

        holds: names of the files that must be in the folder. inputs: see `log_inputs`. It is on
        the disk when this returns, and the trial that it is of need not run again.
        """
        tags = {**({OUTCOME: outcome} if outcome else {}), **tags}
        root = self.tracker.results
        paths = {
            "folder": str(folder.relative_to(root)) if folder else None,
            **{"holds": list(holds), "inputs": list(inputs)},
            "forget": [str(path.relative_to(root)) for path in forget],
        }
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

        patience_seconds: how long to wait for a server that takes nothing. Ctrl-C ends the wait.
        """
        begun, said = time.monotonic(), False
        with self._news:
            self._closing, self._heard = True, begun
            self._deadline, self._patience = begun + timeout_seconds, patience_seconds
            self._news.notify()
        try:
            while self._thread.is_alive():
                self._thread.join(1)
                n_waiting = self._n_waiting()
                if n_waiting and not said and time.monotonic() > begun + SAY_AFTER_SECONDS:
                    said = True
                    why = f" ({self.reason})" if self.reason else ""
                    self._say(f"MLflow is still to take {n_waiting} events{why} …")
        except KeyboardInterrupt:
            self._deadline, self.broken_off = begun, True
            self._settings.close()
            return self._n_waiting()  # its thread ends with the request that it has sent
        self._settings.close()
        if (n_waiting := self._n_waiting()) == 0:
            # In this order: how far another file was delivered must not be believed of a new one.
            self._progress.unlink(missing_ok=True)
            self.path.unlink()
            self._delivery.tidy()
        return n_waiting

    def _n_waiting(self) -> int:
        return self.path.read_bytes()[self._offset :].count(b"\n")

    def _append(self, event: str, key: str, **details: Any) -> None:
        line = {"event": event, "key": key, "time_ms": int(time.time() * 1000), **details}
        text = _line(line)
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
            if event.get("parent") is not None:
                self._open[_SWEEP] = event["parent"]
        elif event["event"] == "end":
            self._open.pop(event["key"], None)

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
        event = parsed(line)
        if event is None:
            self.refused.append(f"a line of {self.path} that is no event: {line[:80]!r}")
            return True
        if event["key"] in self._aside:  # what it builds on was set aside
            self._set_aside(event, None)
            return True
        begun, refusals = time.monotonic(), 0
        for attempt in range(1_000_000):
            if time.monotonic() > self._deadline:
                return False
            try:
                self._sent(event, self._delivery.send(event))
                return True
            except Lost as error:
                self.refused.append(f"{event['key']} has not ended, {error}")
                return True
            except Exception as error:
                # Whatever goes wrong here must not end the thread: the sweep goes on without it.
                meant, self.reason = verdict(error), reason(error)
                refusals += meant is not Verdict.AWAY
                tried_long = refusals >= _TRIES and time.monotonic() > begun + _UNCLEAR_SECONDS
                if tried_long or (meant is Verdict.NEVER and refusals >= _TRIES_OF_WRONG_INPUT):
                    self._set_aside(event, self.reason)
                    return True
            if time.monotonic() > begun + SAY_AFTER_SECONDS:
                self._tell(event)
            with self._news:
                if self._closing and time.monotonic() > self._heard + self._patience:
                    return False
                wait = _RETRY_SECONDS[min(attempt, len(_RETRY_SECONDS) - 1)]
                self._news.wait(min(wait, 2) if self._closing else wait)
        return False

    def _tell(self, event: Mapping[str, Any]) -> None:
        """Say once why nothing is delivered, and again where the reason is another."""
        if self.reason != self._told:
            self._told = self.reason
            self._say(
                f"MLflow does not take the {event['event']} of {event['key']} now "
                f"({self.reason}): it waits in {self.path}, is tried again, and the sweep goes on"
            )

    def _sent(self, event: Mapping[str, Any], refused: Sequence[str]) -> None:
        self._heard, self.reason = time.monotonic(), ""
        if refused:
            where = event.get("folder") or refused_path(self.path).relative_to(self.path.parent)
            self.refused += [f"{event['key']}: {each}; kept in {where}" for each in refused]
            self._keep(event)

    def _set_aside(self, event: Mapping[str, Any], why: str | None) -> None:
        """Kept on the disk, to be tried once more by `deliver`: in order, for one trial."""
        if why is not None:
            kept = refused_path(self.path)
            self.refused.append(f"{event['event']} of {event['key']}: {why}; kept in {kept}")
            self.reason = ""
        if event["event"] != "metrics":
            self._aside.add(event["key"])
        self._keep(event)

    def _keep(self, event: Mapping[str, Any]) -> None:
        with (
            contextlib.suppress(OSError),
            open(open_own(refused_path(self.path), append=True), "ab") as file,
        ):
            file.write(_line({**event, "again": True}))

    def _remember(self) -> None:
        # On a full disk more is sent again after a crash.
        with contextlib.suppress(OSError), whole_file(self._progress) as partial:
            partial.write_text(str(self._offset))


def refused_path(path: Path) -> Path:
    """Where the events are that an outbox could not get rid of."""
    return path.with_suffix(".refused")


def _line(event: Mapping[str, Any]) -> bytes:
    return (json.dumps(event, default=str) + "\n").encode()


def parsed(line: bytes) -> dict[str, Any] | None:
    """The event of a line; None where it is none."""
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    known = isinstance(event, dict) and event.get("event") in ("start", "metrics", "end")
    return event if known and isinstance(event.get("key"), str) else None

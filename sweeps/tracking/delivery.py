"""One event of an outbox to MLflow; what of it may go from the disk once it is there."""

import contextlib
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow.exceptions import MlflowException

from sweeps.tracking.inputs import log_inputs
from sweeps.tracking.refusals import Verdict, reason, verdict
from sweeps.tracking.tracker import OUTCOME, Tracker
from sweeps.tracking.uploads import names_there, upload
from trainables.workspace import files_of, own_path

NOT_UPLOADED = "not_uploaded"
_PLACES = ("trials", "states")
_LATE_FILES = (0.5, 2.0)  # seconds until a file is looked for again: other nodes' may come late


class Lost(Exception):
    """A trial that ended, and whose files are gone."""


class Delivery:
    """Sends events; sending one twice changes nothing.

    Whatever it uploads or removes lies in `trials` or `states` of the tracker's results folder,
    whatever an event says: lines of an outbox may come from elsewhere, as with a copied folder.
    """

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker
        self._runs: dict[str, str] = {}
        self._sent: dict[str, set[str]] = {}  # run -> files that it has, for another try

    def send(self, event: Mapping[str, Any]) -> list[str]:
        """Deliver one event; sentences about what of it the server will never take.

        Raises what the server raised, LookupError or ValueError for an event that makes no sense.
        """
        if event["event"] == "start":
            return self._start(event)
        if event["event"] == "metrics":
            return self._metrics(event)
        if event["event"] == "end":
            return self._end(event)
        raise ValueError(f"an event must be start, metrics or end, got {event['event']!r}")

    def _run(self, event: Mapping[str, Any]) -> str:
        key = event["key"]
        if event.get("run"):
            return str(event["run"])
        if key not in self._runs:  # started before this process
            self._runs[key] = self.tracker.find_run(key)
        return self._runs[key]

    def _start(self, event: Mapping[str, Any]) -> list[str]:
        self._runs[event["key"]] = self.tracker.start_run(
            event["name"],
            kind=event["run_kind"],
            key=event["key"],
            parent=event["parent"],
            params=event["params"],
            tags=event["tags"],
            provenance=event.get("provenance"),
            time_ms=event["time_ms"],
        )
        return []

    def _is_anothers(self, run: str) -> bool:
        """Whether a run has finished, or is of the folder that this one is a copy of."""
        found = self.tracker.client.get_run(run)
        is_finished = bool(found.info.status == "FINISHED")
        return is_finished or not self.tracker.owner.owns(found.data.tags)

    def _metrics(self, event: Mapping[str, Any]) -> list[str]:
        run = self._run(event)
        self.tracker.log_metrics(run, event["values"], event["step"], event["time_ms"])
        return []

    def _end(self, event: Mapping[str, Any]) -> list[str]:
        run = self._run(event)
        if event["status"] == "KILLED" and self._is_anothers(run):
            return []  # another driver goes on with it, or did, and its end is what holds
        folder = self._own(event["folder"]) if event.get("folder") else None
        forget = [self._own(path) for path in event.get("forget", ())]
        if folder is not None:
            self._require_files(run, event, folder)
        refused = []
        if event.get("values"):
            try:
                self._metrics(event)
            except Exception as error:
                if verdict(error) is not Verdict.NEVER:
                    raise
                refused.append(f"the last metrics: {reason(error)}")
        if event.get("inputs"):
            log_inputs(self.tracker.client, run, event["inputs"])
        if folder is not None:
            refused += self._upload(run, folder)
        tags = dict(event["tags"])
        if refused:
            tags[NOT_UPLOADED] = "; ".join(refused)[:5_000]
        if tags:
            self.tracker.set_tags(run, tags)
        self.tracker.end_run(run, event["status"], event["time_ms"])
        self.tracker.remove_doubles(event["key"], run)
        if event.get("again") and not refused:
            with contextlib.suppress(MlflowException):
                self.tracker.client.delete_tag(run, NOT_UPLOADED)
        # Only now: until the server has it all, the trial can end once more from its state.
        if folder is not None and not refused:
            shutil.rmtree(folder, ignore_errors=True)
        for path in forget:
            path.unlink(missing_ok=True)
        return refused

    def _own(self, told: str) -> Path:
        """The path of an event, in this results folder. Raises ValueError for any other.

        Told from the results folder on. Where a folder has moved, absolute ones are of another:
        their last parts are taken.
        """
        parts = Path(told).parts
        if Path(told).is_absolute():
            places = [at for at, part in enumerate(parts) if part in _PLACES]
            parts = parts[places[-1] :] if places else parts
        if parts[0] not in _PLACES or len(parts) not in (2, 3):
            raise ValueError(f"what a trial leaves must lie in trials or states, got {told!r}")
        if len(parts) == 3 and parts[1] != self.tracker.study:
            raise ValueError(f"a trial must be of {self.tracker.study}, got {told!r}")
        if parts[-1].startswith("."):
            raise ValueError(f"what a trial leaves must not be hidden, got {told!r}")
        return own_path(self.tracker.results, *parts)

    def _require_files(self, run: str, event: Mapping[str, Any], folder: Path) -> None:
        """Raise Lost where files that the trial has left are neither here nor in MLflow.

        Then it has not ended: it counts as failed, and the next sweep runs it again.
        """
        wanted = set(event.get("holds", ()))
        for seconds in (*_LATE_FILES, 0.0):
            here = set(files_of(folder))
            if wanted <= here and (wanted or here):
                return
            if not seconds or not folder.exists():
                break
            time.sleep(seconds)
        there = names_there(self.tracker.client, run, {name.rpartition("/")[0] for name in wanted})
        lost = sorted(wanted - here - there)
        if not lost and (wanted or here or there):
            return
        some = ", ".join(lost[:4]) or "all"  # which, was not told by earlier versions
        sentence = f"its files were lost ({some}): the next sweep runs it again"
        self.tracker.set_tags(run, {OUTCOME: "failed", "error": sentence})
        self.tracker.end_run(run, "FAILED", event["time_ms"])
        raise Lost(sentence)

    def _upload(self, run: str, folder: Path) -> list[str]:
        sent, refused = self._sent.setdefault(run, set()), []
        names = files_of(folder)
        for name, why_not in upload(self.tracker.client, run, folder, names, have=sent):
            if why_not:
                refused.append(why_not)
            else:
                sent.add(name)
        if refused:  # what was taken goes; the rest is kept for another day
            for name in set(names) & sent:
                (folder / name).unlink(missing_ok=True)
        self._sent.pop(run)
        return refused

    def tidy(self) -> None:
        """Remove the study's own folders where they are empty."""
        for place in _PLACES:
            with contextlib.suppress(OSError, ValueError):
                own_path(self.tracker.results, place, self.tracker.study).rmdir()

"""What of a results folder nobody needs, and why the rest stays: decided, and not done."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sweeps.housekeeping import disk
from sweeps.housekeeping.disk import Thing
from sweeps.tracking.drivers import drivers
from sweeps.tracking.glance import StudySeen, studies_seen
from sweeps.tracking.sync import waiting

NEVER = (disk.RESULTS, disk.WAITING, disk.DENSE, disk.NOTES, disk.OTHER)
"""Kinds that are never removed. Trials of a further sweep begin with the same dense networks as
those that have finished; trained anew on another machine they would be others."""
_HALF_WRITTEN_SECONDS = 3_600  # a file that is being written has been touched since
_DAY = 86_400


@dataclass(frozen=True)
class Known:
    """What is known of a results folder while something may run in it.

    running: study -> who runs it. waits: study -> events that wait for MLflow, and that it has
    refused. seen: what MLflow has of each study; None where it does not answer: problem says why.
    """

    results: Path
    things: Sequence[Thing]
    running: Mapping[str, str]
    waits: Mapping[str, tuple[int, int]]
    seen: Mapping[str, StudySeen] | None
    problem: str = ""

    @property
    def studies(self) -> list[str]:
        """All that have ever run in the folder, or that its database has."""
        return sorted({*self.waits, *(self.seen or {})})


@dataclass(frozen=True)
class Wanted:
    """What may go. caches: also what is made anew when it is needed. days: since it was used last.
    n_bytes: how large it must be at least."""

    caches: bool = False
    days: float = 0.0
    n_bytes: float = 0.0


def know(results: Path) -> Known:
    """Look, and change nothing."""
    results = results.resolve()
    # Before MLflow is asked: what ends meanwhile counts as running.
    running, found = drivers(results), disk.things(results)
    ends = (".lock", ".jsonl", ".refused")
    names = {p.stem for p in (results / "outbox").glob("*") if p.suffix in ends}
    waits = {name: waiting(results, name) for name in sorted(names)}
    try:
        return Known(results, found, running, waits, studies_seen(results, names))
    except (ValueError, OSError) as error:
        return Known(results, found, running, waits, None, str(error))


def split(known: Known, wanted: Wanted) -> tuple[list[Thing], dict[str, list[Thing]]]:
    """What may go, and what stays, by why; what is never removed is in neither."""
    goes: list[Thing] = []
    stays: dict[str, list[Thing]] = {}
    now = time.time()
    for thing in known.things:
        if thing.kind in NEVER:
            continue
        why = why_kept(thing, known, now)
        if not why and thing.kind in disk.CACHES and not wanted.caches:
            why = "made anew when it is needed: --caches"
        if not why and now - thing.used < wanted.days * _DAY:
            why = f"used within {wanted.days:g} days"
        if not why and thing.n_bytes < wanted.n_bytes:
            why = "smaller than asked"
        if why:
            stays.setdefault(why, []).append(thing)
        else:
            goes.append(thing)
    return goes, stays


def why_kept(thing: Thing, known: Known, now: float) -> str:
    """Why a thing must stay; "" where nobody needs it, or it can be made anew."""
    running = known.running
    if thing.kind == disk.STATES:
        return _why_state(thing, known)
    if thing.study in running:
        return f"{thing.study} runs ({running[thing.study]})"
    if thing.kind == disk.UNUSED or (thing.study and thing.kind in (disk.RAY, disk.ASIDE)):
        return ""
    if running:
        return f"{', '.join(running)} runs: a sweep may need it"
    if thing.kind == disk.CODE:
        return _why_code(thing, known)
    if thing.kind == disk.PARTIAL and now - thing.used < _HALF_WRITTEN_SECONDS:
        return "may be written just now"
    return ""


def _why_state(thing: Thing, known: Known) -> str:
    """A state goes when its trial has finished, in each study that it may be of."""
    studies = [thing.study] if thing.study else known.studies  # one of before studies had folders
    for study in studies:
        if study in known.running:
            return f"{study} runs ({known.running[study]})"
        if any(known.waits.get(study, ())):
            return f"{study} has something that waits for MLflow: make sync"
    if known.seen is None:
        return f"MLflow does not tell whether its trial has finished ({known.problem})"
    seen = [known.seen[study] for study in studies if study in known.seen]
    asked = [s for s in seen if thing.name in s.planned | s.keys("RUNNING", "FAILED", "KILLED")]
    finished = [s for s in seen if thing.name in s.keys("FINISHED")]
    if finished and all(study in finished for study in asked):
        return ""
    return "of a trial that has not finished: it goes on from there"


def _why_code(thing: Thing, known: Known) -> str:
    """Code goes when no trial names it, of whatever status."""
    if any(any(counts) for counts in known.waits.values()):
        return "something waits for MLflow, and may name it: make sync"
    if known.seen is None:
        return f"MLflow does not tell which trials name it ({known.problem})"
    if any(thing.name in seen.code for seen in known.seen.values()):
        return "code that trials name"
    if missing := sorted(known.waits.keys() - known.seen.keys()):
        names = ", ".join(missing)
        return f"{names} ran here, and this MLflow does not know it: MLFLOW_TRACKING_URI as then"
    return ""

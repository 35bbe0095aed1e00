"""`secateur status`: what runs, what is done, what waits, and what it takes on the disk."""

import shutil
import time
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sweeps.addresses import link
from sweeps.housekeeping import disk
from sweeps.housekeeping.disk import require_results
from sweeps.housekeeping.removable import NEVER, Known, Wanted, know, split
from sweeps.tracking.glance import StudySeen
from sweeps.tracking.tracker import is_shared, tracking_uri
from trainables.workspace import size_shown

_RUNNING_SHOWN = 8  # runs of a study
_ENDED = {"FINISHED": "ended", "FAILED": "ended with trials missing", "KILLED": "broken off"}


def status(results: Path, console: Console) -> int:
    """Look at a results folder, and change nothing: also while sweeps run in it, from wherever."""
    require_results(results)
    known = know(results)
    free = shutil.disk_usage(results).free
    where = link(tracking_uri(results)) if is_shared() else "in its own database"
    console.print(escape(f"{known.results}, MLflow: {where}"), soft_wrap=True)
    if known.problem:
        console.print(f"[red]MLflow does not tell:[/] {escape(known.problem)}", soft_wrap=True)
    _show_studies(known, console)
    _show_disk(known, free, console)
    return 0


def _show_studies(known: Known, console: Console) -> None:
    columns = ("study", "now", "trials", "finished", "failed", "under way", "waits for MLflow")
    table, rows = Table(*columns), 0
    for study in known.studies:
        seen = (known.seen or {}).get(study, StudySeen())
        if study not in known.waits and not seen.sweep and not seen.runs:
            continue  # an experiment of somebody else
        count, rows = seen.count(), rows + 1
        told = known.seen is not None
        numbers = [count[name] for name in ("asked", "finished", "failed", "running")]
        if study not in known.running:
            numbers[-1] = 0  # what a killed driver left open
        shown = [f"{n:,}" if told else "?" for n in numbers]
        table.add_row(escape(study), escape(_now(known, study, seen)), *shown, _waits(known, study))
    if rows:
        console.print(table)
    else:
        console.print("no study has run here")
    for study in known.running:
        _show_running(study, (known.seen or {}).get(study, StudySeen()), console)
    _say(known, console)


def _now(known: Known, study: str, seen: StudySeen) -> str:
    if who := known.running.get(study):
        return f"runs: {who}"
    if seen.sweep == "RUNNING":
        # On a server it may be a driver of another results folder, whose lock is not to be seen.
        return "runs elsewhere, or was killed" if is_shared() else "was killed: run it again"
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(seen.ended_ms / 1000))
    return f"{_ENDED.get(seen.sweep, seen.sweep)} {when}" if seen.sweep else ""


def _waits(known: Known, study: str) -> str:
    n_events, n_refused = known.waits.get(study, (0, 0))
    refused = f", {n_refused:,} refused" if n_refused else ""
    return f"{n_events:,} events{refused}" if n_events or n_refused else "nothing"


def _show_running(study: str, seen: StudySeen, console: Console) -> None:
    runs = [run for run in seen.runs if run.status == "RUNNING"]
    for run in runs[:_RUNNING_SHOWN]:
        epoch = f", {run.step} epochs done" if run.step else ""
        console.print(escape(f"  {study}: {run.name}{epoch}"), soft_wrap=True)
    if len(runs) > _RUNNING_SHOWN:
        console.print(f"  and {len(runs) - _RUNNING_SHOWN} more", soft_wrap=True)


def _say(known: Known, console: Console) -> None:
    """What is to be done about it."""
    besides = {s: seen.count()["besides"] for s, seen in (known.seen or {}).items()}
    for study, n in besides.items():
        if n:
            more = f"{study}: {n:,} more trials have finished, of its other sweeps or of its search"
            console.print(escape(more), soft_wrap=True)
    if any(any(n) for study, n in known.waits.items() if study not in known.running):
        console.print("make sync delivers what waits")


def _show_disk(known: Known, free: int, console: Console) -> None:
    sizes: Counter[str] = Counter()
    for thing in known.things:
        sizes[thing.kind] += thing.n_bytes
    anew = {thing.kind for thing in split(known, Wanted(caches=True))[0]}
    table = Table("on the disk", "size", "if removed")
    for kind in disk.KINDS:
        if sizes[kind]:
            what = "never removed" if kind in NEVER else "made anew" if kind in disk.CACHES else ""
            if not what:
                what = "nobody needs some or all of it" if kind in anew else "kept"
            table.add_row(kind, size_shown(sizes[kind]), what)
    table.add_section()
    table.add_row("all", size_shown(sizes.total()), f"{size_shown(free)} are free")
    console.print(table)
    goes, more = (
        sum(t.n_bytes for t in split(known, Wanted(caches=caches))[0]) for caches in (False, True)
    )
    if more:
        console.print(
            f"secateur clean would remove {size_shown(goes)}, with --caches {size_shown(more)} "
            "(make clean-results [CACHES=yes])",
            soft_wrap=True,
        )

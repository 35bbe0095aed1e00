"""One `make sweep`: skip what is done, prepare, launch, deliver, report."""

import shutil
import time
from pathlib import Path

from rich.console import Console

from sweeps.outbox import Outbox
from sweeps.plan import Plan
from sweeps.prepare import check, prepare
from sweeps.report import write_report
from sweeps.tracking import Tracker
from trainables.config import TrialConfig

_DELIVERY_SECONDS = 600  # at the end, for what MLflow has not got yet


def run_sweep(plan: Plan, results: Path, console: Console) -> int:
    """Run the trials of a plan that MLflow does not hold as finished; then the report.

    Returns the exit code: 0, 1 when a trial failed or something is not in MLflow, 130 when broken
    off. Raises ValueError or OSError, in one sentence, for what is refused before anything runs.
    """
    tracker = Tracker(plan.sweep.name, results)
    deliver_leftovers(plan, results, tracker)
    left = plan.remaining(tracker.finished())
    n_done = len(plan.configs) - len(left)
    console.print(
        f"study {plan.sweep.name}: {len(plan.configs)} trials, {n_done} done, {len(left)} to run"
    )
    started = time.monotonic()
    check(left, results, console)
    parent = tracker.sweep_run(plan)
    code = 1
    try:
        code = _run_trials(plan, left, results, tracker, parent, console) if left else 0
        if set(plan.keys) & set(tracker.finished()):
            write_report(tracker, tracker.client.get_run(parent), results, console)
    finally:
        tracker.end_run(parent, {0: "FINISHED", 130: "KILLED"}.get(code, "FAILED"))
    console.print(
        f"{time.monotonic() - started:.0f} s; browse it: make ui   (MLflow at {tracker.uri})",
        soft_wrap=True,
    )
    return code


def deliver_leftovers(plan: Plan, results: Path, tracker: Tracker) -> None:
    """Send what an earlier sweep of the same trials could not: its finished trials are done.

    Raises ValueError when MLflow does not take it: those trials would run a second time.
    """
    path = _outbox_path(plan, results)
    if not path.exists():
        return
    n_waiting = Outbox(path, tracker, None).close(_DELIVERY_SECONDS)
    if n_waiting:
        raise ValueError(
            f"MLflow must take what the last sweep left in {path}, {n_waiting} events still wait"
        )


def _outbox_path(plan: Plan, results: Path) -> Path:
    return results / "outbox" / f"{plan.key}.jsonl"


def _run_trials(
    plan: Plan,
    left: list[TrialConfig],
    results: Path,
    tracker: Tracker,
    parent: str,
    console: Console,
) -> int:
    # Imported late: Ray takes seconds, and a sweep that is done needs none of it.
    from sweeps.launch import launch

    outbox = Outbox(_outbox_path(plan, results), tracker, parent)
    try:
        prepare(left, results, outbox, console)
        launched = launch(
            plan.sweep,
            left,
            n_done=len(plan.configs) - len(left),
            results=results,
            outbox=outbox,
            console=console,
        )
    finally:
        n_waiting = outbox.close(_DELIVERY_SECONDS)
    for sentence in (*launched.failures, *launched.problems, *outbox.refused):
        console.print(f"[red]problem:[/] {sentence}", soft_wrap=True)
    if n_waiting:
        console.print(
            f"[red]{n_waiting} events did not reach MLflow[/]; they wait in {outbox.path} and are "
            "delivered by the next make sweep",
            soft_wrap=True,
        )
    if launched.interrupted:
        console.print("broken off; make sweep goes on with what is not finished")
        return 130
    shutil.rmtree(results / "ray" / plan.sweep.name, ignore_errors=True)
    return 1 if launched.failures or launched.problems or outbox.refused or n_waiting else 0

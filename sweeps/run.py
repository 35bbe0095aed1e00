"""One `make sweep`: skip what is done, prepare, launch, deliver, report."""

import os
import signal
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from sweeps.labels import Names
from sweeps.outbox import Outbox
from sweeps.plan import Plan
from sweeps.prepare import check, prepare
from sweeps.proposals import Proposals
from sweeps.ray_ready import require_ray
from sweeps.report import write_report
from sweeps.searched import begin, log_search, open_proposals, trials_to_run
from sweeps.sync import deliver_leftovers, only_driver, outbox_path
from sweeps.tracking import Tracker, Unavailable, no_answer
from trainables.config import TrialConfig
from trainables.workspace import Workspace

_DELIVERY_SECONDS = 600  # at the end, for what MLflow has not got yet


def run_sweep(plan: Plan, results: Path, console: Console) -> int:
    """Run the trials of a plan that MLflow does not hold as finished; then the report.

    Returns the exit code: 0, 1 when a trial failed or something is not in MLflow, 130 when broken
    off. Raises ValueError or OSError, in one sentence, for what is refused before anything runs.
    """
    with only_driver(results, plan.sweep.name), _sigterm_like_ctrl_c():
        return _run(plan, results, console)


def _run(plan: Plan, results: Path, console: Console) -> int:
    tracker = Tracker(plan.sweep.name, results, restore=True)
    deliver_leftovers(plan.sweep.name, results, tracker, console)
    with _answering(tracker):
        done = tracker.done(plan)
        proposals = open_proposals(plan, results, tracker)
        left = trials_to_run(plan, proposals, done)
        console.print(escape(news(plan, done, results, tracker)), soft_wrap=True)
    for sentence in plan.inputs.adapted:
        console.print(escape(sentence), soft_wrap=True)
    shared = left
    if proposals is not None:
        console.print(proposals.news(done), soft_wrap=True)
        if proposals.wanted:
            shared = [*left, proposals.base]
    started = time.monotonic()
    for config in left:
        state = Workspace(results).state(config.key)
        for partial in state.parent.glob(f".{state.name}.*"):  # killed while it was written
            partial.unlink()
    if left or (proposals is not None and proposals.wanted):
        require_ray()
    check(shared, results, console)
    with _answering(tracker):
        parent = tracker.sweep_run(plan)
    code = _run_trials(plan, left, results, tracker, parent, console, proposals)
    try:
        if proposals is not None:
            log_search(plan, proposals, tracker, parent)
        if set(plan.keys) & tracker.finished().keys():
            write_report(tracker, tracker.client.get_run(parent), results, console)
    except Unavailable as error:
        console.print(
            f"[red]no report[/], MLflow is away ({escape(str(error))}): make sync, make report"
        )
    took = f"{time.monotonic() - started:.0f} s"
    where = f"make ui   (MLflow at {tracker.uri})"
    console.print(escape(f"{took}; browse it: {where}"), soft_wrap=True)
    return code


def news(plan: Plan, done: Collection[str], results: Path, tracker: Tracker) -> str:
    """What there is to do, and how the study differs from its last sweep."""
    left, last = plan.remaining(done), tracker.last_planned(plan)
    text = f"study {plan.sweep.name}: {len(plan.configs)} trials, "
    text += f"{len(plan.configs) - len(left)} done, {len(left)} to run"
    begun = sum(Workspace(results).state(config.key).exists() for config in left)
    if begun:
        text += f"; {begun} of them go on where they stopped"
    if tracker.was_deleted:
        text += (
            "; the study had been deleted in MLflow's pages and is restored with all that it held: "
            "for trials that run anew delete their runs there, or take other RESULTS"
        )
    if last is not None:
        new = sum(config.key not in last for config in left)
        gone = len(set(last) - set(plan.keys))
        text += f"; {new} are new, {gone} of the last sweep are no longer in the study"
        if plan.inputs.folders and not set(plan.keys) & set(last):
            text += ": its images were others, or known by an older rule (docs/images.md)"
    return text


def _run_trials(
    plan: Plan,
    left: list[TrialConfig],
    results: Path,
    tracker: Tracker,
    parent: str,
    console: Console,
    proposals: Proposals | None,
) -> int:
    """The exit code; whatever happens, what happened is delivered."""
    outbox = Outbox(outbox_path(results, plan.sweep.name), tracker, parent)
    code = 1
    try:
        is_over = not left and (proposals is None or not proposals.wanted)
        code = 0 if is_over else _launch(plan, left, results, outbox, console, proposals)
    except KeyboardInterrupt:
        code = 130
    finally:
        outbox.end_sweep({0: "FINISHED", 130: "KILLED"}.get(code, "FAILED"))
        n_waiting = outbox.close(_DELIVERY_SECONDS)
        for sentence in outbox.refused:
            console.print(f"[red]MLflow refused[/] {escape(sentence)}", soft_wrap=True)
        if n_waiting:
            console.print(
                f"[red]{n_waiting} events did not reach MLflow[/]; they wait in "
                f"{escape(str(outbox.path))}: make sync delivers them, and so does the next sweep",
                soft_wrap=True,
            )
    if code == 130:
        console.print("broken off; make sweep goes on with what is not finished")
    return code or int(bool(outbox.refused or n_waiting))


def _launch(
    plan: Plan,
    left: list[TrialConfig],
    results: Path,
    outbox: Outbox,
    console: Console,
    proposals: Proposals | None,
) -> int:
    # Imported late: Ray takes seconds, and a sweep that is done needs none of it.
    from sweeps.launch import launch
    from sweeps.prepare_remotely import prepare_remotely

    shared = left if proposals is None else [*left, proposals.base]
    if os.environ.get("RAY_ADDRESS"):
        prepare_remotely(plan.sweep, shared, results, outbox, console)
    else:
        prepare(shared, results, outbox, console)
    if proposals is not None:
        left = begin(proposals, left, results)
        if not left:
            console.print(proposals.shortfall, soft_wrap=True)
            return 0
    search = plan.sweep.search
    proposed = proposals.configs if proposals else []
    names = Names(plan.configs, proposed, search.fields if search else ())
    launched = launch(
        plan.sweep,
        left,
        n_done=len(names.by_key) - len(left),
        results=results,
        outbox=outbox,
        console=console,
        proposals=proposals,
        names=names,
    )
    if proposals is not None and proposals.shortfall:
        console.print(proposals.shortfall, soft_wrap=True)
    for sentence in (*launched.failures, *launched.problems):
        console.print(f"[red]problem:[/] {escape(sentence)}", soft_wrap=True)
    if launched.interrupted:
        return 130
    return 1 if launched.failures or launched.problems else 0


@contextmanager
def _answering(tracker: Tracker) -> Iterator[None]:
    """What a sweep cannot begin without: a server that goes away refuses it in a sentence."""
    try:
        yield
    except Unavailable as error:
        raise ValueError(no_answer(tracker.uri, error)) from error


@contextmanager
def _sigterm_like_ctrl_c() -> Iterator[None]:
    """Schedulers of machines send it before they kill; Ray winds down on Ctrl-C only."""

    def interrupt(*_: object) -> None:
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a script's background job has it
            signal.signal(signal.SIGINT, signal.default_int_handler)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)

"""One `make sweep`: skip what is done, prepare, launch, deliver, report."""

import os
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from mlflow.entities import Run
from rich.console import Console
from rich.markup import escape

from sweeps.afterwards import sigterm_like_ctrl_c
from sweeps.plan.check import check
from sweeps.plan.names import Names
from sweeps.plan.planner import Plan
from sweeps.plan.prepare import prepare
from sweeps.report import NothingFinished, up_to_date, write_report
from sweeps.results_folder import require_study_folder
from sweeps.searching.proposals import Proposals
from sweeps.searching.resume import (
    begin,
    log_search,
    open_proposals,
    trials_to_run,
    winners_to_run,
)
from sweeps.tracking.drivers import only_driver
from sweeps.tracking.lease import only_sweep
from sweeps.tracking.outbox import Outbox
from sweeps.tracking.quiet import settled
from sweeps.tracking.sync import deliver_leftovers, outbox_path, teller
from sweeps.tracking.tracker import Tracker, Unavailable, done, no_answer
from sweeps.tune.ready import require_ray
from trainables.config import TrialConfig
from trainables.workspace import Workspace, own_path

_DELIVERY_SECONDS = 600  # at the end, for what MLflow has not got yet


def run_sweep(plan: Plan, results: Path, console: Console) -> int:
    """Run the trials of a plan that MLflow does not hold as finished; then the report.

    Returns the exit code: 0, 1 when a trial failed or something is not in MLflow or in no report,
    130 when broken off. Raises ValueError or OSError, in one sentence, for what is refused before
    anything runs.
    """
    require_study_folder(results, plan.sweep.name, written=True)
    with settled(), only_driver(results, plan.sweep.name), sigterm_like_ctrl_c():
        return _run(plan, results, console)


@dataclass(frozen=True)
class _Work:
    """What MLflow has of a plan, and what is left to do."""

    finished: Mapping[str, Run]
    left: list[TrialConfig]
    proposals: Proposals | None
    again: list[TrialConfig]  # the winners of the search, on other seeds: once all else is done

    @property
    def is_done(self) -> bool:
        return not self.left and not (self.proposals is not None and self.proposals.wanted)

    @property
    def keys(self) -> set[str]:
        proposed = () if self.proposals is None else self.proposals.configs
        return {config.key for config in (*proposed, *self.again)}


def _run(plan: Plan, results: Path, console: Console) -> int:
    started = time.monotonic()
    tracker = Tracker(plan.sweep.name, results, restore=True)
    deliver_leftovers(plan.sweep.name, results, tracker, console)
    work = _look(plan, results, tracker, console)
    for sentence in plan.inputs.notes:
        console.print(escape(sentence), soft_wrap=True)
    if work.is_done:
        with _answering(tracker):
            parent = tracker.sweep_run(plan)
            tracker.end_run(parent, "FINISHED")
        code = 0
    else:
        lease = own_path(results, "outbox") / f"{plan.sweep.name}.lease"
        with only_sweep(tracker, lease, teller(console)):
            if tracker.is_shared:  # what another one has finished while this one waited for it
                work = _look(plan, results, tracker, None)
            parent, code = _work_off(plan, work, results, tracker, console)
            if code == 0 and plan.sweep.search is not None and plan.sweep.search.winners:
                work, parent, code = _confirm(plan, work, results, tracker, parent, console)
    reported = _report(plan, work, results, tracker, parent, console)
    took = f"{time.monotonic() - started:.0f} s"
    where = f"make ui   (MLflow at {tracker.uri})"
    console.print(escape(f"{took}; browse it: {where}"), soft_wrap=True)
    return code or reported


def _look(plan: Plan, results: Path, tracker: Tracker, console: Console | None) -> _Work:
    """Read once what is finished, and say it."""
    with _answering(tracker):
        finished = tracker.finished()
        there = done(plan, finished)
        proposals = open_proposals(plan, results, tracker, finished)
        again = winners_to_run(plan, proposals, finished, there)
        left = trials_to_run(plan, proposals, there)
        left += [config for config in again if config.key not in there]
        work = _Work(finished, left, proposals, again)
        if console is not None:
            console.print(escape(news(plan, there, results, tracker)), soft_wrap=True)
    if console is not None and proposals is not None:
        console.print(proposals.news(there), soft_wrap=True)
    return work


def _work_off(
    plan: Plan, work: _Work, results: Path, tracker: Tracker, console: Console
) -> tuple[str, int]:
    """The id of the sweep's run, and the exit code."""
    shared, proposals = work.left, work.proposals
    if proposals is not None and proposals.wanted:
        shared = [*work.left, proposals.base]
    Workspace(results, plan.sweep.name).begin()
    require_ray()
    check(shared, results, console)
    with _answering(tracker):
        parent = tracker.sweep_run(plan)
    code = _run_trials(plan, work, results, tracker, parent, console)
    return parent, code


def _confirm(
    plan: Plan, was: _Work, results: Path, tracker: Tracker, parent: str, console: Console
) -> tuple[_Work, str, int]:
    """Run the winners of a search that is over on their other seeds; what there was to do with
    them, the id of the sweep's run, and the exit code."""
    work = _look(plan, results, tracker, None)
    if work.is_done:
        return replace(was, again=work.again), parent, 0
    said = f"the winners of the search are run on other seeds: {len(work.left)} trials"
    console.print(said, soft_wrap=True)
    return work, *_work_off(plan, work, results, tracker, console)


def _report(
    plan: Plan, work: _Work, results: Path, tracker: Tracker, parent: str, console: Console
) -> int:
    """The report, where anything is new; whatever goes wrong with it, the trials are in MLflow."""
    try:
        if work.is_done:
            runs = {key: work.finished[key].info.run_id for key in {*plan.keys, *work.keys}}
            if folder := up_to_date(results, plan.sweep.name, plan.key, runs):
                console.print(
                    f"nothing is new since the report: {escape(str(folder))}", soft_wrap=True
                )
                return 0
        elif work.proposals is not None:
            log_search(plan, work.proposals, work.again, tracker, parent)
        run = tracker.client.get_run(parent)
        write_report(tracker, run, results, console, plan.sweep.sections, plan.sweep.atlas)
    except NothingFinished:
        return 0
    except Exception as error:
        first = (str(error).splitlines() or [""])[0][:300]
        console.print(
            f"[red]no report[/] ({type(error).__name__}: {escape(first)}); what has finished is "
            "kept: make sync, make report",
            soft_wrap=True,
        )
        return 1
    return 0


def news(plan: Plan, done: Collection[str], results: Path, tracker: Tracker) -> str:
    """What there is to do, and how the study differs from its last sweep."""
    left, last = plan.remaining(done), tracker.last_planned(plan)
    text = f"study {plan.sweep.name}: {len(plan.configs)} trials, "
    text += f"{len(plan.configs) - len(left)} done, {len(left)} to run"
    workspace = Workspace(results, plan.sweep.name)
    begun = sum(workspace.has_state(config.key) for config in left)
    if begun:
        text += f"; {begun} of them go on where they stopped"
    if tracker.was_deleted:
        text += (
            "; the study had been deleted in MLflow's pages and is restored with all that it held: "
            "for trials that run anew delete their runs there, or take other RESULTS"
        )
    if last is not None:
        before, now = set(last), set(plan.keys)
        new, gone = sum(config.key not in before for config in left), len(before - now)
        text += f"; {new} are new, {gone} of the last sweep are no longer in the study"
        if plan.inputs.folders and not now & before:
            text += ": its images were others, or known by an older rule (docs/images.md)"
    return text


def _run_trials(
    plan: Plan, work: _Work, results: Path, tracker: Tracker, parent: str, console: Console
) -> int:
    """The exit code; whatever happens, what happened is delivered."""
    outbox = Outbox(outbox_path(results, plan.sweep.name), tracker, parent, teller(console))
    code = 1
    try:
        code = _launch(plan, work, results, outbox, console)
    except KeyboardInterrupt:
        code = 130
    finally:
        outbox.end_sweep({0: "FINISHED", 130: "KILLED"}.get(code, "FAILED"))
        n_waiting = outbox.close(_DELIVERY_SECONDS)
        for sentence in outbox.refused:
            console.print(f"[red]not in MLflow:[/] {escape(sentence)}", soft_wrap=True)
        if n_waiting:
            why = f" ({escape(outbox.reason)})" if outbox.reason else ""
            console.print(
                f"[red]{n_waiting} events did not reach MLflow[/]{why}; they wait in "
                f"{escape(str(outbox.path))}: make sync delivers them, and so does the next sweep",
                soft_wrap=True,
            )
    if code == 130:
        console.print("broken off; make sweep goes on with what is not finished")
    return code or int(bool(outbox.refused or n_waiting))


def _launch(plan: Plan, work: _Work, results: Path, outbox: Outbox, console: Console) -> int:
    # Imported late: Ray takes seconds, and a sweep that is done needs none of it.
    from sweeps.tune.launch import launch
    from sweeps.tune.prepare_remotely import prepare_remotely

    left, proposals = work.left, work.proposals
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
    searched = search.fields if search else ()
    start = [c.key for c in plan.configs if proposals is not None and proposals.learns_from(c)]
    names = Names(plan.configs, proposed, searched, work.again, start)
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

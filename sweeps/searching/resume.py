"""The search of a sweep, between MLflow, which knows what is finished, and Optuna."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
from mlflow.entities import Run

from sweeps.plan.check import refuser
from sweeps.plan.planner import Plan
from sweeps.plan.space import point_of_config
from sweeps.searching.figures import search_figures
from sweeps.searching.proposals import Proposals
from sweeps.searching.winners import run_again, winners
from sweeps.tracking.tracker import Tracker
from trainables.config import TrialConfig


def open_proposals(
    plan: Plan, results: Path, tracker: Tracker, finished: Mapping[str, Run] | None = None
) -> Proposals | None:
    """What the study's search has proposed so far, and knows; None where it does not search.

    finished: `Tracker.finished`, where it has been read already.
    """
    search, base = plan.sweep.search, plan.searched
    if search is None or base is None:
        return None
    path = results / "search" / f"{plan.sweep.name}-{search.key}.jsonl"
    proposals = Proposals(search, base, path)
    for key, run in (finished or tracker.finished()).items():
        proposals.learn(key, run.data.params, run.data.metrics)
    return proposals


def trials_to_run(plan: Plan, proposals: Proposals | None, done: set[str]) -> list[TrialConfig]:
    """What is left of the plan, then what was proposed and is not finished."""
    left = plan.remaining(done)
    if proposals is not None:
        known = done | {config.key for config in left}
        left += [config for config in proposals.configs if config.key not in known]
    return left


def winners_to_run(
    plan: Plan, proposals: Proposals | None, finished: Mapping[str, Run], done: set[str]
) -> list[TrialConfig]:
    """The winners of the search and of its grid on their other seeds, done or not; none while
    anything that may win is still to run."""
    search, base = plan.sweep.search, plan.searched
    if search is None or base is None or proposals is None or not search.winners:
        return []
    if proposals.wanted or trials_to_run(plan, proposals, done):
        return []
    metrics = {key: run.data.metrics for key, run in finished.items()}
    of_grid = [c for c in plan.configs if point_of_config(search, base, c) is not None]
    begun_with = [c for c in of_grid if proposals.learns_from(c)]  # as its front in the report
    arms = (of_grid, [*begun_with, *proposals.configs])
    best = [c for arm in arms for c in winners(search, arm, metrics, search.winners)]
    return run_again(search, best)


def to_come(
    plan: Plan, results: Path, tracker: Tracker | None, done: set[str]
) -> list[TrialConfig]:
    """What a sweep would run now; proposals that nobody knows yet count as the base they lie on,
    and so do winners.

    tracker: None where there is nothing that could hold finished trials.
    """
    search, base = plan.sweep.search, plan.searched
    finished = tracker.finished() if tracker and search is not None else {}
    proposals = open_proposals(plan, results, tracker, finished) if tracker else None
    left = trials_to_run(plan, proposals, done)
    if search is None or base is None:
        return left
    wanted = proposals.wanted if proposals else search.n_trials
    if left or wanted:
        again = run_again(search, [base]) * 2 * search.winners  # of the grid, and of the search
    else:
        again = winners_to_run(plan, proposals, finished, done)
    again = [config for config in again if config.key not in done]
    return [*left, *[base] * wanted, *again]


def begin(proposals: Proposals, left: list[TrialConfig], results: Path) -> list[TrialConfig]:
    """Tell Optuna what is going to run, and what could not; with what the sweep begins.

    That is `left`, or the first proposal where nothing is left, or nothing where none is found.
    """
    for config in left:
        proposals.expect(config)
    proposals.keep_journal()
    proposals.refuse = refuser(proposals.base, results)
    first = None if left else proposals.next()
    return left if first is None else [first]


def log_search(
    plan: Plan, proposals: Proposals, again: Sequence[TrialConfig], tracker: Tracker, parent: str
) -> None:
    """Optuna's plots, and the proposals and winners among the planned trials, to the sweep's
    run."""
    keys = (*plan.keys, *(config.key for config in (*proposals.configs, *again)))
    tracker.log_planned(parent, dict.fromkeys(keys))
    for name, figure in search_figures(proposals.study).items():
        tracker.client.log_figure(parent, figure, f"search/{name}.png")
        plt.close(figure)

"""The runs that a report is of: which trials of a sweep have finished, and what they logged."""

import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from mlflow.entities import Run, RunInfo

from sweeps.report.read.absurd import sound
from sweeps.tracking.parents import KIND
from sweeps.tracking.tracker import OUTCOME, TRIAL_KEY, Tracker

_BY_KEY = 200  # so many trials are asked for one by one before all of the study are read
_KEY = re.compile(r"\w+")  # as a trial has; others cannot stand in a question to MLflow
_TAKEN = re.compile(  # of what a data set says of itself
    r"(?P<train>[\d,]+) (?:images )?to train, (?P<val>[\d,]+) to validate "
    r"and (?P<probe>[\d,]+) to score"
)
_PAGE = 100  # runs, each with hundreds of metrics, of which MLflow makes objects


class NothingFinished(ValueError):
    """A sweep of which no trial has finished."""


@dataclass(frozen=True)
class Values:
    """What a run logged, by name."""

    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]


@dataclass(frozen=True)
class Seen:
    """What a report keeps of a run: in MLflow's own each metric is an object of many fields."""

    info: RunInfo
    data: Values


def _seen(run: Run) -> Seen:
    """Names and values that all runs share stand in memory once."""
    data = run.data
    params, tags = (
        {sys.intern(name): sys.intern(value) for name, value in named.items()}
        for named in (data.params, data.tags)
    )
    params |= _counted(params, tags)
    # What it says now is another thing.
    if params.get("prune.target") in ("loss", "logit"):
        params["prune.change_of"] = params.pop("prune.target")
    metrics = {sys.intern(name): value for name, value in data.metrics.items()}
    return Seen(run.info, Values(params, metrics, tags))


def _counted(params: Mapping[str, str], tags: Mapping[str, str]) -> dict[str, str]:
    """Numbers of images for fields that say "None", all that a folder holds: as the trial noted."""
    noted = _TAKEN.search(tags.get("images", ""))
    found = noted.groupdict() if noted else {}
    names = {f"data.{split}_images": n.replace(",", "") for split, n in found.items()}
    return {name: sys.intern(n) for name, n in names.items() if params.get(name) == "None"}


def read_runs(
    tracker: Tracker, sweep_run: Run, gaps: list[str]
) -> tuple[list[Seen], pd.DataFrame, int]:
    """The finished trials' runs in the plan's order, the unfinished ones, how many are planned."""
    children = list(_search(tracker, f"tags.`mlflow.parentRunId` = '{sweep_run.info.run_id}'"))
    planned = _planned(tracker, sweep_run, children, gaps)
    finished = _finished(tracker, planned, children)
    runs = sound([finished[key] for key in planned if key in finished], gaps)
    unfinished = _unfinished(children, set(planned) - set(finished))
    if not runs:
        raise NothingFinished(
            f"the sweep must have a finished trial to report on, {tracker.study} has none"
            + _first_error(unfinished)
        )
    return runs, unfinished, len(planned)


def _search(tracker: Tracker, condition: str) -> Iterator[Seen]:
    token = None
    while True:
        page = tracker.client.search_runs(
            [tracker.experiment_id], condition, max_results=_PAGE, page_token=token
        )
        yield from map(_seen, page)
        token = page.token
        if not token:
            return


def _planned(
    tracker: Tracker, sweep_run: Run, children: Iterable[Seen], gaps: list[str]
) -> list[str]:
    try:
        return tracker.planned_keys(sweep_run)
    except ValueError as error:
        gaps.append(f"{error}: which trials were planned is not known, those that ran are shown")
        keys = (run.data.tags.get(TRIAL_KEY, "") for run in children if _is_trial(run))
        return list(dict.fromkeys(keys))


def _is_trial(run: Seen) -> bool:
    """Others may tag their runs with a kind, too."""
    return run.data.tags.get(KIND) == "trial" and TRIAL_KEY in run.data.tags


def _finished(
    tracker: Tracker, planned: Sequence[str], children: Iterable[Seen]
) -> dict[str, Seen]:
    """Trial key -> its finished run. A trial that an earlier sweep finished is that one's child."""
    # Reading every run of a study takes 5 ms each: a large store is asked for what is needed.
    finished = {
        run.data.tags[TRIAL_KEY]: run
        for run in children
        if _is_trial(run) and run.info.status == "FINISHED"
    }
    elsewhere = [key for key in planned if key not in finished]
    if len(elsewhere) > _BY_KEY:
        found = _search(tracker, f"tags.{KIND} = 'trial' and attributes.status = 'FINISHED'")
        return {run.data.tags[TRIAL_KEY]: run for run in filter(_is_trial, found)} | finished
    for key in filter(_KEY.fullmatch, elsewhere):
        condition = f"tags.{TRIAL_KEY} = '{key}' and attributes.status = 'FINISHED'"
        for run in filter(_is_trial, _search(tracker, condition)):
            finished[key] = run
    return finished


def _unfinished(children: Iterable[Seen], missing: set[str]) -> pd.DataFrame:
    rows = [
        {
            "label": run.info.run_name,
            "key": run.data.tags[TRIAL_KEY],
            "status": run.info.status,
            "outcome": run.data.tags.get(OUTCOME, ""),
            "error": run.data.tags.get("error", ""),
        }
        for run in children
        if _is_trial(run) and run.data.tags.get(TRIAL_KEY) in missing
    ]
    return pd.DataFrame(rows, columns=["label", "key", "status", "outcome", "error"])


def _first_error(unfinished: pd.DataFrame) -> str:
    errors = list(filter(None, unfinished["error"]))
    return f"; the first of {len(errors)} errors: {errors[0]}" if errors else ""

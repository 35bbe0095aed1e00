"""MLflow, and only here: experiments, runs, params, metrics, artifacts."""

import contextlib
import logging
import os
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import requests

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when MLflow is imported

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag, ViewType
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from sweeps.addresses import link, take_login
from sweeps.tracking.answering import (
    database_path,
    names_in_database,
    no_answer,
    require_answer,
    sqlite_address,
)
from sweeps.tracking.database import opening
from sweeps.tracking.owner import Owner
from sweeps.tracking.parents import KIND, Planned, SweepRuns, order_of

TRIAL_KEY = "trial_key"
OUTCOME, ERROR, STOPPED_BY = "outcome", "error", "stopped_by"
SOURCE, OBJECTIVES, OUTSIDE = "source", "objectives", "outside"  # where the sweep searches
# A new database has 65 tables, and MLflow tells of each step to them.
logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
logging.getLogger("alembic").setLevel(logging.WARNING)

_PARENT = "mlflow.parentRunId"
_STUDY = "secateur.study"  # tag of the experiments that are ours
_MAX_PARAM = 6_000  # characters; MLflow refuses longer ones

Away = (requests.exceptions.RequestException, ConnectionError, TimeoutError)
Unavailable = (MlflowException, *Away)


def tracking_uri(results: Path) -> str:
    """MLFLOW_TRACKING_URI, or a SQLite database in the results folder. May hold a password."""
    take_login()
    given = os.environ.get("MLFLOW_TRACKING_URI", "").strip()
    return given or sqlite_address(results.resolve() / "mlflow.db")


def is_shared() -> bool:
    """Whether there may be more than one results folder behind the address."""
    return bool(os.environ.get("MLFLOW_TRACKING_URI", "").strip())


class Tracker(SweepRuns):
    """One study's experiment on one tracking server.

    uri: for people, without a login. restore: an experiment that somebody deleted in MLflow's pages
    comes back, with all its runs; was_deleted says so. is_shared: others may log there, too; owner:
    the results folder, by which runs are told apart there.

    Raises ValueError, in one sentence, when the server does not answer. A database of SQLite is
    made here, by the driver, before any worker could race for it.
    """

    def __init__(self, study: str, results: Path, *, restore: bool = False) -> None:
        address = tracking_uri(results)
        self.uri = link(address)
        self.study, self.results = study, results
        self.was_deleted, self._restore = False, restore
        require_answer(address)
        results.mkdir(parents=True, exist_ok=True)
        self._logged: dict[tuple[str, str], set[int]] = {}
        self.is_shared = is_shared()
        self.owner = Owner(results, is_shared=self.is_shared)
        try:
            # Its client makes the tables of a new database.
            with contextlib.nullcontext() if self.is_shared else opening(results):
                self.client = MlflowClient(address)
                self.experiment_id = self._experiment(database_path(address) is not None)
        except (*Unavailable, SQLAlchemyError, sqlite3.Error, ImportError) as error:
            raise ValueError(no_answer(address, error)) from error

    def _experiment(self, with_files: bool) -> str:
        found = self.client.get_experiment_by_name(self.study)
        if found is not None:
            if found.lifecycle_stage == "deleted":
                self.was_deleted = True
                if not self._restore:
                    raise ValueError(
                        f"the experiment {self.study} was deleted in MLflow's pages: make sweep "
                        "restores it with its finished trials, which count as done"
                    )
                self.client.restore_experiment(found.experiment_id)
            return found.experiment_id
        location = None
        if with_files:
            location = (self.results.resolve() / "artifacts" / self.study).as_uri()
        # The kind makes MLflow's pages open with runs and charts, and not with traces and judges.
        kind = {"mlflow.experimentKind": "custom_model_development", _STUDY: "yes"}
        try:
            return self.client.create_experiment(self.study, location, kind)
        except MlflowException as error:
            found = self.client.get_experiment_by_name(self.study)
            if error.error_code != "RESOURCE_ALREADY_EXISTS" or found is None:
                raise
            return found.experiment_id  # another driver was faster

    def is_study(self) -> bool:
        """Whether the experiment is ours, and not one of another project on the same server."""
        tags = self.client.get_experiment(self.experiment_id).tags
        return _STUDY in tags or bool(self.sweeps())

    def runs(self, kind: str, status: str | None = None) -> list[Run]:
        """All runs of a kind ("trial", "sweep", "dense training"), the newest first."""
        condition = f"tags.{KIND} = '{kind}'"
        if status is not None:
            condition += f" and attributes.status = '{status}'"
        return sorted(self._search(condition), key=order_of, reverse=True)

    def _search(self, condition: str) -> Iterator[Run]:
        token = None
        while True:
            page = self.client.search_runs(
                [self.experiment_id], condition, ViewType.ACTIVE_ONLY, 1_000, page_token=token
            )
            yield from page
            token = page.token
            if not token:
                return

    def finished(self) -> dict[str, Run]:
        """Trial key -> its finished run, the first where there are two."""
        runs = self.runs("trial", "FINISHED")
        return {run.data.tags[TRIAL_KEY]: run for run in runs if TRIAL_KEY in run.data.tags}

    def done(self, plan: Planned) -> set[str]:
        """Keys of the trials that need not run: `done` of all that is finished."""
        return done(plan, self.finished())

    def start_run(
        self,
        name: str,
        *,
        kind: str,
        key: str,
        parent: str | None = None,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        provenance: Mapping[str, str] | None = None,
        time_ms: int | None = None,
    ) -> str:
        """The run of this key, re-opened where there is one, else a new one; its id.

        tags: an unfinished run without them is of another attempt, and makes way. Runs that were
        made in another results folder are left alone. provenance: tags of whoever begins it now.
        """
        tags, params = dict(tags or {}), dict(params or {})
        found = self._runs_of(key)
        run = next((run for run in found if tags.items() <= run.data.tags.items()), None)
        for other in found:
            if other is not run and other.info.status != "FINISHED":
                self.client.delete_run(other.info.run_id)
        if run is None:
            tags |= {KIND: kind, TRIAL_KEY: key, **self.owner.tags}
            if parent is not None:
                tags[_PARENT] = parent
            tags |= provenance or {}
            run = self.client.create_run(self.experiment_id, time_ms, tags, name)
        else:
            self._reopen(run, parent)
            self.set_tags(run.info.run_id, {**self.owner.tags, **(provenance or {})})
        # What is there stays: where a trial runs may change, and MLflow's params may not.
        missing = {name: params[name] for name in params.keys() - run.data.params.keys()}
        self.log_params(run.info.run_id, missing)
        return run.info.run_id

    def _reopen(self, run: Run, parent: str | None) -> None:
        run_id = run.info.run_id
        if run.info.status != "RUNNING":
            self.client.update_run(run_id, status="RUNNING")
        for tag in run.data.tags:
            if tag in (OUTCOME, ERROR) or tag.startswith("stopped"):
                self.client.delete_tag(run_id, tag)
        if parent is not None and run.data.tags.get(_PARENT) != parent:
            self.client.set_tag(run_id, _PARENT, parent)

    def find_run(self, key: str) -> str:
        """The id of the run of a key. Raises ValueError when there is none."""
        for run in self._runs_of(key):
            return run.info.run_id
        raise ValueError(f"{self.study} must have a run of {key} to log to, it has none")

    def _runs_of(self, key: str) -> list[Run]:
        """The runs of a key that this results folder has made, or that do not tell."""
        return [
            run
            for run in self._search(f"tags.{TRIAL_KEY} = '{key}'")
            if self.owner.owns(run.data.tags)
        ]

    def log_params(self, run_id: str, params: Mapping[str, Any]) -> None:
        entities = [Param(name, str(value)[:_MAX_PARAM]) for name, value in params.items()]
        for start in range(0, len(entities), 100):
            self.client.log_batch(run_id, params=entities[start : start + 100])

    def log_metrics(
        self, run_id: str, values: Mapping[str, float], step: int, time_ms: int
    ) -> None:
        """Log values at a step, unless the first of them is there at that step already.

        A request is stored as a whole or not at all, and the one with the first value comes last.
        """
        first = next(iter(values), None)
        if first is None or step in self._steps(run_id, first):
            return
        metrics = [Metric(name, float(value), time_ms, step) for name, value in values.items()]
        for start in reversed(range(0, len(metrics), 1_000)):
            self.client.log_batch(run_id, metrics=metrics[start : start + 1_000])
        self._steps(run_id, first).add(step)

    def _steps(self, run_id: str, metric: str) -> set[int]:
        """At which steps a run has a metric; asked once, since one process writes to a run."""
        if (run_id, metric) not in self._logged:
            history = self.client.get_metric_history(run_id, metric)
            self._logged[run_id, metric] = {point.step for point in history}
        return self._logged[run_id, metric]

    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        self.client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()])

    def log_folder(self, run_id: str, folder: Path, into: str | None = None) -> None:
        self.client.log_artifacts(run_id, str(folder), into)

    def end_run(self, run_id: str, status: str, time_ms: int | None = None) -> None:
        self.client.set_terminated(run_id, status, time_ms)

    def remove_doubles(self, key: str, run_id: str) -> None:
        """Delete runs of the key that a slow server made when its client had given up waiting."""
        for other in self._runs_of(key):
            if other.info.run_id != run_id and other.info.status != "FINISHED":
                self.client.delete_run(other.info.run_id)


def done(plan: Planned, finished: Mapping[str, Run]) -> set[str]:
    """Keys of the trials that need not run: one that was stopped early runs to its end in a sweep
    that stops none, or stops by another rule: its peers were others.
    """
    return {
        key
        for key, run in finished.items()
        if not _was_stopped(run) or run.data.tags.get(STOPPED_BY) == plan.stopped_by != ""
    }


def _was_stopped(run: Run) -> bool:
    """Whether it ended before its time; one that has collapsed as well says so by its tags."""
    return run.data.tags.get(OUTCOME) == "stopped" or "stopped" in run.data.tags


def has_store(results: Path) -> bool:
    """Whether there is anything that could hold finished runs."""
    path = database_path(tracking_uri(results))
    return path is None or path.exists()


def has_study(study: str, results: Path) -> bool:
    """Whether MLflow has an experiment of that name, active or deleted; nothing is made to see it.

    Raises ValueError as `Tracker` does.
    """
    if not has_store(results):
        return False
    address = tracking_uri(results)
    require_answer(address)
    try:
        names = names_in_database(address)
        if names is not None:
            return study in names
        return MlflowClient(address).get_experiment_by_name(study) is not None
    except (*Unavailable, SQLAlchemyError, ImportError) as error:
        raise ValueError(no_answer(address, error)) from error


def experiments(results: Path) -> dict[str, str]:
    """Study -> id of its experiment. Raises ValueError as `Tracker` does."""
    address = tracking_uri(results)
    require_answer(address)
    try:
        with contextlib.nullcontext() if is_shared() else opening(results):
            found = MlflowClient(address).search_experiments()
    except (*Unavailable, SQLAlchemyError, sqlite3.Error, ImportError) as error:
        raise ValueError(no_answer(address, error)) from error
    return {each.name: each.experiment_id for each in found if each.name != "Default"}

"""MLflow, and only here: experiments, runs, params, metrics, artifacts."""

import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlparse

import pandas as pd
import requests

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# A request that fails is tried again by the outbox, which can wait for days.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")

os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag, ViewType
from mlflow.exceptions import MlflowException

from sweeps.plan import Plan
from trainables.results import UNITS

TRIAL_KEY, KIND, OUTCOME, SWEEP_KEY = "trial_key", "kind", "outcome", "sweep_key"
PLANNED_KEYS = "plan/trial_keys.txt"
# A new database has 65 tables, and MLflow tells of each step to them.
logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
logging.getLogger("alembic").setLevel(logging.WARNING)

_PARENT = "mlflow.parentRunId"
_MAX_PARAM = 6_000  # characters; MLflow refuses longer ones
_FORBIDDEN = (401, 403)

Away = (requests.exceptions.RequestException, ConnectionError, TimeoutError)


def tracking_uri(results: Path) -> str:
    """MLFLOW_TRACKING_URI, or a SQLite database in the results folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{results.resolve()}/mlflow.db"


class Tracker:
    """One study's experiment on one tracking server.

    Raises ValueError, in one sentence, when the server does not answer. A database of SQLite is
    made here, by the driver, before any worker could race for it.
    """

    def __init__(self, study: str, results: Path) -> None:
        self.uri = tracking_uri(results)
        self.study, self.results = study, results
        _require_answer(self.uri)
        results.mkdir(parents=True, exist_ok=True)
        self.client = MlflowClient(self.uri)
        try:
            self.experiment_id = self._experiment()
        except (MlflowException, *Away) as error:
            raise ValueError(_no_answer(self.uri, error)) from error

    def _experiment(self) -> str:
        found = self.client.get_experiment_by_name(self.study)
        if found is not None:
            if found.lifecycle_stage == "deleted":
                self.client.restore_experiment(found.experiment_id)
            return found.experiment_id
        location = None
        if self.uri.startswith("sqlite:"):
            location = (self.results.resolve() / "artifacts" / self.study).as_uri()
        # The kind makes MLflow's pages open with runs and charts, and not with traces and judges.
        kind = {"mlflow.experimentKind": "custom_model_development"}
        return self.client.create_experiment(self.study, location, kind)

    def runs(self, kind: str, status: str | None = None) -> list[Run]:
        """All runs of a kind ("trial", "sweep", "dense training"), the newest first."""
        condition = f"tags.{KIND} = '{kind}'"
        if status is not None:
            condition += f" and attributes.status = '{status}'"
        return list(self._search(condition))

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
        """Trial key -> its finished run."""
        return {run.data.tags[TRIAL_KEY]: run for run in self.runs("trial", "FINISHED")}

    def start_run(
        self,
        name: str,
        *,
        kind: str,
        key: str,
        parent: str | None = None,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        time_ms: int | None = None,
    ) -> str:
        """A new run; an unfinished one of the same kind and key makes way for it. Its id."""
        for run in self._search(f"tags.{KIND} = '{kind}' and tags.{TRIAL_KEY} = '{key}'"):
            if run.info.status != "FINISHED":
                self.client.delete_run(run.info.run_id)
        all_tags = {KIND: kind, TRIAL_KEY: key, **(tags or {})}
        if parent is not None:
            all_tags[_PARENT] = parent
        run = self.client.create_run(self.experiment_id, time_ms, all_tags, name)
        self.log_params(run.info.run_id, params or {})
        return run.info.run_id

    def log_params(self, run_id: str, params: Mapping[str, Any]) -> None:
        entities = [Param(name, str(value)[:_MAX_PARAM]) for name, value in params.items()]
        for start in range(0, len(entities), 100):
            self.client.log_batch(run_id, params=entities[start : start + 100])

    def log_metrics(
        self, run_id: str, values: Mapping[str, float], step: int, time_ms: int
    ) -> None:
        """Sending the same values with the same step and time again changes nothing."""
        metrics = [Metric(name, float(value), time_ms, step) for name, value in values.items()]
        for start in range(0, len(metrics), 1_000):
            self.client.log_batch(run_id, metrics=metrics[start : start + 1_000])

    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        self.client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()])

    def log_folder(self, run_id: str, folder: Path, into: str | None = None) -> None:
        self.client.log_artifacts(run_id, str(folder), into)

    def end_run(self, run_id: str, status: str, time_ms: int | None = None) -> None:
        self.client.set_terminated(run_id, status, time_ms)

    def sweep_run(self, plan: Plan) -> str:
        """The parent run of a sweep, the one there is or a new one, marked as running."""
        for run in self._search(f"tags.{KIND} = 'sweep' and tags.{SWEEP_KEY} = '{plan.key}'"):
            self.client.update_run(run.info.run_id, status="RUNNING")
            return run.info.run_id
        tags = {KIND: "sweep", SWEEP_KEY: plan.key, "mlflow.note.content": plan.sweep.purpose}
        name = f"sweep {self.study} {plan.key}"
        run = self.client.create_run(self.experiment_id, None, tags, name)
        self.client.log_text(run.info.run_id, "\n".join(plan.keys), PLANNED_KEYS)
        return run.info.run_id

    def planned_keys(self, sweep_run: Run) -> list[str]:
        """The keys of the trials that a sweep is made of, finished or not."""
        with self._artifact(sweep_run, PLANNED_KEYS) as path:
            return path.read_text().split()

    def read_units(self, run: Run) -> pd.DataFrame:
        """The table of a trial's units."""
        with self._artifact(run, UNITS) as path:
            return pd.read_parquet(path)

    @contextmanager
    def _artifact(self, run: Run, name: str) -> Iterator[Path]:
        """A copy of one artifact. Raises ValueError when the run has none of that name."""
        with tempfile.TemporaryDirectory() as folder:
            try:
                path = self.client.download_artifacts(run.info.run_id, name, folder)
            except (MlflowException, OSError) as error:
                raise ValueError(
                    f"the run {run.info.run_name} must have the artifact {name}, it has not"
                ) from error
            yield Path(path)


def has_store(results: Path) -> bool:
    """Whether there is anything that could hold finished runs."""
    uri = tracking_uri(results)
    return not uri.startswith("sqlite:") or Path(uri.removeprefix("sqlite:///")).exists()


def page_links(results: Path, port: int) -> dict[str, str]:
    """Study -> address of its trials in MLflow's pages, side by side as charts, best first.

    Sorted by a metric MLflow shows trials flat; by its own default it folds them into the sweep.
    """
    view = {
        "workflowType": "machine_learning",
        "searchFilter": f"tags.{KIND} = 'trial'",
        "orderByKey": "metrics.`val/top1`",
        "orderByAsc": "false",
        "compareRunsMode": "CHART",
    }
    experiments = MlflowClient(tracking_uri(results)).search_experiments()
    return {
        experiment.name: f"http://127.0.0.1:{port}/?workflowType=machine_learning#/experiments/"
        f"{experiment.experiment_id}/runs?{urlencode(view, quote_via=quote)}"
        for experiment in experiments
        if experiment.name != "Default"
    }


def serve_command(results: Path, port: int) -> list[str]:
    """Arguments for Python that serve MLflow's pages on this machine only.

    Raises ValueError when there is nothing to show.
    """
    uri = tracking_uri(results)
    if not uri.startswith("sqlite:"):
        raise ValueError(f"MLFLOW_TRACKING_URI is set: its own server shows the pages, {uri}")
    if not has_store(results):
        raise ValueError(f"{results} must hold what a sweep logged, it holds no mlflow.db")
    options = {
        "--backend-store-uri": uri,
        "--artifacts-destination": str(results.resolve() / "artifacts"),
        "--host": "127.0.0.1",
        "--port": str(port),
        "--workers": "1",
    }
    return ["-m", "mlflow", "server", *(word for option in options.items() for word in option)]


def _require_answer(uri: str) -> None:
    parsed = urlparse(uri)
    if parsed.scheme not in ("http", "https"):
        return
    try:
        answer = requests.get(f"{uri.rstrip('/')}/health", timeout=5)
    except requests.exceptions.RequestException as error:
        raise ValueError(_no_answer(uri, error)) from error
    if answer.status_code in _FORBIDDEN:
        raise ValueError(
            f"the MLflow server {uri} refuses this machine ({answer.status_code}): start it with "
            "--allowed-hosts, or set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        )


def _no_answer(uri: str, error: Exception) -> str:
    first = (str(error).splitlines() or [""])[0][:200]
    return (
        f"the MLflow tracking server must answer, {uri} does not "
        f"({type(error).__name__}: {first}); unset MLFLOW_TRACKING_URI to log to a database in "
        "the results folder"
    )

"""What MLflow has of studies, at a glance: read without a way to change it, thousands of trials in
a second where they are in the results folder's own database.
"""

import re
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from mlflow import MlflowClient
from mlflow.entities import Run, ViewType
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from sweeps.tracking.answering import no_answer, require_answer
from sweeps.tracking.parents import KIND, PLANNED_KEYS, SWEEP_KEY, order_of
from sweeps.tracking.tracker import TRIAL_KEY, Unavailable, has_store, is_shared, tracking_uri
from trainables.workspace import read_own

_PATIENCE = 20  # seconds, while a sweep writes to the database
_CODE = re.compile("[0-9a-f]{16}")
_TRIAL, _DENSE = "trial", "dense training"


@dataclass(frozen=True)
class RunSeen:
    """The run of a trial, or of a dense network's training. step: of a running one the last that
    has metrics, 0 where none has."""

    kind: str
    key: str
    name: str
    status: str
    step: int = 0


@dataclass
class StudySeen:
    """A study. sweep: status of the run of its last sweep, "" where there is none; ended_ms: when
    that ended; planned: keys of its trials; code: digests that any trial names, of own code among
    others.
    """

    runs: list[RunSeen] = field(default_factory=list)
    sweep: str = ""
    ended_ms: int = 0
    planned: frozenset[str] = frozenset()
    code: set[str] = field(default_factory=set)

    @property
    def trials(self) -> list[RunSeen]:
        return [run for run in self.runs if run.kind == _TRIAL]

    def keys(self, *statuses: str) -> set[str]:
        """Of the trials with such a run."""
        return {trial.key for trial in self.trials if trial.status in statuses}

    def count(self) -> Counter[str]:
        """Trials that the last sweep asks for, by what is known of them; each counts once."""
        finished = self.keys("FINISHED")
        runs, failed = self.keys("RUNNING") - finished, self.keys("FAILED") - finished
        asked = self.planned or {trial.key for trial in self.trials}
        found = Counter(finished=len(asked & finished), running=len(asked & runs))
        found["failed"] = len(asked & (failed - runs))
        found["asked"], found["besides"] = len(asked), len(finished - asked)
        return found


def studies_seen(results: Path, names: Collection[str]) -> dict[str, StudySeen]:
    """Study -> what MLflow has of it, of those of `names` that it knows.

    In a database of the results folder also of all others that are there. Raises ValueError, in one
    sentence, where MLflow does not answer.
    """
    path = results.resolve() / "mlflow.db"
    try:
        own = _of_database(path) if path.is_file() else {}
        if not is_shared():
            return own
        found = _of_server(results, names)
        for study in found.keys() & own.keys():  # it ran here before it ran there
            found[study].code |= own[study].code
        return found
    except sqlite3.Error as error:
        raise ValueError(
            f"{path} must be a database of MLflow that can be read now, it is not ({error})"
        ) from error
    except (*Unavailable, SQLAlchemyError, ImportError) as error:
        raise ValueError(no_answer(tracking_uri(results), error)) from error


def _of_database(path: Path) -> dict[str, StudySeen]:
    """By SQL: MLflow's client would take a second for each hundred of trials, and write."""
    address = f"file:{quote(str(path))}?mode=ro"
    with closing(sqlite3.connect(address, uri=True, timeout=_PATIENCE)) as database:
        found = {
            str(name): StudySeen()
            for (name,) in database.execute("SELECT name FROM experiments")
            if name != "Default"
        }
        for study, *run in database.execute(_RUNS, (TRIAL_KEY, KIND, _TRIAL, _DENSE)):
            found[study].runs.append(RunSeen(*run))
        for study, run_id, status, ended in database.execute(_SWEEPS, (KIND, SWEEP_KEY)):
            seen = found[study]
            seen.sweep, seen.ended_ms = status, ended or 0
            folder = path.parent / "artifacts" / study / run_id / "artifacts"
            seen.planned = frozenset(read_own(folder / PLANNED_KEYS).decode().split())
        for study, value in database.execute(_CODES):
            if study in found:
                found[study].code |= _codes_in(value)
    return found


_RUNS = """
SELECT experiments.name, kinds.value, keys.value, runs.name, runs.status,
    CASE runs.status WHEN 'RUNNING' THEN coalesce(
        (SELECT max(step) FROM latest_metrics WHERE run_uuid = runs.run_uuid), 0) ELSE 0 END
FROM runs
JOIN experiments USING (experiment_id)
JOIN tags AS keys ON keys.run_uuid = runs.run_uuid AND keys.key = ?
JOIN tags AS kinds
    ON kinds.run_uuid = runs.run_uuid AND kinds.key = ? AND kinds.value IN (?, ?)
WHERE runs.lifecycle_stage = 'active' AND experiments.name != 'Default'
"""
# The last of them was launched last, as `parents.order_of` has it.
_SWEEPS = """
SELECT experiments.name, runs.run_uuid, runs.status, runs.end_time
FROM runs
JOIN experiments USING (experiment_id)
JOIN tags AS kinds ON kinds.run_uuid = runs.run_uuid AND kinds.key = ? AND kinds.value = 'sweep'
JOIN tags AS keys ON keys.run_uuid = runs.run_uuid AND keys.key = ?
LEFT JOIN tags AS turns ON turns.run_uuid = runs.run_uuid AND turns.key = 'launched_turn'
WHERE runs.lifecycle_stage = 'active' AND experiments.name != 'Default'
ORDER BY CAST(coalesce(turns.value, '0') AS INTEGER), runs.start_time, runs.run_uuid
"""
# Of deleted runs, too: who deleted them may restore them. Whatever field names the code.
_CODES = """
SELECT DISTINCT experiments.name, params.value
FROM params JOIN runs USING (run_uuid) JOIN experiments USING (experiment_id)
WHERE length(params.value) = 16 OR params.key LIKE '%code'
"""


def _codes_in(value: str) -> set[str]:
    """The digests of code in a param: of several scores of one's own there are several."""
    return {part for part in value.split(", ") if _CODE.fullmatch(part)}


def _of_server(results: Path, names: Collection[str]) -> dict[str, StudySeen]:
    if not has_store(results):  # MLflow would make the database
        return {}
    address = tracking_uri(results)
    require_answer(address)
    client, found = MlflowClient(address), {}
    for name in names:
        experiment = client.get_experiment_by_name(name)
        if experiment is not None:
            runs: list[Run] = []
            token = None
            while token is None or token:
                page = client.search_runs(
                    [experiment.experiment_id], "", ViewType.ALL, 1_000, page_token=token
                )
                runs += page
                token = page.token or ""
            found[name] = _study_of(client, runs)
    return found


def _study_of(client: MlflowClient, runs: Sequence[Run]) -> StudySeen:
    seen = StudySeen()
    values = {value for run in runs for value in run.data.params.values()}
    seen.code = {digest for value in values for digest in _codes_in(value)}
    active = [run for run in runs if run.info.lifecycle_stage == "active"]
    for run in active:
        kind, key = (run.data.tags.get(name, "") for name in (KIND, TRIAL_KEY))
        if kind in (_TRIAL, _DENSE) and key:
            step = _step(client, run) if run.info.status == "RUNNING" else 0
            seen.runs.append(RunSeen(kind, key, run.info.run_name, run.info.status, step))
    sweeps = [r for r in active if r.data.tags.get(KIND) == "sweep" and r.data.tags.get(SWEEP_KEY)]
    if sweeps:
        last = max(sweeps, key=order_of)
        seen.sweep, seen.ended_ms = last.info.status, last.info.end_time or 0
        seen.planned = _planned(client, last)
    return seen


def _step(client: MlflowClient, run: Run) -> int:
    points = client.get_metric_history(run.info.run_id, "val/top1")
    return max((point.step for point in points), default=0)


def _planned(client: MlflowClient, sweep: Run) -> frozenset[str]:
    with tempfile.TemporaryDirectory() as folder:
        try:
            path = client.download_artifacts(sweep.info.run_id, PLANNED_KEYS, folder)
            return frozenset(Path(path).read_text().split())
        except (MlflowException, OSError):  # somebody has removed it
            return frozenset()

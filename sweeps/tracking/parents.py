"""The parent runs of a study's sweeps, and which trials each is made of."""

import re
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from mlflow import MlflowClient
from mlflow.entities import Run, ViewType
from mlflow.exceptions import MlflowException

from sweeps.tracking.owner import Owner
from sweeps.tracking.provenance import provenance

KIND, SWEEP_KEY, PURPOSE = "kind", "sweep_key", "purpose"
PRIMARY = "primary"  # the question that the study asked before the sweep ran
PLANNED_KEYS = "plan/trial_keys.txt"
_NOTE = "mlflow.note.content"
_LAUNCHED = "launched_ms"  # when a sweep was started last; a run's own start does not move
_TURN = "launched_turn"  # a number that grows from start to start, as a clock need not


class Planned(Protocol):
    """What is told of a plan: the keys of its trials, their digest, what is asked, by which rule
    trials are stopped early, "" where none are."""

    @property
    def key(self) -> str: ...
    @property
    def keys(self) -> tuple[str, ...]: ...
    @property
    def purpose(self) -> str: ...
    @property
    def primary(self) -> str: ...
    @property
    def stopped_by(self) -> str: ...


class SweepRuns:
    """What a Tracker knows of sweeps."""

    client: MlflowClient
    study: str
    experiment_id: str
    owner: Owner

    def runs(self, kind: str, status: str | None = None) -> list[Run]:
        """All runs of a kind, the newest first."""
        raise NotImplementedError

    def sweeps(self) -> list[Run]:
        """The runs of sweeps of ours, launched last first; who else uses the word is not meant."""
        return [run for run in self.runs("sweep") if run.data.tags.get(SWEEP_KEY)]

    def deleted_sweeps(self) -> list[dict[str, str]]:
        """Tags of the runs of sweeps of ours that somebody has deleted in MLflow's pages."""
        found = self.client.search_runs(
            [self.experiment_id], f"tags.{KIND} = 'sweep'", ViewType.DELETED_ONLY
        )
        return [run.data.tags for run in found if run.data.tags.get(SWEEP_KEY)]

    def sweep_run(self, plan: Planned) -> str:
        """The parent run of a sweep, the one there is or a new one, marked as running."""
        sweeps = self.sweeps()
        turn = max((order_of(run)[0] for run in sweeps), default=0) + 1
        launched = provenance() | {_TURN: str(turn), _LAUNCHED: str(int(time.time() * 1000))}
        for run in sweeps:
            if run.data.tags[SWEEP_KEY] == plan.key and self.owner.owns(run.data.tags):
                self.client.update_run(run.info.run_id, status="RUNNING")
                for name, value in (launched | self.owner.tags).items():
                    self.client.set_tag(run.info.run_id, name, value)
                return str(run.info.run_id)
        tags = {
            KIND: "sweep",
            SWEEP_KEY: plan.key,
            **self.owner.tags,
            PURPOSE: plan.purpose,
            _NOTE: plan.purpose,
        }
        tags[PRIMARY] = plan.primary
        name = f"sweep {self.study} {plan.key}"
        new = self.client.create_run(self.experiment_id, None, tags | launched, name)
        self.log_planned(new.info.run_id, plan.keys)
        return str(new.info.run_id)

    def log_planned(self, run_id: str, keys: Iterable[str]) -> None:
        """Which trials a sweep is made of, for its report."""
        self.client.log_text(run_id, "\n".join(keys), PLANNED_KEYS)

    def planned_keys(self, sweep_run: Run) -> list[str]:
        """The keys of the trials that a sweep is made of, finished or not."""
        with self._artifact(sweep_run, PLANNED_KEYS) as path:
            return path.read_text().split()

    def last_planned(self, plan: Planned) -> list[str] | None:
        """The keys of the sweep launched last; None where it was of this plan, or not said."""
        sweeps = self.sweeps()
        if not sweeps or sweeps[0].data.tags[SWEEP_KEY] == plan.key:
            return None
        try:
            return self.planned_keys(sweeps[0])
        except ValueError:
            return None

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


def order_of(run: Run) -> tuple[int, int, str]:
    """What sorts runs by when they were launched; the clock counts only where nothing else does."""
    turn, launched = (_count(run.data.tags.get(name, "")) for name in (_TURN, _LAUNCHED))
    when = (run.info.start_time or 0) if launched is None else launched
    return turn or 0, when, str(run.info.run_id)


def _count(text: str) -> int | None:
    """The number that a tag holds; whoever may write to MLflow may have put another thing there."""
    return int(text) if re.fullmatch("[0-9]{1,18}", text) else None

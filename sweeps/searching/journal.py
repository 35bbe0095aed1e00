"""What a search has learned so far, in a file that optuna-dashboard opens."""

import warnings
from collections.abc import Iterable
from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial


class Journal:
    """A copy of Optuna's study for people, written anew at each start of a sweep and never read:
    what a search knows is in MLflow.

    Nothing depends on it: where it cannot be written, it ends.
    """

    def __init__(self, path: Path, study: optuna.Study) -> None:
        self._study: optuna.Study | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                storage = JournalStorage(JournalFileBackend(str(path)))
                self._study = optuna.create_study(
                    storage=storage, study_name=path.stem, directions=study.directions
                )
                if study.metric_names:
                    self._study.set_metric_names(study.metric_names)
        except OSError:
            return
        self.add(study.get_trials(deepcopy=False))

    def add(self, trials: Iterable[FrozenTrial]) -> None:
        if self._study is None:
            return
        try:
            self._study.add_trials([trial for trial in trials if trial.state.is_finished()])
        except OSError:
            self._study = None

"""Ray's events, passed on to the outbox and to the terminal."""

import traceback
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial as RayTrial

from sweeps.outbox import Outbox
from sweeps.progress import SweepProgress
from trainables.config import TrialConfig, flat_params
from trainables.workspace import Workspace


class SweepCallback(Callback):
    """Tells the outbox and the terminal what happens; never raises, which would end the sweep."""

    def __init__(self, outbox: Outbox, progress: SweepProgress, workspace: Workspace) -> None:
        self.outbox, self.progress, self.workspace = outbox, progress, workspace
        self.ended: set[str] = set()
        self.problems: list[str] = []

    def __getstate__(self) -> dict[str, Any]:
        """Ray pickles callbacks with its own state; ours lives in the outbox and in MLflow."""
        return {"ended": self.ended, "problems": self.problems}

    def on_trial_start(
        self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: Any
    ) -> None:
        self._safely(self._started, trial)

    def on_trial_result(
        self,
        iteration: int,
        trials: list[RayTrial],
        trial: RayTrial,
        result: dict[str, Any],
        **info: Any,
    ) -> None:
        self._safely(self._reported, trial, result)

    def on_trial_error(
        self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: Any
    ) -> None:
        self._safely(self._died, trial)

    def _safely(self, action: Any, *arguments: Any) -> None:
        try:
            action(*arguments)
        except Exception:
            # An exception in a callback would end the whole sweep; it is shown at the end.
            self.problems.append(traceback.format_exc())

    def _started(self, trial: RayTrial) -> None:
        config: TrialConfig = trial.config["trial"]
        if config.key not in self.progress.started_keys:
            self.outbox.start(config.key, config.label, "trial", flat_params(config))
        self.progress.started(config)

    def _reported(self, trial: RayTrial, result: dict[str, Any]) -> None:
        config: TrialConfig = trial.config["trial"]
        outcome = result.get("outcome")
        if outcome == "failed":
            self._failed(config, result["error"])
            return
        self.outbox.metrics(config.key, int(result["epoch"]), result["metrics"])
        if outcome is None:
            self.progress.stepped(config, result["metrics"])
            return
        self.ended.add(config.key)
        self.outbox.folder(config.key, self.workspace.trial(config.key))
        self.outbox.end(config.key, "FINISHED", outcome, result["made_on"])
        self.progress.ended(config, outcome, result["metrics"])

    def _died(self, trial: RayTrial) -> None:
        """The worker is gone, and so are its repetitions."""
        config: TrialConfig = trial.config["trial"]
        if config.key not in self.ended:
            self._failed(config, f"the worker died: {_last_line(trial)}")

    def _failed(self, config: TrialConfig, sentence: str) -> None:
        self.ended.add(config.key)
        self.outbox.end(config.key, "FAILED", "failed", {"error": sentence[:5_000]})
        self.progress.failed(config, sentence)


def _last_line(trial: RayTrial) -> str:
    error = trial.get_error()
    return (str(error).strip().splitlines() or ["no reason known"])[-1] if error else "no reason"

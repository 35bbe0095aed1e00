"""Early stopping in Ray Tune: a stopped trial is told to wind down, and ends with its score."""

import traceback
from pathlib import Path
from typing import Any

from ray.tune.experiment import Trial as RayTrial
from ray.tune.schedulers import FIFOScheduler

from sweeps.plan.names import Names
from sweeps.plan.rungs import Stopping, recall, remember, stop_tags, stratum_of
from trainables.config import TrialConfig


class StratifiedStopping(FIFOScheduler):
    """Rungs per stratum; never returns STOP, after which Ray gives a trial no time to score.

    path: where what was reported is kept. Ray saves no scheduler: a new driver reads it, and what
    was stopped stays stopped.
    """

    _supports_buffered_results = False  # a message must reach a trial before its next epoch

    def __init__(
        self,
        stopping: Stopping,
        path: Path,
        *,
        rate_is_searched: bool = False,
        names: Names | None = None,
    ) -> None:
        super().__init__()
        self.stopping, self.path, self.rate_is_searched = stopping, path, rate_is_searched
        self.names = names or Names(())
        self.rungs = recall(stopping, path)
        self.problems: list[str] = []

    def tags(self, key: str) -> dict[str, str]:
        """What a trial's run is to say of its being stopped, if it is."""
        decision = self.rungs.stopped.get(key)
        return stop_tags(decision, self.stopping.metric, self.names.by_key) if decision else {}

    def on_trial_result(self, tune_controller: Any, trial: RayTrial, result: dict[str, Any]) -> str:
        """Ray's hook: after every epoch. A step that ends a trial does not come here."""
        try:
            self._decide(trial, result)
        except Exception:
            # An exception here would end the whole sweep; it is shown at the end.
            self.problems.append(traceback.format_exc())
        return FIFOScheduler.CONTINUE

    def _decide(self, trial: RayTrial, result: dict[str, Any]) -> None:
        config: TrialConfig = trial.config["trial"]
        self.names.of(config)  # known from now on to whoever is stopped against it
        stratum = stratum_of(config, rate_is_searched=self.rate_is_searched)
        if stratum is None:
            return
        try:
            # A trial that goes on after a crash reports what it did before once more.
            for metrics in result["epochs"]:
                epoch, value = int(metrics["epoch"]), metrics[self.stopping.metric]
                if self.rungs.epochs.get(config.key, 0) < epoch < config.n_epochs:
                    self.rungs.decide(stratum, config.key, epoch, value)
                    remember(self.path, stratum, config.key, epoch, value)
        finally:
            self.wind_down(trial)  # on a full disk, too

    def wind_down(self, trial: RayTrial) -> None:
        """Tell the trial if it is stopped; to be called again when its worker is a new one."""
        decision = self.rungs.stopped.get(trial.config["trial"].key)
        worker = trial.temporary_state.ray_actor
        if decision is not None and worker is not None:
            # A worker takes its calls in order: this one comes before the next epoch.
            worker.wind_down.remote(decision.epoch)

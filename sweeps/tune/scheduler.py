"""Early stopping in Ray Tune: a stopped trial is told to wind down, and ends with its score."""

import traceback
from pathlib import Path
from typing import Any

from ray.tune.experiment import Trial as RayTrial
from ray.tune.schedulers import FIFOScheduler

from sweeps.plan.names import Names
from sweeps.plan.rungs import Stopping, recall, remember, remember_failure, stop_tags
from sweeps.plan.strata import Strata
from sweeps.tracking.tracker import STOPPED_BY
from trainables.config import TrialConfig


class StratifiedStopping(FIFOScheduler):
    """Rungs per stratum; never returns STOP, after which Ray gives a trial no time to score.

    strata: which trials are peers. rule: its key, see `Sweep.stopped_by`. path: where what was
    reported is kept. Ray saves no scheduler: a new driver reads it, and what was stopped stays
    stopped.
    """

    _supports_buffered_results = False  # a message must reach a trial before its next epoch

    def __init__(
        self,
        stopping: Stopping,
        strata: Strata,
        path: Path,
        *,
        rule: str = "",
        names: Names | None = None,
    ) -> None:
        super().__init__()
        self.stopping, self.strata, self.path = stopping, strata, path
        self.rule = rule
        self.names = names or Names(())
        self.rungs = recall(stopping, path)
        self.problems: list[str] = []

    def tags(self, config: TrialConfig) -> dict[str, str]:
        """What a trial's run is to say of its being stopped, if it is."""
        decision = self.rungs.stopped.get(config.key)
        if decision is None:
            return {}
        said = stop_tags(decision, self.stopping.metric, self.names.by_key, config.n_epochs)
        return said | {STOPPED_BY: self.rule}

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
        stratum = self.strata.of(config)
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

    def failed(self, config: TrialConfig) -> None:
        """Nobody is stopped for being worse than a trial that has come to nothing."""
        if config.key in self.rungs.epochs:
            self.rungs.withdraw(config.key)
            remember_failure(self.path, config.key)

    def wind_down(self, trial: RayTrial) -> None:
        """Tell the trial if it is stopped; to be called again when its worker is a new one."""
        decision = self.rungs.stopped.get(trial.config["trial"].key)
        worker = trial.temporary_state.ray_actor
        if decision is not None and worker is not None:
            # A worker takes its calls in order: this one comes before the next epoch.
            worker.wind_down.remote(decision.epoch)

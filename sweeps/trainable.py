"""A trial as Ray Tune sees it: a thin class around `trainables.trial.Trial`."""

import gc
from pathlib import Path
from typing import Any

import torch
from ray import tune

from trainables.config import TrialConfig
from trainables.trial import Trial
from trainables.workspace import Workspace

STATE = "state.pt"


class PruningTrial(tune.Trainable):
    """One epoch a step; the last step is the score, however the trial ended.

    config: {"trial": TrialConfig, "results": path of the results folder}. A step that goes wrong
    ends the trial with outcome "failed" and its sentence instead of raising, because Ray would
    run it again: that is kept for workers that die.
    """

    def setup(self, config: dict[str, Any]) -> None:
        self.trial_config: TrialConfig = config["trial"]
        self.wound_down = False
        self.trial: Trial | None = None
        self.problem: Exception | None = None
        try:
            self.trial = Trial(self.trial_config, Workspace(Path(config["results"])))
        except Exception as error:
            # Reported by the first step: whatever it is, it must not take the worker down.
            self.problem = error

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take on another trial in the same process, which saves seconds of imports."""
        self.trial = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self.setup(new_config)
        return True

    def wind_down(self) -> None:
        """Called by a scheduler that wants the trial to stop: its next step is its score."""
        self.wound_down = True

    def step(self) -> dict[str, Any]:
        try:
            if self.problem is not None:
                raise self.problem
            return self._step()
        except Exception as error:
            # The sweep goes on without this trial; its sentence goes to MLflow and the terminal.
            sentence = f"{type(error).__name__}: {error}"
            return {"outcome": "failed", "error": sentence, "metrics": {}, "done": True}

    def _step(self) -> dict[str, Any]:
        if self.trial is None:
            raise RuntimeError("a trial must be set up before it steps")
        if not self.trial.trained and not self.wound_down:
            return {"metrics": self.trial.epoch(), "epoch": self.trial.epochs_done}
        result = self.trial.finish(stopped=self.wound_down and not self.trial.trained)
        return {
            "metrics": result.metrics,
            "epoch": self.trial.epochs_done,
            "outcome": result.outcome,
            "made_on": result.made_on,
            "done": True,
        }

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        if self.trial is not None:
            torch.save(self.trial.state_dict(), Path(checkpoint_dir) / STATE)

    def load_checkpoint(self, checkpoint: Any) -> None:
        path = Path(checkpoint) / STATE
        if self.trial is not None and path.exists():
            state = torch.load(path, map_location=self.trial.device, weights_only=True)
            self.trial.load_state_dict(state)

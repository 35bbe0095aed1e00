"""Ray's events, passed on to the outbox and to the terminal."""

import traceback
from collections import Counter
from collections.abc import Mapping
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial as RayTrial

from sweeps.plan.metrics import EPOCH_SECONDS, HOURS_SAVED, SAVED
from sweeps.plan.space import Search
from sweeps.tracking.outbox import Outbox
from sweeps.tracking.tracker import OBJECTIVES, OUTSIDE, SOURCE
from sweeps.tune.progress import SweepProgress
from sweeps.tune.scheduler import StratifiedStopping
from sweeps.tune.worker import smaller_batch
from trainables.config import TrialConfig, flat_params
from trainables.kept import set_aside_path
from trainables.workspace import Workspace

_TOLD = ("epochs", "final", "made_on", "inputs", "files", "error", "retried", "said")
DEATHS = 2  # of its worker that a trial survives, without an epoch between them


class SweepCallback(Callback):
    """Tells the outbox and the terminal what happens; never raises, which would end the sweep.

    search: of the sweep, whose metrics Ray is told of at a trial's end.
    n_news: how many reports came from trials so far.
    stopping: the scheduler of the trials that run; each launch has its own.
    unwritten: trials that have ended and are to end once more, since the disk was full, say.
    dropped: trials that Ray gave up although their worker may die once more.
    """

    def __init__(
        self,
        outbox: Outbox,
        progress: SweepProgress,
        workspace: Workspace,
        search: Search | None = None,
    ) -> None:
        self.outbox, self.progress, self.workspace = outbox, progress, workspace
        self.search = search
        self.searched = (*search.objectives, *search.constraints) if search else ()
        self.stopping: StratifiedStopping | None = None
        self.n_news = 0
        self.ended: set[str] = set()
        self.dropped: list[TrialConfig] = []
        self._n_dropped: Counter[str] = Counter()
        self.problems: list[str] = []
        self.unwritten: set[str] = set()
        self._unsaid: dict[str, list[dict[str, float]]] = {}  # key -> epochs not written yet

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
        # Ray keeps a trial's last result for ever, with statistics of its every number.
        for name in _TOLD:
            result.pop(name, None)
        metrics = result.get("metrics") or {}
        result["metrics"] = {name: metrics[name] for name in self.searched if name in metrics}

    def on_trial_complete(
        self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: Any
    ) -> None:
        self._safely(_without_statistics, trial)

    def on_trial_error(
        self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: Any
    ) -> None:
        self._safely(self._died, trial)

    def _safely(self, action: Any, *arguments: Any) -> None:
        try:
            action(*arguments)
        except OSError as error:
            sentence = f"a line could not be written ({error}): make sweep goes on with its trial"
            if sentence not in self.problems:
                self.problems.append(sentence)
        except Exception:
            # An exception in a callback would end the whole sweep; it is shown at the end.
            self.problems.append(traceback.format_exc())

    def _started(self, trial: RayTrial) -> None:
        if self.stopping is not None:  # a worker that is new has not been told
            self.stopping.wind_down(trial)
        self._tell_start(trial.config["trial"])

    def _tell_start(self, config: TrialConfig) -> None:
        """Once; on a disk too full for it, again with the trial's next report."""
        if config.key not in self.progress.started_keys:
            self.outbox.start(
                config.key, self.progress.names.of(config), "trial", flat_params(config)
            )
        self.progress.started(config)

    def _reported(self, trial: RayTrial, result: dict[str, Any]) -> None:
        config: TrialConfig = trial.config["trial"]
        self.n_news += 1
        if result.get("outcome") is not None:
            self.unwritten.add(config.key)
        # Ray gives a trial up after so many workers that died: in a row, without an epoch between.
        trial.run_metadata.num_failures = self._n_dropped[config.key] = 0
        if "retried" in result:
            self._unsaid.pop(config.key, None)
        unsaid = self._unsaid.setdefault(config.key, [])
        unsaid += result["epochs"]
        self._tell_start(config)
        for sentence in result.get("said", ()):
            self.progress.said(config, sentence)
        if "retried" in result:
            self._retried(config)
        while unsaid:  # as long as the disk is full, the trial does not end
            self.outbox.metrics(config.key, int(unsaid[0]["epoch"]), unsaid[0])
            unsaid.pop(0)
        outcome = result.get("outcome")
        if outcome == "failed":
            self._failed(config, result["error"])
        elif outcome is None:
            self.progress.stepped(config, result["epoch"], result["metrics"])
        else:
            self._ended(config, outcome, result)

    def _retried(self, config: TrialConfig) -> None:
        """Half the batch makes other params and other numbers: a run of its own."""
        smaller = smaller_batch(config)
        halves = {"smaller_batch": f"{smaller.key}: half of it, since memory ran out"}
        self.outbox.start(
            config.key, self.progress.names.of(config), "trial", flat_params(smaller), halves
        )

    def _ended(self, config: TrialConfig, outcome: str, result: dict[str, Any]) -> None:
        n_saved = config.n_epochs - result["epoch"]
        stopped = self.stopping.tags(config) if self.stopping and n_saved else {}
        saved = _saved(n_saved, result["metrics"]) if stopped else {}
        # Of the whole batch, too, where it ran with half of it.
        states = [self.workspace.state(key) for key in dict.fromkeys((result["key"], config.key))]
        self.outbox.end(
            config.key,
            "FINISHED",
            outcome,
            result["made_on"] | stopped | self._searched(config, result["metrics"]),
            step=result["epoch"],
            values=result["final"] | saved,
            folder=self.workspace.trial(result["key"]),
            holds=result["files"],
            inputs=result.get("inputs", ()),
            forget=[*states, *map(set_aside_path, states)],
        )
        # Only now: what could not be written down has not ended, and goes on in the next sweep.
        self.ended.add(config.key)
        self.unwritten.discard(config.key)
        self.progress.ended(
            *(config, outcome, result["metrics"]),
            epoch=result["epoch"],
            stopped=stopped.get("stopped", ""),
        )

    def _searched(self, config: TrialConfig, metrics: Mapping[str, float]) -> dict[str, str]:
        """Tags: where a trial comes from, what the search is after, and what it does not meet."""
        if self.search is None:
            return {}
        aims = ", ".join(f"{mode} {name}" for name, mode in self.search.objectives.items())
        tags = {SOURCE: self.progress.names.source(config), OBJECTIVES: aims}
        return tags | {OUTSIDE: ", ".join(self.search.outside(metrics))}

    def _died(self, trial: RayTrial) -> None:
        """The worker is gone, and so are its repetitions.

        Or none was made: Ray (2.60) repeats only what runs, and a trial does not yet while a worker
        that has ended another one takes it on. One that dies just then ends it for good.
        """
        config: TrialConfig = trial.config["trial"]
        if config.key in self.ended:
            return
        self._n_dropped[config.key] += 1
        if trial.run_metadata.num_failures <= DEATHS and self._n_dropped[config.key] <= DEATHS:
            self.dropped.append(config)
            return
        self._tell_start(config)
        self._failed(config, f"the worker died: {_last_line(trial)}")

    def take_dropped(self) -> list[TrialConfig]:
        """The trials to launch once more, each told once."""
        dropped, self.dropped = self.dropped, []
        return dropped

    def _failed(self, config: TrialConfig, sentence: str) -> None:
        self.ended.add(config.key)
        self.unwritten.discard(config.key)
        self.progress.failed(config, sentence)
        self.outbox.end(config.key, "FAILED", "failed", {"error": sentence[:5_000]})
        if self.stopping is not None:
            self.stopping.failed(config)


def _without_statistics(trial: RayTrial) -> None:
    """Ray keeps those of each number of a trial, and their text, as long as the sweep runs."""
    trial.run_metadata.metric_analysis.clear()
    trial.run_metadata.metric_n_steps.clear()
    trial.run_metadata.invalidate_cache()


def _saved(n_epochs: int, metrics: Mapping[str, float]) -> dict[str, float]:
    """What stopping saved of a trial. metrics: of its end, the seconds of its last epoch too."""
    seconds = metrics.get(EPOCH_SECONDS)
    hours = {} if seconds is None else {HOURS_SAVED: n_epochs * seconds / 3600}
    return {SAVED: float(n_epochs), **hours}


def _last_line(trial: RayTrial) -> str:
    error = trial.get_error()
    return (str(error).strip().splitlines() or ["no reason known"])[-1] if error else "no reason"

"""A trial as Ray Tune sees it: a thin class around `trainables.trial.Trial`."""

import contextlib
import gc
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from ray import tune

from sweeps.tune.pictures import draw_trial
from trainables.config import TrialConfig
from trainables.contents import hold_own_code
from trainables.trial import Trial
from trainables.workspace import SetAside, Workspace, files_of, size_shown


class PruningTrial(tune.Trainable):
    """One epoch a step; the last step is the score, however the trial ended.

    config: {"trial": TrialConfig, "results": path of the results folder, "study": its name,
    "retry_smaller_batch": bool, "processes": of a trial, a GPU each}. The state after each epoch
    lies in the results folder and not in a checkpoint of Ray's: whatever was killed, this process,
    its node or the driver, the trial goes on from there.

    A step that goes wrong ends the trial with outcome "failed" and its sentence instead of
    raising, because Ray would run it again: that is kept for workers that die.
    """

    def setup(self, config: dict[str, Any]) -> None:
        self.workspace = Workspace(Path(config["results"]), config.get("study", ""))
        self.may_retry = bool(config.get("retry_smaller_batch"))
        self.stop_after: int | None = None  # epochs
        self.retried = ""  # why it runs with half the batch
        self.n_reported: int | None = None  # epochs; None: this process has not reported yet
        self.trial: Trial | None = None
        self.problem: Exception | None = None
        self.said: list[str] = []  # of files that were set aside, and not reported yet
        try:
            processes = config.get("processes", 1)
            changes = {"compute.processes": processes} if processes > 1 else {}
            hold_own_code([config["trial"]], self.workspace.root)
            with self._listening():
                self._begin(config["trial"].replace(changes))
        except Exception as error:
            # Raised by the first step: whatever it is, it must not take the worker down.
            self.problem = error.with_traceback(None)

    def _begin(self, config: TrialConfig) -> None:
        self.wanted = config
        keys = [config.key, smaller_batch(config).key] if self.may_retry else [config.key]
        for key in keys:
            self.workspace.adopt_state(key)
        if self.may_retry and self.workspace.state(smaller_batch(config).key).exists():
            self.retried = "half the batch, as before"
        self.trial = resumed(smaller_batch(config) if self.retried else config, self.workspace)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take on another trial in the same process, which saves seconds of imports."""
        self._drop()
        self.setup(new_config)
        return True

    def _drop(self) -> None:
        if self.trial is not None:
            self.trial.close()
        self.trial = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def wind_down(self, after_epoch: int = 0) -> None:
        """Called by a scheduler that wants the trial to stop: then its next step is its score.

        after_epoch: that it decided on. A trial whose state was lost gets there again first.
        """
        self.stop_after = after_epoch

    def step(self) -> dict[str, Any]:
        """What happened since: "epochs", the metrics of each, and "said", sentences about files
        that were set aside; at the end an outcome, and "final", the metrics that the last epoch has
        not, or has otherwise: before a trial's end it sees a part of the validation images.
        """
        try:
            with self._listening():
                return self._step()
        except torch.AcceleratorError:
            # The GPU's context is lost to the process; Ray starts another one.
            raise
        except Exception as error:
            # The sweep goes on without this trial; its sentence goes to MLflow and the terminal.
            sentence = _sentence(error, self.workspace)
            if self.retried or not self.may_retry or not is_out_of_memory(error):
                failed = {"outcome": "failed", "error": sentence, "metrics": {}, "done": True}
                return self._news() | failed
        # Out of the handler, since the error holds on to all that did not fit.
        return self._retry(sentence)

    def _retry(self, sentence: str) -> dict[str, Any]:
        """Start over with half the batch."""
        self._drop()  # and leave its state: memory may be there another day
        self.retried, self.problem, self.n_reported = sentence, None, None
        try:
            with self._listening():
                self._begin(self.wanted)
        except Exception as error:
            self.problem = error.with_traceback(None)
        return self.step()

    def _step(self) -> dict[str, Any]:
        if self.problem is not None:
            raise self.problem
        if self.trial is None:
            raise RuntimeError("a trial must be set up before it steps")
        stopped = self.stop_after is not None and self.trial.epochs_done >= self.stop_after
        if not self.trial.trained and not stopped:
            metrics = self.trial.epoch()
            self.trial.save()  # before it is reported: what is known outside is never lost
            return self._news() | {"metrics": metrics}
        result = self.trial.finish(stopped=not self.trial.trained)
        with contextlib.suppress(Exception):  # a picture is not worth a trial
            draw_trial(result.folder, self.trial.config.label)
        told = self.trial.history[-1] if self.trial.history else {}
        other = [n for n, v in result.metrics.items() if n in told and told[n] != v]
        # Those that are new first: whether the first is there tells whether all were delivered.
        final = [*(n for n in result.metrics if n not in told), *other]
        return self._news() | {
            "metrics": result.metrics,
            "final": {name: result.metrics[name] for name in final},
            "outcome": result.outcome,
            "made_on": result.made_on,
            "inputs": inputs_of(self.trial),
            "files": files_of(result.folder),
            "done": True,
        }

    def _news(self) -> dict[str, Any]:
        """The first report of a process repeats what an earlier one may not have delivered."""
        news: dict[str, Any] = {"epoch": 0, "epochs": [], "key": self.wanted.key}
        if self.n_reported is None and self.retried:
            news["retried"] = self.retried
        if self.trial is not None:
            news["epochs"] = self.trial.history[self.n_reported or 0 :]
            news |= {"epoch": self.trial.epochs_done, "key": self.trial.config.key}
        self.n_reported = news["epoch"]
        if self.said:
            news["said"], self.said = self.said, []
        return news

    @contextlib.contextmanager
    def _listening(self) -> Iterator[None]:
        """Note what is set aside: what a worker prints nobody reads."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", SetAside)
            try:
                yield
            finally:
                self.said += [str(w.message) for w in caught if issubclass(w.category, SetAside)]
        for w in caught:
            if not issubclass(w.category, SetAside):
                warnings.warn_explicit(w.message, w.category, w.filename, w.lineno)


def inputs_of(trial: Trial) -> list[dict[str, str]]:
    """The image sets that a trial read, each with the digest of what it holds, for MLflow."""
    data, config = trial.data, trial.config.data
    sets = {"training": data.train, "validation": data.val, "probe": data.probe}
    where = config.path or ("drawn" if config.name == "concepts" else config.name)
    return [
        {
            "context": context,
            "name": f"{config.name}, {context}",
            "digest": images.digest,
            "source": where,
            "n_images": str(len(images)),
            "n_classes": str(data.n_classes),
        }
        for context, images in sets.items()
    ]


def resumed(config: TrialConfig, workspace: Workspace) -> Trial:
    """The trial where it stopped, or at its beginning."""
    trial = Trial(config, workspace)
    trial.resume()
    return trial


def smaller_batch(config: TrialConfig) -> TrialConfig:
    """The trial with half the batch, in evaluation and in the training that is its own.

    Where it repeats the dense network's training the recipe stays: it is the dense network's.
    """
    halves = {"compute.eval_batch_size": max(1, config.compute.eval_batch_size // 2)}
    if config.finetune is not None:
        halves["finetune.batch_size"] = max(1, config.finetune.batch_size // 2)
    return config.replace(halves)


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out, of the GPU or of the machine, as far as one can tell."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    # The last is what oneDNN says of it on a CPU, and of other things.
    signs = ("out of memory", "alloc_cpu", "could not create a primitive")
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in signs)


def _sentence(error: Exception, workspace: Workspace) -> str:
    """What went wrong; torch words a full disk as a wrong position in a file."""
    if "inline_container" in str(error):
        root, states = workspace.root, workspace.state("").parent
        free = min(shutil.disk_usage(f).free for f in (root, states) if f.exists())
        return f"OSError: a file in {root} could not be written, {size_shown(free)} are free"
    return f"{type(error).__name__}: {error}"

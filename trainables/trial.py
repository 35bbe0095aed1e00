"""One trial: prune, fine-tune, evaluate, round by round, and end with the score of every unit."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import torch
from torch import Generator
from torchvision.models import GoogLeNet

from pruning import (
    Held,
    KeepMask,
    Kept,
    choose_keep,
    compact,
    copy_back,
    cumulative_rates,
    kept_entries,
    measure_sparsity,
    prunable_weights,
)
from trainables.compute import describe, prepare_process, resolve_device, resolve_precision
from trainables.config import TrialConfig
from trainables.datasets.loading import load_data
from trainables.dense import load_dense
from trainables.evaluate import accuracy_metrics, predict
from trainables.fields import digest_of
from trainables.finetune import Training, recalibrate
from trainables.networks import count_cost, filter_sources
from trainables.results import save_results
from trainables.scoring import score_network
from trainables.workspace import Workspace

Outcome = Literal["completed", "stopped", "collapsed", "failed"]


@dataclass(frozen=True)
class Result:
    """What a trial ends with: metrics by name, one row a unit, and the folder of its files.

    made_on: device, precision, versions.
    """

    outcome: Outcome
    metrics: dict[str, float]
    units: pd.DataFrame
    folder: Path
    made_on: dict[str, str]


class Trial:
    """A trial in progress, an epoch at a time; knows nothing of tuners and trackers.

    Raises ValueError where the data or the dense network is not as the config says.
    """

    def __init__(self, config: TrialConfig, workspace: Workspace) -> None:
        self.config, self.workspace = config, workspace
        prepare_process(config.compute)
        self.device = resolve_device(config.compute)
        self.precision = resolve_precision(config.compute, self.device)
        self.data = load_data(config.data, workspace.cache)
        network = load_dense(config, self.data, workspace.cache)
        self.network = network.to(device=self.device, memory_format=torch.channels_last)
        self.keep: KeepMask | None = None
        self.held: Held | None = None
        self.kept: Kept | None = None  # what is left where whole filters are gone for good
        self.training: Training | None = None
        self.epochs_done = 0
        self.metrics: dict[str, float] = {}

    @property
    def trained(self) -> bool:
        """Whether all epochs are done and only the score is left."""
        return self.epochs_done == self.config.n_epochs

    def epoch(self) -> dict[str, float]:
        """The next epoch of fine-tuning, at the start of a round after pruning; its metrics."""
        if self.config.finetune is None or self.trained:
            raise ValueError(f"all {self.config.n_epochs} epochs of this trial are done")
        round_, epoch_of_round = divmod(self.epochs_done, self.config.finetune.epochs)
        if epoch_of_round == 0:
            self._prune(round_)
            self.training = self._new_training()
        if self.training is None:
            raise ValueError("a trial that goes on in the middle of a round must be restored first")
        # A stream an epoch: an interrupted trial goes on as if nothing had happened.
        torch.manual_seed(self._stream("dropout", self.epochs_done))
        metrics = self.training.epoch(self._generator("order", self.epochs_done))
        if self.kept is not None:
            copy_back(self.training.network, self.network, self.kept)
        self._check_held()
        self.epochs_done += 1
        self.metrics = metrics | self.evaluate()
        return {"epoch": float(self.epochs_done), "round": float(round_ + 1), **self.metrics}

    def finish(self, *, stopped: bool = False) -> Result:
        """Score every unit of the network as it is now, write the files, end the trial."""
        if self.config.finetune is None:
            for round_ in range(self.config.rounds):
                self._prune(round_)
            self._recalibrate()
            self.metrics = self.evaluate()
        scores, units = score_network(
            self.network,
            self.data.probe,
            self.config,
            self.workspace.cache,
            device=self.device,
            precision=self.precision,
            generator=self._generator("tasks"),
        )
        cost = count_cost(self._without_removed(), self.config.data.pixels)
        metrics = self.metrics | scores | cost
        outcome: Outcome = "stopped" if stopped else "completed"
        if metrics["prune/n_collapsed"] > 0:
            outcome = "collapsed"
        folder = self.workspace.trial(self.config.key)
        save_results(folder, self.config, self.network, self.keep, units)
        made_on = describe(self.device, self.precision)
        return Result(outcome, metrics, units, folder, made_on)

    def evaluate(self) -> dict[str, float]:
        """Accuracy on the validation images, and what is zero."""
        exclude = () if self.config.prune is None else self.config.prune.exclude
        sparsity = measure_sparsity(self.network, exclude)
        logits = predict(
            self._without_removed(),
            self.data.val,
            self.device,
            self.precision,
            self.config.compute.eval_batch_size,
        )
        return accuracy_metrics(logits, self.data.val.labels) | {
            "prune/sparsity": sparsity.prunable,
            "prune/sparsity_network": sparsity.network,
            "prune/n_zero": float(sparsity.n_zero),
            "prune/n_prunable": float(sparsity.n_prunable),
            "prune/n_collapsed": float(len(sparsity.collapsed)),
        }

    def _prune(self, round_: int) -> None:
        prune = self.config.prune
        if prune is None:
            return
        self.keep = choose_keep(
            self.network,
            cumulative_rates(prune.schedule, prune.rate, prune.rounds)[round_],
            granularity=prune.granularity,
            scope=prune.scope,
            criterion=prune.criterion,
            generator=self._generator("criterion", round_),
            exclude=prune.exclude,
            within=self.keep,
            batchnorm_follows=prune.batchnorm_follows,
        )
        self._hold()

    def _hold(self) -> None:
        """Apply the masks; note what is left where a smaller network does the same."""
        if self.keep is None or self.config.prune is None:
            return
        self.held = Held(self.network, self.keep)
        self.held.apply()
        prune = self.config.prune
        self.kept = None
        if prune.granularity == "filter" and prune.batchnorm_follows and prune.held:
            layers = prunable_weights(self.network, prune.exclude)
            if all(self.keep[name].any() for name in layers):
                self.kept = kept_entries(self.network, self.keep, filter_sources(self.network))

    def _without_removed(self) -> GoogLeNet:
        """A smaller network of the same outputs where filters are gone, else the network itself."""
        return self.network if self.kept is None else compact(self.network, self.kept)

    def _new_training(self) -> Training:
        prune, recipe = self.config.prune, self.config.finetune
        if recipe is None:
            raise ValueError("a trial without fine-tuning has nothing to train")
        # The removed need not be held: the network that is trained has not got them.
        held = self.held if prune is not None and prune.held and self.kept is None else None
        network = self._without_removed()
        return Training(network, self.data.train, recipe, precision=self.precision, held=held)

    def _recalibrate(self) -> None:
        if self.config.recalibrate_images:
            recalibrate(
                self.network,
                self.data.train,
                self.config.recalibrate_images,
                self._generator("recalibrate"),
            )

    def _check_held(self) -> None:
        if self.held is None or self.config.prune is None or not self.config.prune.held:
            return
        revived = self.held.revived()
        if revived:
            raise RuntimeError(
                f"pruned weights must stay exactly zero, those of {len(revived)} parameters do "
                f"not: {', '.join(revived[:3])}"
            )

    def _stream(self, *purpose: object) -> int:
        """A seed for one purpose of this trial: trials of one seed share it, purposes do not."""
        return int(digest_of([self.config.seed, *purpose])[:15], 16)

    def _generator(self, *purpose: object) -> Generator:
        return torch.Generator().manual_seed(self._stream(*purpose))

    def state_dict(self) -> dict[str, Any]:
        """All that the rest of the trial depends on; loads with torch.load(weights_only=True)."""
        return {
            "key": self.config.key,
            "network": self.network.state_dict(),
            "keep": self.keep,
            "training": None if self.training is None else self.training.state_dict(),
            "epochs_done": self.epochs_done,
            "metrics": self.metrics,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken; ValueError for the state of another trial."""
        if state["key"] != self.config.key:
            raise ValueError(
                f"this trial is {self.config.key}, the checkpoint is of {state['key']}"
            )
        self.network.load_state_dict(state["network"])
        self.keep = state["keep"]
        if self.keep is not None:
            self.keep = {name: mask.to(self.device) for name, mask in self.keep.items()}
            self._hold()
        self.epochs_done, self.metrics = state["epochs_done"], state["metrics"]
        self.training = None
        if state["training"] is not None:
            self.training = self._new_training()
            self.training.load_state_dict(state["training"])


def run_trial(
    config: TrialConfig,
    workspace: Workspace,
    report: Callable[[dict[str, float]], None] | None = None,
) -> Result:
    """Run one trial from its dense network to its scores, without a tuner or a tracker.

    report: called after every epoch with its metrics.
    """
    trial = Trial(config, workspace)
    while not trial.trained:
        metrics = trial.epoch()
        if report is not None:
            report(metrics)
    return trial.finish()

"""One trial: prune, retrain, evaluate, round by round, and end with the score of every unit."""

import copy
from collections.abc import Callable
from typing import Any

from torch import nn

from trainables.artifacts import EPOCHS, LAYERS, PREDICTIONS, ROUNDS, SENSITIVITY
from trainables.config import TrialConfig
from trainables.contents import with_contents
from trainables.cost import cost_metrics
from trainables.datasets.loading import load_data
from trainables.kept import may_pass, read_state, require_state, set_aside
from trainables.memo import Memo
from trainables.networks import load_checkpoint, network_arguments, require_fit
from trainables.randomness import generator
from trainables.results import Outcome, Result, save_results, save_round
from trainables.rounds.choosing import choose
from trainables.rounds.ends import end_row
from trainables.rounds.numbers import layer_rows
from trainables.rounds.pruned import begun
from trainables.rounds.sensitivity import measure_sensitivity
from trainables.scores.scoring import Scored, score_trial
from trainables.training.compute import (
    describe,
    place,
    prepare_process,
    resolve_compile,
    resolve_device,
    resolve_precision,
    share_compiled,
)
from trainables.training.crew import Crew, epoch_by_all
from trainables.training.dense import dense_path, load_dense, load_teacher
from trainables.training.finetune import Training, recalibrate
from trainables.training.member import Member
from trainables.training.spent import Clock, begin_peaks, peaks
from trainables.training.validation import Validation
from trainables.workspace import Workspace


class Trial:
    """A trial in progress, an epoch at a time; knows nothing of tuners and trackers.

    history: the metrics of every epoch done, each with its "epoch" and "round".
    layers: what the masks of every round keep of each layer, see `layer_rows`.
    ends: what the network was at the end of every round, where there are several; see `end_row`.

    Raises ValueError where the data or the dense network is not as the config says.
    """

    def __init__(self, config: TrialConfig, workspace: Workspace) -> None:
        config = with_contents(config, workspace.root)
        self.config, self.workspace = config, workspace
        prepare_process(config.compute)
        self.device = resolve_device(config.compute)
        self.precision = resolve_precision(config.compute, self.device)
        self.compile = resolve_compile(config.compute, self.device)
        share_compiled(workspace.cache)
        begin_peaks(self.device)
        self.data = load_data(config.data, workspace.cache)
        on = (self.device, self.precision)
        self.validation = Validation(config, self.data, workspace.cache, *on)
        self.crew: Crew | None = None
        self._begin()

    def _begin(self) -> None:
        """At the dense network, or the one that is given, with nothing done."""
        dense = load_dense(self.config, self.data, self.workspace.cache)
        self.pruned = begun(place(dense, self.device), self.config)
        self.network = self.pruned.network
        self.training: Training | None = None
        self.history: list[dict[str, float]] = []
        self.layers: list[dict[str, float | str]] = []
        self.ends: list[dict[str, float]] = []
        self.n_begun = 0  # rounds that were pruned
        self.followed: Trial | None = None  # whose numbers per layer this one takes

    @property
    def epochs_done(self) -> int:
        return len(self.history)

    @property
    def trained(self) -> bool:
        """Whether all epochs are done and only the score is left."""
        return self.epochs_done == self.config.n_epochs

    def epoch(self) -> dict[str, float]:
        """The next epoch of training, at the start of a round after pruning; its metrics."""
        if self.trained:
            raise ValueError(f"all {self.config.n_epochs} epochs of this trial are done")
        round_, epoch_of_round = self.config.round_of(self.epochs_done)
        if epoch_of_round == 0 and self.n_begun == round_:
            self.begin_round()
        if self.training is None:
            raise ValueError("a trial that goes on in the middle of a round must be restored first")
        clock, number = Clock(), self.epochs_done
        if self.config.rewind != "none":  # then it sees what the dense network saw
            number = self.config.rewind_epoch + epoch_of_round
        metrics = epoch_by_all(self.training, self.config.seed, number, self.crew)
        self._take_back(self.training.network)
        self.pruned.require_held()
        done = self.epochs_done + 1
        ends_trial, ends_round = done == self.config.n_epochs, self.config.ends_round(done)
        is_scored = self.config.score_every_round and ends_round
        where = {"epoch": float(done), "round": float(round_ + 1)}
        accuracy = self.evaluate() if ends_trial or is_scored else self._glance()
        self.history.append(where | metrics | accuracy | self.training.spent)
        self.history[-1]["spent/epoch_seconds"] = clock.seconds
        if ends_round:
            self._note_end(accuracy)
        if is_scored and not ends_trial:
            self.history[-1] |= save_round(self.workspace, self.config, round_, self._score())
        return self.history[-1]

    def finish(self, *, stopped: bool = False) -> Result:
        """Score every unit of the network as it is now, write the files, end the trial."""
        self.close()
        if self.config.retrain is None:
            for _ in range(self.n_begun, self.config.rounds):
                if self.n_begun > 0:
                    self._note_end(self._glance())
                self.begin_round()
            if self.config.recalibrate_images:
                self._take_back(self.pruned.without_removed())
            metrics = self.evaluate()
            self._note_end(metrics)
        else:
            # A trial that is stopped before its end has seen a part of the images, or none.
            metrics = dict(self.history[-1]) if self.history else {}
            metrics |= {} if self.trained else self.evaluate()
        clock, scored = Clock(), self._score()
        metrics |= scored.metrics | peaks(self.device) | {"spent/score_seconds": clock.seconds}
        network = network_arguments(self.config.network, self.data.n_classes)
        metrics |= cost_metrics(self.pruned, network, self.config.data.pixels)
        ended: Outcome = "collapsed" if metrics["prune/n_collapsed"] > 0 else "completed"
        outcome: Outcome = "stopped" if stopped else ended
        folder = self.workspace.trial(self.config.key)
        if self.validation.answers is None:  # of a trial that goes on after its last epoch
            self.evaluate()
        tables: dict[str, Any] = {EPOCHS: self.history, LAYERS: self.layers, ROUNDS: self.ends}
        args = (self.network, self.config, self.data, self.workspace.cache, self.precision)
        tables |= {SENSITIVITY: measure_sensitivity(*args), PREDICTIONS: self.validation.answers}
        save_results(folder, self.config, network, self.pruned, scored, tables)
        made_on = describe(self.device, self.precision) | {"images": self.data.said}
        return Result(outcome, metrics, scored.units, folder, made_on)

    def evaluate(self) -> dict[str, float]:
        """Accuracy on the validation images, alone and less the dense network's; what is zero."""
        return self.validation.of_all(self.pruned.without_removed()) | self.pruned.amounts()

    def _glance(self) -> dict[str, float]:
        """The same after an epoch: of as many images as `data.val_images_per_epoch` says. Between
        rounds without training of a copy: by the network as it was pruned the next is chosen."""
        network = self.pruned.without_removed()
        if self.config.retrain is None and self.config.recalibrate_images:
            network = self._estimated_anew(copy.deepcopy(network))
        return self.validation.after_epoch(network) | self.pruned.amounts()

    def _note_end(self, metrics: dict[str, float]) -> None:
        if self.config.rounds > 1:
            self.ends.append(end_row(self.pruned, self.n_begun, metrics, self.config.data.pixels))

    def _score(self) -> Scored:
        return score_trial(self.config, self.pruned, self.data, self.workspace.cache)

    def begin_round(self) -> None:
        """Prune, and make ready to train where the trial trains."""
        round_, prune = self.n_begun, self.config.prune
        groups = None if prune is None else choose(self, prune, round_)
        if self.config.rewind == "weights":
            epoch, cache = self.config.rewind_epoch, self.workspace.cache
            load_checkpoint(self.network, dense_path(self.config, self.data, cache, epoch))
        if groups is not None:
            self.pruned.hold(groups)
            self.layers += layer_rows(round_, self.pruned.numbers())
        self.n_begun += 1
        self.training = None if self.config.retrain is None else self._new_training()

    def _new_training(self) -> Training:
        recipe = self.config.recipe_of(self.n_begun - 1)
        if recipe is None:
            raise ValueError("a trial without retraining has nothing to train")
        network = self.pruned.without_removed()
        return Training(
            network,
            self.data.train,
            recipe,
            precision=self.precision,
            held=self.pruned.to_hold(network),
            first_epoch=self.config.rewind_epoch,
            compile=self.compile,
            member=self.member(),
            teacher=load_teacher(self.config, self.data, self.workspace.cache, self.device),
        )

    def member(self) -> Member:
        """This process among those that train; the others are started when they are needed."""
        compute = self.config.compute
        if compute.processes == 1:
            return Member()
        self.crew = self.crew or Crew(self.config.data, compute, self.workspace.cache)
        return self.crew.member

    def close(self) -> None:
        """End the other processes of the trial, where there are any."""
        if self.followed is not None and self.followed.crew is not self.crew:
            self.followed.close()
        if self.crew is not None:
            self.crew.close()
        self.crew = None

    def _take_back(self, network: nn.Module) -> None:
        """What the network without the removed has become, its statistics estimated anew first."""
        self.pruned.take_back(self._estimated_anew(network))

    def _estimated_anew(self, network: nn.Module) -> nn.Module:
        if n_images := self.config.recalibrate_images:
            draw = generator(self.config.seed, "recalibrate")
            recalibrate(network, self.data.train, n_images, draw, precision=self.precision)
        return network

    def state_dict(self) -> dict[str, Any]:
        """All that the rest of the trial depends on; loads with torch.load(weights_only=True)."""
        return {
            "key": self.config.key,
            "network": self.network.state_dict(),
            "keep": self.pruned.keep,
            "training": None if self.training is None else self.training.state_dict(),
            "history": self.history,
            "layers": self.layers,
            "ends": self.ends,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken; ValueError for the state of another trial, or one
        that does not fit the network: then the trial must begin anew."""
        require_state(state, {"key": str, "network": dict, "history": list})
        if state["key"] != self.config.key:
            raise ValueError(f"this trial is {self.config.key}, the state is of {state['key']}")
        require_fit(self.network, state["network"], self.workspace.state(self.config.key))
        if state.get("keep") is not None:
            self.pruned.restore(state["keep"])
        # After the masks: where they are not held, pruned weights have grown back.
        self.network.load_state_dict(state["network"])
        self.history = state["history"]
        self.layers, self.ends = state.get("layers", []), state.get("ends", [])
        done, config = self.epochs_done, self.config
        if done > config.n_epochs or not (config.ends_round(done) or state.get("training")):
            raise ValueError("the state does not fit the epochs of this trial")
        # States are of the ends of epochs: the round of the last one has begun.
        self.n_begun = config.round_of(done - 1)[0] + 1 if done else 0
        self.training = None
        if state.get("training") is not None:
            self.training = self._new_training()
            self.training.load_state_dict(state["training"])

    def save(self) -> None:
        """Write the state to the workspace, whole or not at all. Raises OSError on a full disk."""
        Memo.write(self.workspace.state(self.config.key), self.state_dict())

    def resume(self) -> bool:
        """Go on from the state in the workspace; False, and at the beginning, where there is none.

        One that cannot be read or does not fit is set aside. An error that may pass (no memory, a
        disk or a GPU that fails) is raised, and the state stays.
        """
        path = self.workspace.state(self.config.key)
        state = read_state(path, self.device)
        if state is None:
            return False
        try:
            self.load_state_dict(state)
        except (ValueError, TypeError, LookupError, AttributeError, RuntimeError) as error:
            # Of another version of this program, say; half of it may be loaded by now.
            if may_pass(error):
                raise
            set_aside(path, error)
            self.close()
            self._begin()
            return False
        return True


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

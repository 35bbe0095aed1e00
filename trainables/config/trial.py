"""What a trial is: its stages and its seed. Identity is the config."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

from mis import UnitScore
from trainables.config.effects import require_effects
from trainables.config.network import GivenConfig, NetworkConfig, TrainConfig
from trainables.config.scores import MIS, own_scores, require_scores, unit_scores
from trainables.config.sensitivity import SensitivityConfig
from trainables.config.stages import (
    ComputeConfig,
    DataConfig,
    DissectionConfig,
    PruneConfig,
    ScoreConfig,
)
from trainables.fields import Checked, digest_of, flat, identity, replaced
from trainables.methods import GIVEN, ROTATED
from trainables.network_names import HEADS
from trainables.own_code import Own

KEY_VERSION = 2  # part of every trial key: raise it when old results no longer compare


@dataclass(frozen=True, kw_only=True)
class TrialConfig(Checked):
    """One trial. `prune=None` is the dense network.

    After each round of pruning: `finetune` trains by a recipe of its own; `rewind` goes back in
    the dense network's training, with the weights or with the learning rate alone, and repeats it
    from `rewind_epoch` on (Frankle et al. 2019, arXiv 1903.01611; Renda et al. 2020, arXiv
    2003.02389); neither leaves the network as pruned.
    """

    network: NetworkConfig = NetworkConfig(recipe=TrainConfig())
    data: DataConfig = DataConfig()
    given: GivenConfig | None = None  # scored as it is, beside `network`, the dense one
    prune: PruneConfig | None = None
    finetune: TrainConfig | None = None
    rewind: Literal["none", "weights", "learning_rate"] = "none"
    rewind_epoch: int = 0
    # BatchNorm statistics are re-estimated on so many, after pruning or each epoch of training.
    recalibrate_images: int = 0
    score: ScoreConfig = ScoreConfig()
    dissection: DissectionConfig | None = None
    # Beside "mis": of `mis.UNIT_SCORES`, and "module:Class", one's own.
    scores: tuple[str, ...] = (MIS,)
    scores_code: tuple[str, ...] = ()  # of one's own: filled in when a sweep is planned
    score_every_round: bool = False  # not only at the end
    sensitivity: SensitivityConfig | None = None  # of the dense network's layers, each alone
    compute: ComputeConfig = ComputeConfig()
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(self.recalibrate_images >= 0, "recalibrate_images", "be at least 0")
        if self.retrain is not None and self.retrain.frozen_batchnorm:
            rule = "be 0 with frozen_batchnorm, which keeps the statistics as they are"
            self._require(self.recalibrate_images == 0, "recalibrate_images", rule)
        self._check_classes()
        if self.given is not None:
            alone = self.prune is None and self.retrain is None and not self.recalibrate_images
            rule = "be scored as it is: without prune, finetune, rewind and recalibrate_images"
            self._require(alone, "given", rule)
        if self.sensitivity is not None:
            alone = self.prune is None and self.retrain is None and self.given is None
            rule = "be measured on the dense network: without prune, finetune, rewind and given"
            self._require(alone, "sensitivity", rule)
        if self.score.rotated:
            self._check_rotated()
        require_scores(self.scores, self.scores_code)
        require_effects(self)
        self._check_heads()
        if self.rewind == "none":
            self._require(self.rewind_epoch == 0, "rewind_epoch", "be 0 without rewind")
        else:
            self._check_rewind()

    def _check_rotated(self) -> None:
        if any(part is not None for part in (self.prune, self.retrain, self.given)):
            raise ValueError(
                "score.rotated must be of the dense network as it is, a control: without prune, "
                "finetune, rewind and given"
            )

    def _check_classes(self) -> None:
        network = self.network
        trains = network.recipe is not None and network.head != "kept"
        if network.weights == "imagenet" and self.data.name == "concepts" and not trains:
            raise ValueError(
                "ImageNet weights need an ImageNet folder: network.weights='imagenet' goes with "
                "data.name='image_folder', got 'concepts'; or network.recipe trains a new head"
            )

    def _check_heads(self) -> None:
        prune = self.prune
        if prune is None or not self.network.aux_heads or not prune.by.looks_at_images:
            return
        part = ".conv.conv" if prune.layers == "conv" else ""  # a convolution, and Linear layers
        left = [
            head
            for head in HEADS[self.network.name]
            if not any(f"{head}{part}.".startswith(f"{name}.") for name in prune.exclude)
        ]
        if left:
            raise ValueError(
                f"criterion={prune.ranks_by!r} looks at the network in evaluation, in which "
                f"auxiliary heads do not run: prune.exclude must name {' and '.join(left)}, got "
                f"{prune.exclude}"
            )

    def _check_rewind(self) -> None:
        recipe = self.network.recipe
        self._require(self.finetune is None, "finetune", f"be None with rewind={self.rewind!r}")
        if recipe is None:
            raise ValueError(
                f"rewind={self.rewind!r} repeats the dense network's training: network.recipe must "
                "say how it was trained, got None"
            )
        if self.rewind == "weights" and not self.network.is_trained:
            raise ValueError(
                "rewind='weights' needs an early checkpoint of the dense network, which only "
                "network.weights='train' and network.head='new' have, got "
                f"{self.network.weights!r}; rewind='learning_rate' needs none"
            )
        rule = f"lie in 0 … {recipe.epochs - 1}, within the dense network's {recipe.epochs} epochs"
        self._require(0 <= self.rewind_epoch < recipe.epochs, "rewind_epoch", rule)

    @property
    def method(self) -> str:
        if self.prune is not None:
            return self.prune.method
        if self.given is not None:
            return GIVEN
        if self.score.rotated:
            return ROTATED
        return "untrained" if self.network.weights == "random" else "dense"

    @property
    def rate(self) -> float:
        return 0.0 if self.prune is None else self.prune.nominal_rate

    @property
    def schedule(self) -> str:
        return "none" if self.prune is None else self.prune.schedule

    @property
    def rounds(self) -> int:
        return 1 if self.prune is None else self.prune.rounds

    @property
    def of_masks(self) -> "TrialConfig":
        """The trial that makes the same masks with nothing after them, to which it owes its numbers
        per layer: of one by chance with `prune.counts_of` it is that criterion's own."""
        prune = self.prune
        if prune is not None and prune.counts_of is not None:
            prune = replace(prune, criterion=prune.counts_of, counts_of=None, draw=0)
        after: dict[str, Any] = {"dissection": None, "scores": (MIS,), "scores_code": ()}
        after |= {"score_every_round": False}
        if self.retrain is None:  # what a round ends with, the next is chosen by
            after["recalibrate_images"] = 0
        return replace(self, prune=prune, score=ScoreConfig(), **after)

    @property
    def beside(self) -> list[UnitScore]:
        """The scores beside MIS, as objects."""
        return unit_scores(self.scores, self.scores_code)

    @property
    def own(self) -> tuple[Own, ...]:
        """Code of the user's own that the scores name; that of its stages they know themselves."""
        return own_scores(self.scores, self.scores_code)

    @property
    def retrain(self) -> TrainConfig | None:
        """The recipe that each round trains by, if it trains."""
        return self.finetune if self.rewind == "none" else self.network.recipe

    @property
    def retraining(self) -> str:
        if self.rewind != "none":
            return f"rewind_{self.rewind}"
        if self.finetune is not None:
            return "finetune"
        return "recalibrate" if self.recalibrate_images else "none"

    @property
    def leaves_dense(self) -> bool:
        """Whether it ends with another network than the dense one that it starts from."""
        after = self.prune or self.retrain or self.given or self.recalibrate_images
        return self.network.weights != "random" and bool(after)

    @property
    def epochs_per_round(self) -> int:
        return 0 if self.retrain is None else self.retrain.epochs - self.rewind_epoch

    @property
    def n_epochs(self) -> int:
        return self.rounds * self.epochs_per_round + self.last_epochs

    @property
    def last_epochs(self) -> int:
        """How many more epochs than the others the last round has."""
        return self.retrain.last_epochs if self.retrain is not None else 0

    def recipe_of(self, round_: int) -> TrainConfig | None:
        """The recipe that a round, from 0, trains by, with the epochs that the last has more."""
        recipe = self.retrain
        if recipe is None or round_ < self.rounds - 1:
            return recipe
        return replace(recipe, epochs=recipe.epochs + recipe.last_epochs)

    def round_of(self, epoch: int) -> tuple[int, int]:
        """Of an epoch of the trial: its round, and which epoch of that round; all from 0."""
        round_ = min(epoch // self.epochs_per_round, self.rounds - 1)
        return round_, epoch - round_ * self.epochs_per_round

    def ends_round(self, done: int) -> bool:
        """Whether a round ends after so many epochs of the trial; so it does before the first."""
        if done >= self.rounds * self.epochs_per_round:
            return done == self.n_epochs
        return done % self.epochs_per_round == 0

    @property
    def n_scores(self) -> int:
        """How often the trial's units are scored."""
        return self.rounds if self.score_every_round and self.retrain is not None else 1

    @property
    def key(self) -> str:
        """12 hex digits: the hash of the fields that are not at their defaults."""
        return digest_of({"version": KEY_VERSION, "config": identity(self)})[:12]

    @property
    def label(self) -> str:
        """A name for people: "structured 0.5 iterative", with the seed where it is not 0."""
        name = self.method
        if self.prune is not None:
            name += f" {self.prune.amount} {self.schedule}"
            if self.prune.round_to > 1:
                name += f", channels in {self.prune.round_to}s,"
            if self.prune.criterion != "l1":
                name += f" {self.prune.criterion}"
            if self.prune.counts_of is not None:
                name += f", as many per layer as {self.prune.counts_of}"
            if self.prune.change_of != "loss":
                name += f" of the {self.prune.change_of}"
            if self.prune.by.looks_at_images:
                name += f" {self.prune.samples_per_class} per class"
            if self.prune.draw:
                name += f", draw {self.prune.draw}"
            if self.prune.most_important_first:
                name += " most important first"
            if not self.prune.held:
                name += " not held"
        elif self.sensitivity is not None:
            name += f", each {self.sensitivity.granularity.replace('_', ' ')} layer alone"
        elif self.rewind == "weights":
            name += f" from epoch {self.rewind_epoch} again"
        elif self.retrain is not None:
            name += " retrained"
        if self.rewind != "none" and self.prune is not None:
            name += f", {self.rewind.replace('_', ' ')} rewound"
        if self.method == "untrained":  # recalibrated, or its statistics would mean nothing
            name += "" if self.recalibrate_images or self.finetune else ", as it is"
        elif self.recalibrate_images and self.retrain is None:
            name += ", recalibrated"
        elif self.prune is not None and self.retrain is None:
            name += ", as pruned"
        if self.score.protocol != ScoreConfig.protocol:
            name += f", scored as {self.score.protocol}"
        return name if self.seed == 0 else f"{name} seed {self.seed}"

    def replace(self, overrides: Mapping[str, Any]) -> Self:
        """A copy with fields replaced, named by dotted paths such as "prune.rate".

        Raises ValueError for a name that does not exist and for a value that is refused, or does
        nothing in such a trial; `effects.with_room` lets others rest that do nothing any more.
        """
        return replaced(self, overrides)


def flat_params(config: TrialConfig) -> dict[str, str]:
    """What MLflow shows as the params of a trial's run: the axes, then every field."""
    axes = {
        "method": config.method,
        "rate": config.rate,
        "schedule": config.schedule,
        "criterion": "none" if config.prune is None else config.prune.criterion,
        "retraining": config.retraining,
    }
    # As text, since MLflow has params of text only.
    return {name: _text(value) for name, value in (axes | flat(config)).items()}


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)

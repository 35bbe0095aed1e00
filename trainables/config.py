"""What a trial is: frozen dataclasses, one a stage, checked when built; identity is the config."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from pruning import cumulative_rates
from trainables.fields import PLACE, Checked, digest_of, flat, identity, replaced

KEY_VERSION = 1  # part of every trial key: raise it when old results no longer compare


@dataclass(frozen=True, kw_only=True)
class DataConfig(Checked):
    """Which images. Counts are numbers of images; None takes all that the folder holds."""

    name: Literal["concepts", "image_folder"] = "concepts"
    path: str | None = field(default=None, metadata=PLACE)  # of image_folder: holds train/, val/
    digest: str = ""  # of image_folder: what the folder holds; filled in when a sweep is planned
    pixels: int = 64  # side of the square that the network sees
    train_images: int | None = 4_000
    val_images: int | None = 1_500
    probe_images: int | None = 1_500  # what MIS looks at; from the training distribution
    broken_images: Literal["refuse", "skip"] = "refuse"
    seed: int = 0  # of the generated images, or of the subsets of a folder
    workers: int = field(default=0, metadata=PLACE)  # decoding processes of a folder

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_positive("pixels", "train_images", "val_images", "probe_images")
        self._require(self.workers >= 0, "workers", "be at least 0")
        if self.name == "concepts":
            for name in ("train_images", "val_images", "probe_images"):
                self._require(getattr(self, name) is not None, name, "be a number for concepts")


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Checked):
    """One training recipe: of the dense network, or of fine-tuning (then a round's)."""

    epochs: int = 1  # a round
    batch_size: int = 64
    optimizer: Literal["sgd", "adam", "adamw"] = "adamw"
    lr: float = 1e-3
    momentum: float = 0.9  # sgd only
    nesterov: bool = False  # sgd only
    weight_decay: float = 0.02
    lr_schedule: Literal["constant", "exponential", "cosine"] = "cosine"
    lr_gamma: float = 0.9  # of "exponential": factor an epoch
    warmup: float = 0.0  # fraction of the steps in which lr rises linearly from 0
    aux_weight: float = 0.3  # of each auxiliary head's loss, where the network has them
    label_smoothing: float = 0.0
    clip_norm: float | None = None  # of the gradient, pruned weights left out

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_positive("epochs", "batch_size", "lr", "lr_gamma", "clip_norm")
        self._require(0 <= self.warmup < 1, "warmup", "lie in [0, 1)")
        self._require(self.weight_decay >= 0, "weight_decay", "be at least 0")
        self._require(0 <= self.momentum < 1, "momentum", "lie in [0, 1)")
        self._require(self.momentum > 0 or not self.nesterov, "momentum", "be positive if nesterov")
        self._require(self.aux_weight >= 0, "aux_weight", "be at least 0")
        self._require(0 <= self.label_smoothing < 1, "label_smoothing", "lie in [0, 1)")


@dataclass(frozen=True, kw_only=True)
class NetworkConfig(Checked):
    """The dense network, and where its weights come from."""

    name: Literal["googlenet"] = "googlenet"
    weights: Literal["train", "imagenet", "file", "random"] = "train"  # "random": a control
    checkpoint: str | None = field(default=None, metadata=PLACE)  # of "file": a state_dict
    digest: str = ""  # of "file": sha256 of the checkpoint; filled in when a sweep is planned
    transform_input: bool = False  # of "file": as the network.json beside the checkpoint says
    aux_heads: bool = False
    recipe: TrainConfig | None = None  # of "train"

    def __post_init__(self) -> None:
        super().__post_init__()
        needs = {"train": "recipe", "file": "checkpoint"}.get(self.weights)
        for name in ("recipe", "checkpoint"):
            given = getattr(self, name) is not None
            self._require(given == (name == needs), name, f"fit weights={self.weights!r}")


METHODS: dict[str, dict[str, str]] = {
    "unstructured": {"granularity": "weight", "scope": "global"},
    "unstructured_layerwise": {"granularity": "weight", "scope": "layer"},
    "structured": {"granularity": "filter", "scope": "layer"},
    "structured_global": {"granularity": "filter", "scope": "global"},
    "connection": {"granularity": "input_channel", "scope": "layer"},
    "connection_global": {"granularity": "input_channel", "scope": "global"},
}
"""A method is a choice of granularity and scope, and these are their names."""


@dataclass(frozen=True, kw_only=True)
class PruneConfig(Checked):
    """What is pruned, by which measure, and in how many rounds."""

    granularity: Literal["weight", "filter", "input_channel"] = "weight"
    scope: Literal["global", "layer"] = "global"
    criterion: Literal["l1", "l2", "random"] = "l1"
    rate: float = 0.5  # fraction of the method's groups to prune in the end, in (0, 1)
    schedule: Literal["one_shot", "iterative", "linear", "cubic"] = "one_shot"
    rounds: int = 1
    exclude: tuple[str, ...] = ()  # modules left alone besides the first convolution
    batchnorm_follows: bool = True  # a filter without weights loses its BatchNorm, too
    held: bool = True  # False only to reproduce runs in which masks regrew

    def __post_init__(self) -> None:
        super().__post_init__()
        cumulative_rates(self.schedule, self.rate, self.rounds)

    @property
    def method(self) -> str:
        choice = {"granularity": self.granularity, "scope": self.scope}
        return next(name for name, method in METHODS.items() if method == choice)


@dataclass(frozen=True, kw_only=True)
class ScoreConfig(Checked):
    """The Machine Interpretability Score (Zimmermann et al. 2024; facts.md 2)."""

    similarity: Literal["efficientnet_lite0", "dreamsim", "lpips", "pixels"] = "efficientnet_lite0"
    n_tasks: int = 20
    n_explanations: int = 9  # K, on each side of a task
    leave_out_first_and_last: bool = True  # of the mean; their units are scored all the same

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_positive("n_tasks", "n_explanations")


@dataclass(frozen=True, kw_only=True)
class ComputeConfig(Checked):
    """Where a trial runs. "auto" takes the GPU, and bf16 where the processor has it."""

    device: Literal["auto", "cpu", "cuda"] = field(default="auto", metadata=PLACE)
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    threads: int | None = field(default=None, metadata=PLACE)  # None: what the process has
    eval_batch_size: int = field(default=64, metadata=PLACE)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_positive("threads", "eval_batch_size")


@dataclass(frozen=True, kw_only=True)
class TrialConfig(Checked):
    """One trial. `prune=None` is the dense network, `finetune=None` leaves it as pruned."""

    network: NetworkConfig = NetworkConfig(recipe=TrainConfig())
    data: DataConfig = DataConfig()
    prune: PruneConfig | None = None
    finetune: TrainConfig | None = None
    recalibrate_images: int = 0  # BatchNorm statistics re-estimated on so many after pruning
    score: ScoreConfig = ScoreConfig()
    compute: ComputeConfig = ComputeConfig()
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(self.recalibrate_images >= 0, "recalibrate_images", "be at least 0")
        if self.finetune is not None:  # which re-estimates the statistics anyway
            self._require(self.recalibrate_images == 0, "recalibrate_images", "be 0 with finetune")
        if self.network.weights == "imagenet" and self.data.name == "concepts":
            raise ValueError(
                "ImageNet weights need an ImageNet folder: network.weights='imagenet' goes with "
                "data.name='image_folder', got 'concepts'"
            )

    @property
    def method(self) -> str:
        if self.prune is not None:
            return self.prune.method
        return "untrained" if self.network.weights == "random" else "dense"

    @property
    def rate(self) -> float:
        return 0.0 if self.prune is None else self.prune.rate

    @property
    def schedule(self) -> str:
        return "none" if self.prune is None else self.prune.schedule

    @property
    def rounds(self) -> int:
        return 1 if self.prune is None else self.prune.rounds

    @property
    def retraining(self) -> str:
        if self.finetune is not None:
            return "finetune"
        return "recalibrate" if self.recalibrate_images else "none"

    @property
    def n_epochs(self) -> int:
        return 0 if self.finetune is None else self.rounds * self.finetune.epochs

    @property
    def key(self) -> str:
        """12 hex digits: the hash of the fields that are not at their defaults."""
        return digest_of({"version": KEY_VERSION, "config": identity(self)})[:12]

    @property
    def label(self) -> str:
        """A name for people: "structured 0.5 iterative", with the seed where it is not 0."""
        name = self.method
        if self.prune is not None:
            name += f" {self.rate:g} {self.schedule}"
            if self.prune.criterion != "l1":
                name += f" {self.prune.criterion}"
        elif self.finetune is not None:
            name += " retrained"
        if self.method == "untrained":  # recalibrated, or its statistics would mean nothing
            name += "" if self.recalibrate_images or self.finetune else ", as it is"
        elif self.recalibrate_images:
            name += ", recalibrated"
        elif self.prune is not None and self.finetune is None:
            name += ", as pruned"
        return name if self.seed == 0 else f"{name} seed {self.seed}"

    def replace(self, overrides: Mapping[str, Any]) -> Self:
        """A copy with fields replaced, named by dotted paths such as "prune.rate".

        Raises ValueError for a name that does not exist and for a value that is refused.
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

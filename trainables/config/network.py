"""The dense network of a trial and the recipes of training, checked when they are built."""

from dataclasses import dataclass, field, replace
from typing import Literal

from trainables.fields import PLACE, Checked
from trainables.network_names import is_own, require_name
from trainables.own_code import Own


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
    lr_schedule: Literal["constant", "exponential", "cosine", "step"] = "cosine"
    lr_gamma: float = 0.9  # factor: of "exponential" an epoch, of "step" at each milestone
    lr_milestones: tuple[int, ...] = ()  # of "step": epochs after which lr falls
    warmup: float = 0.0  # fraction of the steps in which lr rises linearly from 0
    aux_weight: float = 0.3  # of each auxiliary head's loss, where the network has them
    label_smoothing: float = 0.0
    clip_norm: float | None = None  # of the gradient, pruned weights left out
    # Of a network with a new head: so many epochs of these train it alone, and nothing else of the
    # network changes; and the learning rate of all else after them, scheduled as lr; None: lr.
    head_epochs: int = 0
    body_lr: float | None = None
    frozen_batchnorm: bool = False  # BatchNorms stay as they are, statistics and parameters
    # Of `finetune`: the dense network teaches; the share of the loss that its logits have, in
    # [0, 1], and the temperature that both are softened by. See `distillation_loss`.
    distill: float = 0.0
    distill_temperature: float = 4.0
    last_epochs: int = 0  # of `finetune` in rounds: so many more after the last of them

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_positive("epochs", "batch_size", "lr", "lr_gamma", "clip_norm", "body_lr")
        rule = f"lie in 0 … {self.epochs}, within the epochs"
        self._require(0 <= self.head_epochs <= self.epochs, "head_epochs", rule)
        self._require(0 <= self.warmup < 1, "warmup", "lie in [0, 1)")
        self._require(self.weight_decay >= 0, "weight_decay", "be at least 0")
        self._require(0 <= self.momentum < 1, "momentum", "lie in [0, 1)")
        self._require(self.momentum > 0 or not self.nesterov, "momentum", "be positive if nesterov")
        self._require(self.aux_weight >= 0, "aux_weight", "be at least 0")
        self._require(0 <= self.label_smoothing < 1, "label_smoothing", "lie in [0, 1)")
        self._require(0 <= self.distill <= 1, "distill", "lie in [0, 1]")
        self._require_positive("distill_temperature")
        self._require(self.last_epochs >= 0, "last_epochs", "be at least 0")
        falls = self.lr_milestones
        self._require(
            (self.lr_schedule == "step") == bool(falls), "lr_milestones", "go with 'step' alone"
        )
        self._require(list(falls) == sorted(set(falls)), "lr_milestones", "rise")
        self._require(min(falls, default=1) > 0, "lr_milestones", "lie above 0")


@dataclass(frozen=True, kw_only=True)
class NetworkConfig(Checked):
    """The dense network, and where its weights come from."""

    # Of torchvision; "timm:NAME"; "package.module:function", one's own that takes num_classes.
    name: str = "googlenet"
    code: str = ""  # of one's own: what its source holds; filled in when a sweep is planned
    weights: Literal["train", "imagenet", "file", "random"] = "train"  # "random": a control
    checkpoint: str | None = field(default=None, metadata=PLACE)  # of "file": a state_dict
    digest: str = ""  # of "file": sha256 of the checkpoint; filled in when a sweep is planned
    entry: str = ""  # of "file": which of several state_dicts in it, such as "model_ema"
    # Of "imagenet" and "file", where the data has other classes than the weights: "new" output
    # layers, trained by `recipe`; or those of the weights "kept" for the data's classes alone,
    # which are WordNet ids of ImageNet's. None: as the weights have it; a planner finds it out.
    head: Literal["new", "kept"] | None = None
    kept_classes: tuple[int, ...] = ()  # of "kept": which of ImageNet's; filled in by a planner
    transform_input: bool = False  # of "file": as the network.json beside the checkpoint says
    aux_heads: bool = False  # of GoogLeNet and Inception
    # How the weights are trained ("train", or a new head), or were: what rewinding the learning
    # rate repeats.
    recipe: TrainConfig | None = None

    @property
    def own(self) -> tuple[Own, ...]:
        """Code of the user's own that is named here."""
        own = Own("network.name", self.name, "network.code", self.code)
        return (own,) if is_own(self.name) else ()

    def __post_init__(self) -> None:
        super().__post_init__()
        require_name(self.name)
        rule = f"fit weights={self.weights!r}"
        self._require((self.checkpoint is not None) == (self.weights == "file"), "checkpoint", rule)
        self._require(self.recipe is not None or self.weights != "train", "recipe", rule)
        self._require(self.recipe is None or self.weights != "random", "recipe", rule)
        rule = "be there to train a new head"
        self._require(self.recipe is not None or self.head != "new", "recipe", rule)
        if is_own(self.name):
            rule = "be 'train', 'random' or 'file': ImageNet weights are torchvision's and timm's"
            self._require(self.weights != "imagenet", "weights", rule)

    @property
    def is_trained(self) -> bool:
        """Whether the dense network is trained here, once, and cached."""
        return self.weights == "train" or self.head == "new"

    @property
    def untrained(self) -> "NetworkConfig":
        """The same network with weights as they are drawn: the control."""
        weights = {"weights": "random", "checkpoint": None, "digest": "", "entry": ""}
        return replace(self, recipe=None, head=None, kept_classes=(), **weights)  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True)
class GivenConfig(Checked):
    """Weights of the trial's network that somebody else pruned, and maybe trained again."""

    path: str = field(default="", metadata=PLACE)  # a state_dict, with zeros or with fewer channels
    digest: str = ""  # of that file; filled in when a sweep is planned
    entry: str = ""  # as `NetworkConfig.entry`

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(bool(self.path), "path", "be a checkpoint")

"""The stages of a trial, each a frozen dataclass that is checked when it is built."""

from dataclasses import dataclass, field, replace
from typing import Literal

from mis import SIMILARITIES
from pruning import (
    CRITERIA,
    GRANULARITIES,
    Criterion,
    LrpRules,
    budget_of,
    cumulative_rates,
    granularity_of,
)
from trainables.config.amount import amount_said, nominal_rate, require_amount
from trainables.config.criteria import criterion_kind, criterion_of
from trainables.config.schedules import own_schedule
from trainables.data_names import is_own_data, require_data_name
from trainables.fields import PLACE, SAID_UNDER, UNSAID, Checked, said_as
from trainables.methods import METHODS
from trainables.network_names import is_own
from trainables.own_code import Own


def evaluation_side(pixels: int) -> int:
    """The shorter side to which evaluation resizes before it crops `pixels` from the middle: a
    crop of ratio 224 / 256, as von Rad & Seuffert evaluate."""
    return round(pixels * 256 / 224)


@dataclass(frozen=True, kw_only=True)
class DataConfig(Checked):
    """Which images. Counts are numbers of images; None takes all that the folder holds."""

    # "concepts", "image_folder", "torchvision:NAME"; "package.module:function", one's own.
    name: str = "concepts"
    path: str | None = field(default=None, metadata=PLACE)  # of a folder, or of torchvision's
    digest: str = ""  # of all but concepts: what they hold; filled in when a sweep is planned
    code: str = ""  # of one's own: what its source holds; filled in when a sweep is planned
    pixels: int = 64  # side of the square that the network sees
    train_images: int | None = 4_000
    val_images: int | None = 1_500
    val_images_per_epoch: int | None = None  # of these, after all epochs but the last; None: all
    probe_images: int | None = 1_500  # what MIS looks at; from the training distribution
    broken_images: Literal["refuse", "skip"] = "refuse"
    seed: int = 0  # of the generated images, or of the subsets of a folder
    val_share: float = 0.2  # of each class, drawn to validate where a folder has no split
    # Side in pixels to which a folder's images are decoded once and kept; None: decoded each time.
    packed: int | None = None
    workers: int = field(default=0, metadata=PLACE)  # decoding processes; of packed images: threads

    @property
    def own(self) -> tuple[Own, ...]:
        """Code of the user's own that is named here."""
        own = Own("data.name", self.name, "data.code", self.code)
        return (own,) if is_own_data(self.name) else ()

    def __post_init__(self) -> None:
        super().__post_init__()
        require_data_name(self.name)
        sets = ("train_images", "val_images", "val_images_per_epoch", "probe_images")
        self._require_positive("pixels", *sets, "packed")
        few = (self.val_images_per_epoch or 0) <= (self.val_images or float("inf"))
        self._require(few, "val_images_per_epoch", f"be at most data.val_images, {self.val_images}")
        enough = self.train_images is None or self.train_images > 1
        self._require(enough, "train_images", "be at least 2: BatchNorm needs more than one image")
        self._require(0 < self.val_share < 1, "val_share", "lie in (0, 1)")
        self._require(self.workers >= 0, "workers", "be at least 0")
        if self.name == "concepts":
            for name in ("train_images", "val_images", "probe_images"):
                self._require(getattr(self, name) is not None, name, "be a number for concepts")
            self._require(self.packed is None, "packed", "be left alone: concepts are drawn packed")
        if is_own_data(self.name):
            self._require(self.path is None, "path", "be None: your function knows where they are")
        if self.packed is not None:
            side = evaluation_side(self.pixels)
            what = f"be at least {side}, the side at which images of {self.pixels} px are evaluated"
            self._require(self.packed >= side, "packed", what)


@dataclass(frozen=True, kw_only=True)
class PruneConfig(Checked):
    """What is pruned, by which criterion, and in how many rounds.

    The settings of criteria stand here under their names in `pruning/criteria/`, each once, so that
    one axis sets them for all criteria that have them; on others they are refused (`effects.py`).
    """

    granularity: str = "weight"  # of `pruning.GRANULARITIES`
    scope: Literal["global", "layer"] = "global"
    criterion: str = "l1"  # of `pruning.CRITERIA`; "module:Class", one's own
    code: str = ""  # of one's own: what its source holds; filled in when a sweep is planned
    samples_per_class: int = 10  # training images per class that a criterion looks at
    change_of: Literal["loss", "logit"] = field(  # of which gradient and Taylor tell the change
        default="loss", metadata={SAID_UNDER: "target"}
    )
    # The importance of a layer is divided by its norm; None: by the usual one, see `norm`.
    normalise: Literal["none", "l1", "l2"] | None = field(
        default=None, metadata=said_as("_norm_said")
    )
    lrp: LrpRules = LrpRules()
    most_important_first: bool = False  # a control: must be worse than random
    # A control of a global ranking: of each layer as much is kept as by this criterion, and chance
    # says what ("random" alone).
    counts_of: str | None = None
    draw: int = 0  # of chance: others are drawn
    # How much is pruned in the end, by one of three; rate is None where another says it.
    rate: float | None = 0.5  # fraction of the method's groups, in (0, 1)
    # "macs=0.5", "params=0.5": a share of the dense network's that the compacted one may cost.
    target: str | None = field(default=None, metadata={SAID_UNDER: "budget"})
    # "LAYER=RATE" of each layer by name, or the path of a table that `sensitivity` wrote, which is
    # read when a sweep is planned; a layer that is not named is left as it is.
    rates: tuple[str, ...] | str = ()
    rates_factor: float = 1.0  # by which all of these are multiplied
    round_to: int = 1  # of filters: each layer is left a multiple of so many channels, rounded up
    schedule: str = "one_shot"  # of `pruning.SCHEDULES`; "module:function", one's own
    schedule_code: str = ""  # of one's own: what its source holds; filled in likewise
    rounds: int = 1
    layers: Literal["conv", "conv+linear"] = "conv"  # what may be pruned; see `prunable_weights`
    biases: bool = False  # whether biases are in the pool of single weights
    exclude: tuple[str, ...] = ()  # modules left alone besides the first layer
    batchnorm_follows: bool = True  # a filter without weights loses its BatchNorm, too
    held: bool = True  # False only to reproduce runs in which masks regrew

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_names()
        self._check_amount()
        self._check_granularity()
        self._require_positive("samples_per_class")
        self._require(self.draw >= 0, "draw", "be at least 0")
        rule = "be None with most_important_first: chance has no order to turn round"
        self._require(self.counts_of is None or not self.most_important_first, "counts_of", rule)

    def _require_names(self) -> None:
        criterion_kind(self.criterion, self.code)
        meant = [name for name, criterion in CRITERIA.items() if not criterion.draws]
        rule = f"be None or one of {', '.join(meant)}, or a criterion of your own"
        legal = self.counts_of is None or self.counts_of in meant or is_own(self.counts_of)
        self._require(legal, "counts_of", rule)
        known = f"be one of {', '.join(GRANULARITIES)}"
        self._require(self.granularity in GRANULARITIES, "granularity", known)

    def _check_granularity(self) -> None:
        granularity = granularity_of(self.granularity)
        for name in {self.criterion, self.ranks_by}:
            criterion_kind(name, self.code).require_granularity(granularity)
        if granularity.rate is not None:
            rule = f"be 'layer' with granularity={self.granularity!r}, in blocks of which it ranks"
            self._require(self.scope == "layer", "scope", rule)
            rule = f"be {granularity.rate:g} with granularity={self.granularity!r}, 1 - N/M"
            fits = self.rate is not None and abs(self.rate - granularity.rate) < 1e-9
            self._require(fits, "rate", rule)

    def _check_amount(self) -> None:
        self._require_positive("rates_factor", "round_to")
        require_amount(self.rate, self.target, self.rates, self.rates_factor)
        amount = 0.5 if self.rate is None else self.rate
        if self.target is not None:
            amount = 1 - budget_of(self.target).share
        self.rates_of_rounds(amount)

    @property
    def nominal_rate(self) -> float:
        """The rate that the trial is listed at: of a budget the share that it takes away, of a
        table of layers the mean of its rates."""
        return nominal_rate(self.rate, self.target, self.rates) * self.rates_factor

    @property
    def amount(self) -> str:
        """How much is pruned, for people: "0.5", "macs=0.5"."""
        return amount_said(self.rate, self.target, self.rates, self.rates_factor)

    @property
    def ranks_by(self) -> str:
        """The criterion that is computed: the own one, or the one it takes counts of."""
        return self.counts_of or self.criterion

    @property
    def by(self) -> Criterion:
        """The same as an object, with its settings."""
        return criterion_of(self.ranks_by, self.code, self)

    @property
    def own(self) -> tuple[Own, ...]:
        """Code of the user's own that is named here."""
        named = (
            Own("prune.criterion", self.ranks_by, "prune.code", self.code),
            Own("prune.schedule", self.schedule, "prune.schedule_code", self.schedule_code),
        )
        return tuple(own for own in named if is_own(own.name))

    def rates_of_rounds(self, rate: float) -> tuple[float, ...]:
        """The cumulative rate after each round, in (0, 1); the last is `rate`.

        Raises ValueError as `cumulative_rates` and `own_schedule`.
        """
        mine = own_schedule(self.schedule, self.schedule_code)
        return cumulative_rates(self.schedule, rate, self.rounds, mine)

    @property
    def norm(self) -> Literal["none", "l1", "l2"]:
        """Name of the norm that the importance of a layer is divided by.

        Where `normalise` says nothing: the usual one of the criterion in a global ranking, none
        elsewhere.
        """
        return self.by.norm(self.scope)

    @property
    def _norm_said(self) -> str | None:
        """`norm` in a trial's key; None, nothing, where there is no norm to speak of."""
        maps = self.ranks_by in ("gradient", "taylor") and self.granularity != "weight"
        # Said there, since such a trial without a norm once ranked by means over positions.
        return None if self.norm == "none" and not (maps and self.scope == "global") else self.norm

    @property
    def method(self) -> str:
        choice = {"granularity": self.granularity, "scope": self.scope}
        return next(name for name, method in METHODS.items() if method == choice)


@dataclass(frozen=True, kw_only=True)
class ScoreConfig(Checked):
    """The Machine Interpretability Score (Zimmermann et al. 2024, arXiv 2402.14859)."""

    similarity: str = "efficientnet_lite0"  # of `mis.SIMILARITIES`; "module:function", one's own
    code: str = ""  # of one's own: what its source holds; filled in when a sweep is planned
    n_tasks: int = 20
    n_explanations: int = 9  # K, on each side of a task
    protocol: Literal[
        "zimmermann2024", "zimmermann2024_hard", "von_rad2024", "von_rad2024_released"
    ] = "zimmermann2024"  # see mis/score/protocols.py
    # Where a unit's activation is taken. Keys are older than reading before the ReLU.
    read_at: Literal["before_relu", "relu"] = field(
        default="before_relu", metadata={UNSAID: "relu"}
    )
    rotated: bool = False  # a control: units are random directions of each layer

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_positive("n_tasks", "n_explanations")
        rule = f"be one of {', '.join(SIMILARITIES)}, or module:function, a similarity of your own"
        legal = self.similarity in SIMILARITIES or is_own(self.similarity)
        self._require(legal, "similarity", rule)

    @property
    def own(self) -> tuple[Own, ...]:
        """Code of the user's own that is named here."""
        own = Own("score.similarity", self.similarity, "score.code", self.code)
        return (own,) if is_own(self.similarity) else ()

    @property
    def by_pixels(self) -> "ScoreConfig":
        """The same with raw pixels as similarity: a control."""
        return replace(self, similarity="pixels", code="")


@dataclass(frozen=True, kw_only=True)
class DissectionConfig(Checked):
    """Network Dissection (Bau et al. 2017, arXiv 1704.05796): units against labelled concepts."""

    concepts: Literal["data", "broden"] = "data"  # the maps of the data set itself, or a folder
    path: str | None = field(default=None, metadata=PLACE)  # of "broden"
    digest: str = ""  # of "broden": what the folder holds; filled in when a sweep is planned
    n_images: int | None = None  # the first so many; None: all that there are
    layers: tuple[str, ...] = ()  # none named: every layer that is scored and has maps
    quantile: float = 0.005  # of a unit's activations are above its threshold
    iou: float = 0.04  # from here on a unit is a detector
    # Cells lie at the centres of their receptive fields, as in the first code of Bau et al.; False:
    # maps are stretched over the picture, as NetDissect-Lite does, and all did before.
    aligned: bool = field(default=True, metadata={UNSAID: False})

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_positive("n_images")
        self._require(0 < self.quantile < 1, "quantile", "lie in (0, 1)")
        self._require(0 < self.iou < 1, "iou", "lie in (0, 1)")
        rule = "be given with concepts='broden', and only with it"
        self._require((self.path is not None) == (self.concepts == "broden"), "path", rule)


@dataclass(frozen=True, kw_only=True)
class ComputeConfig(Checked):
    """Where a trial runs. "auto" takes the GPU, and bf16 where the processor has it."""

    device: Literal["auto", "cpu", "cuda"] = field(default="auto", metadata=PLACE)
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    threads: int | None = field(default=None, metadata=PLACE)  # None: what the process has
    eval_batch_size: int = field(default=64, metadata=PLACE)
    # The training step through torch.compile: "auto" on a GPU alone, "graphs" with CUDA graphs.
    compile: Literal["off", "auto", "default", "graphs"] = field(default="off", metadata=PLACE)
    # That train one network together, a GPU each, on their shares of every batch.
    processes: int = field(default=1, metadata=PLACE)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_positive("threads", "eval_batch_size", "processes")
        self._require((self.threads or 0) <= 4_096, "threads", "be at most 4096")

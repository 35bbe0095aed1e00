"""How much accuracy each layer costs when it alone is pruned: what is measured of a network."""

from dataclasses import dataclass
from typing import Literal

from trainables.config.stages import PruneConfig
from trainables.fields import Checked

RATES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True, kw_only=True)
class SensitivityConfig(Checked):
    """Each layer is pruned alone at each rate, nothing is trained, and accuracy is measured."""

    granularity: Literal["weight", "filter", "input_channel"] = "weight"
    criterion: Literal["l1", "l2", "random"] = "l1"
    rates: tuple[float, ...] = RATES  # of the layer's groups, rising, in (0, 1)
    n_images: int | None = None  # of the validation images, drawn by the seed; None: all
    layers: Literal["conv", "conv+linear"] = "conv"
    exclude: tuple[str, ...] = ()  # modules left alone besides the first layer

    def __post_init__(self) -> None:
        super().__post_init__()
        rising = bool(self.rates) and list(self.rates) == sorted(set(self.rates))
        within = all(0 < rate < 1 for rate in self.rates)
        self._require(rising and within, "rates", "rise, each in (0, 1)")
        self._require_positive("n_images")

    @property
    def prune(self) -> PruneConfig:
        """How a layer is pruned, whatever the rate."""
        return PruneConfig(
            granularity=self.granularity,
            scope="layer",
            criterion=self.criterion,
            layers=self.layers,
            exclude=self.exclude,
        )

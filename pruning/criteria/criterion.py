"""What a criterion is: an object with settings of its own that tells how important groups are."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Generator, Tensor, nn

from pruning.granularity import Granularity, Kind
from pruning.structure import Structure

Batches = Iterable[tuple[Tensor, Tensor]]
"""Normalised images float [batch, 3, h, w] and labels int64 [batch], on the network's device."""

Norm = Literal["none", "l1", "l2"]

NORMS: Mapping[str, int | None] = {"none": None, "l1": 1, "l2": 2}
"""Name -> order of the norm that the importance of a layer is divided by."""


def listed(layers: Sequence[str]) -> str:
    """Names in a sentence that must not become a page."""
    more = f" and {len(layers) - 5} more" if len(layers) > 5 else ""
    return ", ".join(layers[:5]) + more


@dataclass(frozen=True)
class Subject:
    """Whose importance is asked for.

    names: of the parameters of Conv2d and Linear layers whose groups are asked for: their weights,
        and their biases where single weights are.
    batches: for criteria that look at images. generator: on the CPU, for those that draw.
    """

    network: nn.Module
    structure: Structure
    granularity: Granularity
    names: Sequence[str]
    batches: Batches = ()
    generator: Generator | None = None

    def weights(self, names: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Name -> weight on the CPU, of `names` (None: its own). Raises ValueError for weights
        that are not finite."""
        wanted = self.names if names is None else names
        found = {name: self.network.get_parameter(name).detach() for name in wanted}
        for name, weight in found.items():
            # The two ends tell: both are NaN when a weight is.
            if not all(torch.isfinite(end) for end in torch.aminmax(weight)):
                raise ValueError(
                    f"weights must be finite to be ranked, but {name} holds NaN or inf"
                )
        return {name: weight.cpu() for name, weight in found.items()}

    def layers(self) -> dict[str, str]:
        """Name of a parameter -> name of its layer."""
        return {name: name.rpartition(".")[0] for name in self.names}


@dataclass(frozen=True, kw_only=True)
class Criterion(ABC):
    """A way to tell how important groups are. The fields of a subclass are its settings.

    name: what sentences call it; that of the class where it has none. knows: the kinds of
    granularity that it can be asked for. looks_at_images: it needs `Subject.batches`. draws: it
    takes numbers from `Subject.generator`.
    """

    name: ClassVar[str]
    knows: ClassVar[tuple[Kind, ...]] = ("weight", "filter", "input_channel", "n_of_m")
    looks_at_images: ClassVar[bool] = False
    draws: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        if "name" not in cls.__dict__:
            cls.name = cls.__name__

    @abstractmethod
    def importance(self, subject: Subject) -> dict[str, Tensor]:
        """Name of a weight -> importance of each of its groups, on the CPU; the higher is kept.

        In the shape of `Granularity.means`; float64, or exact in the weight's own type.
        """

    def require(self, subject: Subject) -> None:  # noqa: B027
        """Raise ValueError, naming it, for a layer that the criterion cannot speak of. Computes
        nothing: it is asked before anything is launched."""

    def norm(self, scope: str) -> Norm:
        """What the importance of a layer is divided by before layers are compared."""
        return "none"

    @classmethod
    def require_granularity(cls, granularity: Granularity) -> None:
        """Raise ValueError for one that the criterion does not know."""
        if granularity.kind not in cls.knows:
            known = " or ".join(kind.replace("n_of_m", "N:M") for kind in cls.knows)
            raise ValueError(
                f"criterion {cls.name!r} must go with granularity {known}, got {granularity.name!r}"
            )


@dataclass(frozen=True, kw_only=True)
class Scaled(Criterion):
    """A criterion whose layers may be on different scales.

    normalise: the norm that the importance of a layer is divided by; None: `usual_norm` where
    layers are compared, none within a layer, where it changes no order.
    """

    usual_norm: ClassVar[Norm] = "none"
    normalise: Norm | None = None

    def norm(self, scope: str) -> Norm:
        if self.normalise is not None:
            return self.normalise
        return self.usual_norm if scope == "global" else "none"


@dataclass(frozen=True, kw_only=True)
class OfWeights(Scaled):
    """A criterion of single weights: a group is as important as the mean of its weights."""

    @abstractmethod
    def of_weight(self, weight: Tensor) -> Tensor:
        """Importance of each weight, of its shape; in float64 wherever it is rounded."""

    def importance(self, subject: Subject) -> dict[str, Tensor]:
        return {
            name: subject.granularity.means(self.of_weight(weight))
            for name, weight in subject.weights().items()
        }


@dataclass(frozen=True, kw_only=True)
class OfImages(Scaled):
    """A criterion that looks at training images. samples_per_class: at so many of each class."""

    looks_at_images: ClassVar[bool] = True
    samples_per_class: int = 10

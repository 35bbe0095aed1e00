"""What a score of units is: an object that says what it needs and scores a layer's units.

Units are read where MIS reads them. What is scored is the part above 0, which is what a ReLU lets
through: a unit that answers to nothing would otherwise be told by what it does below 0.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Generator, Tensor

Need = Literal["labels", "vectors"]

SHUFFLED = "_shuffled"
"""Ends the name of a column that holds what a value is by chance, where a score knows that itself.
"""
_SAMPLE, _SAMPLE_VALUES = 512, 2**24  # units that are shuffled, and their values at the most


@dataclass(frozen=True)
class Probe:
    """What is known of the images that units are asked about.

    labels: int64 [image]. all_vectors: float32 [image, dimension], in the perceptual space; None
    where no score needs them. rows: int64 [image], those of them that are meant; None: all.
    """

    labels: Tensor
    all_vectors: Tensor | None = None
    rows: Tensor | None = None

    @property
    def vectors(self) -> Tensor | None:
        """float32 [image, dimension], in the perceptual space; None where no score needs them."""
        return None if self.all_vectors is None else self.some_vectors(slice(None))

    def some_vectors(self, images: slice) -> Tensor:
        """Of consecutive images: of a million all together fill a memory. Raises ValueError where
        there are none."""
        if self.all_vectors is None:
            raise ValueError("the score needs the images' vectors: needs = frozenset({'vectors'})")
        return self.all_vectors[images if self.rows is None else self.rows[images]]

    def only(self, images: Tensor) -> "Probe":
        """Of some of the images, bool [image]; nothing is copied."""
        rows = torch.arange(len(self.labels)) if self.rows is None else self.rows
        return Probe(self.labels[images], self.all_vectors, rows[images])


@dataclass(frozen=True, kw_only=True)
class UnitScore(ABC):
    """A way to tell how well units can be understood. The fields of a subclass are its settings.

    name: what tables and metrics call it; that of the class where it has none. values: those of
    its columns that are scores, of which the more is the better. needs: what it must be given.
    """

    name: ClassVar[str]
    values: ClassVar[tuple[str, ...]]
    needs: ClassVar[frozenset[Need]] = frozenset()

    def __init_subclass__(cls) -> None:
        if "name" not in cls.__dict__:
            cls.name = cls.__name__
        if "values" not in cls.__dict__:
            cls.values = (cls.name,)

    def require(self, per_class: Sequence[int]) -> None:  # noqa: B027
        """Raise ValueError, in one sentence, where the images are too few. per_class: how many
        there are of each class. It is asked before anything is launched."""


@dataclass(frozen=True, kw_only=True)
class OfMeans(UnitScore):
    """A score of what units answer to whole images."""

    @abstractmethod
    def of(self, activations: Tensor, probe: Probe) -> dict[str, Tensor]:
        """Column -> [unit]; NaN for a unit that has no such score, as a constant one.

        activations: float32 [image, unit], at least 0: each map's mean of what is above 0.
        """

    def shuffled(
        self, activations: Tensor, probe: Probe, generator: Generator
    ) -> dict[str, tuple[float, float]]:
        """Value -> its mean over units whose activations are shuffled over the images, each in its
        own way, and the mean's standard error: what chance gives, the best of many classes
        included. activations: of at most `sample_size` units."""
        order = torch.rand(activations.shape, generator=generator).argsort(dim=0)
        found = self.of(activations.gather(0, order), probe)
        return {value: mean_and_error(found[value]) for value in self.values}


@dataclass(frozen=True, kw_only=True)
class OfMaps(UnitScore):
    """A score of where in an image units answer; a unit's is the mean over images, each weighted by
    the mean of its map."""

    @abstractmethod
    def of(self, maps: Tensor) -> dict[str, Tensor]:
        """Column -> [image, unit]; NaN where a map has no such score, as one that is 0 throughout.
        A column of a value's name and `SHUFFLED` is that value by chance.

        maps: float32 [image, unit, height, width], at least 0.
        """

    def sums(self, maps: Tensor) -> dict[str, Tensor]:
        """All that `of_sums` needs of these maps, name -> [image, ...]; it may overwrite them. A
        score that overrides both has maps looked at while they are in a processor's cache, and the
        rest done at once."""
        return self.of(maps)

    def of_sums(self, sums: Mapping[str, Tensor], size: Sequence[int]) -> dict[str, Tensor]:
        """What `of` gives of maps of size (height, width) that have these `sums`."""
        return dict(sums)


def sample_size(n_images: int) -> int:
    """Of how many units chance and the error over images are measured: enough for the mean."""
    return min(_SAMPLE, max(16, _SAMPLE_VALUES // n_images))


def mean_and_error(values: Tensor) -> tuple[float, float]:
    """The mean over units that have the value, and its standard error; NaN of none, and of one."""
    known = values[values.isfinite()].double()
    error = known.std() / len(known) ** 0.5 if len(known) > 1 else torch.tensor(torch.nan)
    return float(known.mean()), float(error)

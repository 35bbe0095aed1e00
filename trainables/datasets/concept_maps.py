"""Images with concept maps: what units are dissected against."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from mis.dissection.concepts import ConceptSpec
from trainables.config import DataConfig
from trainables.datasets import concepts
from trainables.datasets.images import Progress
from trainables.fields import digest_of
from trainables.workspace import node_cache

PIXEL_CATEGORIES = ("shape", "texture", "colour")  # of the generated images; scenes are of images

LabelledBatch = tuple[Tensor, Tensor, Tensor, Tensor]
"""ids int64 [batch], images uint8 [batch, 3, height, width], pixel_labels int64 [batch, maps, H, W]
(0 for none, else concept + 1), image_labels bool [batch, concept]; all on the CPU."""


class ConceptSource(Protocol):
    """Images of one size with concept maps of one size."""

    @property
    def spec(self) -> ConceptSpec: ...

    @property
    def digest(self) -> str:
        """Changes when any image or map does."""
        ...

    def __len__(self) -> int: ...

    def batches(self, batch_size: int) -> Iterator[LabelledBatch]:
        """All images, in the same order at every call."""
        ...


def generated_concepts(
    config: DataConfig, cache: Path, progress: Progress | None = None
) -> ConceptSource:
    """The probe images of the generated data set, with the maps that they were drawn with.

    Every object's pixels show its shape, texture and colour; the scene is on the whole image.
    Raises ValueError for another data set, and OSError when the disk has no room for the cache.
    """
    if config.name != "concepts":
        raise ValueError(
            f"only the generated images come with concept maps: data.name must be 'concepts', "
            f"got {config.name!r}"
        )
    count = config.probe_images or 0
    root = node_cache(cache)
    drawn = concepts.load(
        "probe", count, seed=config.seed, pixels=config.pixels, root=root, progress=progress
    )
    names = [
        (category, name) for category in concepts.CONCEPTS for name in concepts.CONCEPTS[category]
    ]
    depends_on = ["concept maps", concepts.VERSION, "probe", count, config.seed, config.pixels]
    return _Generated(
        drawn,
        ConceptSpec(tuple(name for _, name in names), tuple(category for category, _ in names)),
        digest_of(depends_on)[:16],
    )


@dataclass(frozen=True)
class _Generated:
    drawn: concepts.ConceptImages
    spec: ConceptSpec
    digest: str

    def __len__(self) -> int:
        return len(self.drawn.labels)

    def batches(self, batch_size: int) -> Iterator[LabelledBatch]:
        first = [self.spec.category.index(category) for category in (*PIXEL_CATEGORIES, "scene")]
        for ids in torch.arange(len(self)).split(batch_size):
            rows = slice(int(ids[0]), int(ids[-1]) + 1)
            maps = [getattr(self.drawn, category)[rows] for category in PIXEL_CATEGORIES]
            labels = torch.from_numpy(np.stack(maps, axis=1).astype(np.int64))
            before = torch.tensor(first[:-1])[:, None, None]
            labels += before * (labels > 0)
            scenes = torch.zeros(len(ids), len(self.spec.names), dtype=torch.bool)
            scene = torch.from_numpy(self.drawn.scene[rows].astype(np.int64)) - 1 + first[-1]
            scenes[torch.arange(len(ids)), scene] = True
            images = torch.from_numpy(self.drawn.images[rows].copy()).permute(0, 3, 1, 2)
            yield ids, images, labels, scenes

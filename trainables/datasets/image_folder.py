"""Pictures decoded when they are asked for, by threads."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torchvision.transforms.v2 import functional as F

from trainables.config import evaluation_side
from trainables.datasets.crops import random_crops
from trainables.datasets.files import Pictures
from trainables.datasets.images import ImageSet, Progress
from trainables.datasets.regular import UnreadableError
from trainables.datasets.threads import prepared


def find_broken(
    files: Pictures, ids: Sequence[int], workers: int, progress: Progress | None = None
) -> dict[int, str]:
    """Which of the images cannot be decoded to their end, and why: each is decoded once.

    Raises ValueError for one that has changed since it was listed, OSError for a disk that is away.
    """

    def look(i: int) -> str | None:
        try:
            files.read(i)
        except UnreadableError as error:
            return error.why
        return None

    broken = {}
    for n, (i, why) in enumerate(zip(ids, prepared(look, ids, workers), strict=True), start=1):
        if why is not None:
            broken[i] = why
        if progress is not None and (n % 100 == 0 or n == len(ids)):
            progress(n, len(ids))
    return broken


@dataclass(frozen=True)
class FolderImages(ImageSet):
    """Image files, augmented by random resized crop and flip.

    workers: threads that decode; 0 decodes each image when it is asked for. Raises ValueError,
    naming the file, when one cannot be read or has changed since it was listed.
    """

    files: Pictures
    labels: Tensor
    digest: str
    pixels: int
    workers: int = 0

    def draw(self, batches: Sequence[Tensor], generator: Generator) -> Tensor:
        """A seed for each image."""
        return torch.randint(2**62, (sum(map(len, batches)), 1), generator=generator)

    def read(self, ids: Tensor, drawn: Tensor | None = None) -> Tensor:
        seeds = [None] * len(ids) if drawn is None else drawn[:, 0].tolist()
        return torch.stack([self._view(i, s) for i, s in zip(ids.tolist(), seeds, strict=True)])

    def _view(self, i: int, seed: int | None) -> Tensor:
        """uint8 [3, pixels, pixels]; augmented from a seed of the image's own, else the middle."""
        image = self.files.read(i)
        size = [self.pixels, self.pixels]
        if seed is None:
            image = F.resize(image, [evaluation_side(self.pixels)], antialias=True)
            return F.pil_to_tensor(F.center_crop(image, size))
        draw = Generator().manual_seed(seed)
        shape = torch.tensor([[image.height, image.width]])
        top, left, height, width = random_crops(shape, draw)[0].tolist()
        image = F.resized_crop(image, top, left, height, width, size, antialias=True)
        if float(torch.rand(1, generator=draw)) < 0.5:
            image = F.horizontal_flip(image)
        return F.pil_to_tensor(image)

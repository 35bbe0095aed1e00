"""Image sets: what training, evaluation and scores read their images from."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from trainables.datasets.threads import prepared

T = TypeVar("T")

# Of ImageNet, as torchvision's weights expect them; used for every data set alike.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

Batch = tuple[Tensor, Tensor, Tensor]
"""ids int64 [batch] (CPU), images uint8 [batch, 3, height, width], labels int64 [batch]."""

Share = tuple[int, int]
"""(i, n): of every batch each n-th image, from the i-th on."""

WHOLE: Share = (0, 1)

Progress = Callable[[int, int], None]
"""Called with (done, total) while something long runs."""


class ImageSet(ABC):
    """Labelled images of one size. A kind of set knows the pixels of its images, and no batches.

    digest: changes when any image or label does. labels: int64 [image]. workers: threads that
    prepare batches; 0 prepares each when it is asked for.
    """

    digest: str
    labels: Tensor
    workers: int = 0

    def __len__(self) -> int:
        return len(self.labels)

    @abstractmethod
    def draw(self, batches: Sequence[Tensor], generator: Generator) -> Tensor:
        """What augmentation does to each image: int64 [image, number], of all batches (ids)."""

    @abstractmethod
    def read(self, ids: Tensor, drawn: Tensor | None = None) -> Tensor:
        """uint8 [image, 3, height, width]; as they are where nothing was drawn for them."""

    def batches(
        self,
        order: Tensor,
        batch_size: int,
        *,
        augment: Generator | None = None,
        share: Share = WHOLE,
    ) -> Iterator[Batch]:
        """The images `order` (int64 ids) in the batches of `split_batches`, or a share of each.

        augment: a CPU generator to draw augmentations from; None leaves the images as they are.
        All shares together are what one generator gives for the whole.
        """
        return self.batches_by(self.read, order, batch_size, augment, share)

    def batches_by(
        self,
        read: Callable[[Tensor, Tensor | None], T],
        order: Tensor,
        batch_size: int,
        augment: Generator | None = None,
        share: Share = WHOLE,
    ) -> Iterator[tuple[Tensor, T, Tensor]]:
        """As `batches`, with what `read` makes of ids and what was drawn in place of pixels."""
        first, n_shares = share
        whole = split_batches(order, batch_size, n_shares)
        batches = [ids[first::n_shares] for ids in whole]
        drawn: list[Tensor | None] = [None] * len(batches)
        if augment is not None:
            each = self.draw(whole, augment).split([len(ids) for ids in whole])
            drawn = [numbers[first::n_shares] for numbers in each]

        def prepare(of: tuple[Tensor, Tensor | None]) -> tuple[Tensor, T, Tensor]:
            ids, numbers = of
            return ids, read(ids, numbers), self.labels[ids]

        return prepared(prepare, list(zip(batches, drawn, strict=True)), self.workers)


@dataclass(frozen=True)
class Data:
    """The three image sets of a study."""

    train: ImageSet
    val: ImageSet
    probe: ImageSet  # what the scores look at; no images of val
    class_names: tuple[str, ...]
    said: str = ""  # for people: what is there, and what was left out

    @property
    def n_classes(self) -> int:
        return len(self.class_names)


def split_batches(order: Tensor, batch_size: int, n_shares: int = 1) -> list[Tensor]:
    """Cut `order` into batches; a last image on its own joins the batch before it.

    BatchNorm cannot train on one image where a map is one pixel (GoogLeNet's last at 32 px). Where
    batches are shared each share has two.
    """
    batches = list(order.split(batch_size))
    if len(batches) > 1 and len(batches[-1]) < 2 * n_shares <= batch_size:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


def normalise(images: Tensor) -> Tensor:
    """uint8 [batch, 3, h, w] to float32, ImageNet mean 0 and deviation 1, channels last."""
    mean, std = _mean_and_std(images.device)
    floats = images.to(torch.float32, memory_format=torch.channels_last)
    return floats.sub_(mean).div_(std)


@cache
def _mean_and_std(device: torch.device) -> tuple[Tensor, Tensor]:
    """Of a byte, [3, 1, 1]; once per device, since a copy to a GPU waits for all that it does."""
    with torch.inference_mode(False):
        mean, std = (torch.tensor(values).mul(255).view(3, 1, 1) for values in (MEAN, STD))
        return mean.to(device), std.to(device)


@dataclass(frozen=True)
class ArrayImages(ImageSet):
    """Images in one (memory-mapped) array; augmented by a flip and a shift.

    images: uint8 [image, height, width, 3]; labels: int64 [image].
    """

    images: np.ndarray
    labels: Tensor
    digest: str
    shift: int = 4  # pixels, at the most, in each direction

    def draw(self, batches: Sequence[Tensor], generator: Generator) -> Tensor:
        return torch.cat([draw_shifts(len(ids), self.shift, generator) for ids in batches])

    def read(self, ids: Tensor, drawn: Tensor | None = None) -> Tensor:
        images = torch.from_numpy(self.images[ids.numpy()]).permute(0, 3, 1, 2)
        return images if drawn is None else flip_and_shift(images, self.shift, drawn)


def draw_shifts(n: int, shift: int, generator: Generator) -> Tensor:
    """For `flip_and_shift`: int64 [n, 3], 0 … 2 shift down and right, and whether to mirror."""
    moved = torch.randint(0, 2 * shift + 1, (2, n), generator=generator)
    mirrored = torch.rand(n, generator=generator) < 0.5
    return torch.stack([*moved, mirrored.long()], 1)


def flip_and_shift(images: Tensor, shift: int, drawn: Tensor) -> Tensor:
    """Mirror some of the images and move each by up to `shift` pixels, its border reflected.

    images: [batch, channel, height, width] of any dtype. drawn: of `draw_shifts`. One gather, so
    that each image is moved by its own amount without a loop.
    """
    n, _, height, width = images.shape
    padded = F.pad(images.float(), (shift,) * 4, mode="reflect").to(images.dtype)
    down, right, mirrored = drawn[:, :, None].unbind(1)
    rows = torch.arange(height) + down
    columns = torch.arange(width) + right
    columns = torch.where(mirrored.bool(), columns.flip(1), columns)
    return padded[torch.arange(n)[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(
        0, 3, 1, 2
    )

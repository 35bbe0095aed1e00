"""The images of a folder from a pack: cropped, resized and mirrored by threads or by a GPU."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Generator, Tensor
from torchvision.transforms.v2 import functional as F

from trainables.config import evaluation_side
from trainables.datasets.ahead import prepared, to_device
from trainables.datasets.crops import middle_crops, random_crops
from trainables.datasets.images import WHOLE, Batch, Share, split_batches
from trainables.datasets.pack import Pack
from trainables.datasets.resampling import resize_crops

T = TypeVar("T")


@dataclass(frozen=True)
class Parts:
    """What is seen of each image of a batch, before it is resized.

    pictures: uint8 [image, height, width, 3], each in the upper left corner, the rest arbitrary.
    sizes: int64 [image, 2]; mirrored: bool [image].
    """

    pictures: Tensor
    sizes: Tensor
    mirrored: Tensor
    pixels: int

    def finished(self, device: torch.device) -> Tensor:
        """uint8 [image, 3, pixels, pixels] on the device."""
        return resize_crops(
            to_device(self.pictures, device),
            to_device(self.sizes, device),
            to_device(self.mirrored, device),
            self.pixels,
        )


@dataclass(frozen=True)
class PackedImages:
    """Images of a pack; augmented by random resized crop and flip.

    As they are they equal the files' own, to the bit, where the pack's side is
    `evaluation_side(pixels)`.

    workers: threads that prepare batches; 0 prepares each when it is asked for.
    """

    pack: Pack
    labels: Tensor
    digest: str
    pixels: int
    workers: int = 0

    def __len__(self) -> int:
        return len(self.labels)

    def batches(
        self,
        order: Tensor,
        batch_size: int,
        *,
        augment: Generator | None = None,
        share: Share = WHOLE,
    ) -> Iterator[Batch]:
        return self._read(self._views, order, batch_size, augment, share)

    def raw_batches(
        self,
        order: Tensor,
        batch_size: int,
        *,
        augment: Generator | None = None,
        share: Share = WHOLE,
    ) -> Iterator[tuple[Tensor, Parts, Tensor]]:
        """The same crops as `batches` draws, for a GPU to resize (`Parts.finished`)."""
        return self._read(self._parts, order, batch_size, augment, share)

    def _read(
        self,
        show: Callable[[Tensor, Tensor, Tensor], T],
        order: Tensor,
        batch_size: int,
        augment: Generator | None,
        share: Share,
    ) -> Iterator[tuple[Tensor, T, Tensor]]:
        shapes = torch.from_numpy(self.pack.shapes[order.numpy()]).long()
        mirrored = torch.zeros(len(order), dtype=torch.bool)
        if augment is None:
            larger = self.pack.side / evaluation_side(self.pixels)
            crops = middle_crops(shapes, round(self.pixels * larger))
        else:
            crops = random_crops(shapes, augment)
            mirrored = torch.rand(len(order), generator=augment) < 0.5

        def prepare(chosen: Tensor) -> tuple[Tensor, T, Tensor]:
            ids = order[chosen]
            return ids, show(ids, crops[chosen], mirrored[chosen]), self.labels[ids]

        first, n_shares = share
        whole = split_batches(torch.arange(len(order)), batch_size, n_shares)
        return prepared(prepare, [batch[first::n_shares] for batch in whole], self.workers)

    def _views(self, ids: Tensor, crops: Tensor, mirrored: Tensor) -> Tensor:
        """uint8 [image, 3, pixels, pixels], channels last."""
        size = [self.pixels, self.pixels]
        views = torch.empty(len(ids), *size, 3, dtype=torch.uint8).permute(0, 3, 1, 2)
        for view, i, crop, flip in zip(
            views, ids.tolist(), crops.tolist(), mirrored.tolist(), strict=True
        ):
            top, left, height, width = crop
            # The part is copied out of the map: torch takes no read-only memory.
            part = self.pack.image(i)[top : top + height, left : left + width].copy()
            image = torch.from_numpy(part).permute(2, 0, 1)
            if (height, width) != (self.pixels, self.pixels):
                image = F.resize(image, size, antialias=True)
            view.copy_(image.flip(2) if flip else image)
        return views

    def _parts(self, ids: Tensor, crops: Tensor, mirrored: Tensor) -> Parts:
        sizes = crops[:, 2:]
        # Pinned, a batch goes to a GPU while the one before it is worked on.
        room = (len(ids), *sizes.amax(0).tolist(), 3)
        pictures = torch.empty(room, dtype=torch.uint8, pin_memory=torch.cuda.is_available())
        for picture, i, crop in zip(pictures.numpy(), ids.tolist(), crops.tolist(), strict=True):
            top, left, height, width = crop
            whole = self.pack.image(i)
            picture[:height, :width] = whole[top : top + height, left : left + width]
        return Parts(pictures, sizes, mirrored, self.pixels)

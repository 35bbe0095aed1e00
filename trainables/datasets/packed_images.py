"""The images of a folder from a pack: cropped, resized and mirrored by threads or by a GPU."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torchvision.transforms.v2 import functional as F

from trainables.config import evaluation_side
from trainables.datasets.ahead import to_device
from trainables.datasets.crops import middle_crops, random_crops
from trainables.datasets.images import ImageSet
from trainables.datasets.pack import Pack
from trainables.datasets.resampling import resize_crops


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
class PackedImages(ImageSet):
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

    def draw(self, batches: Sequence[Tensor], generator: Generator) -> Tensor:
        """top, left, height and width of a crop, and whether it is mirrored."""
        shapes = self._shapes(torch.cat(list(batches)))
        crops = random_crops(shapes, generator)
        mirrored = torch.rand(len(shapes), generator=generator) < 0.5
        return torch.cat([crops, mirrored[:, None].long()], 1)

    def _shapes(self, ids: Tensor) -> Tensor:
        return torch.from_numpy(self.pack.shapes[ids.numpy()]).long()

    def _middle(self, ids: Tensor) -> Tensor:
        """As `draw`: what evaluation sees of each image."""
        larger = self.pack.side / evaluation_side(self.pixels)
        crops = middle_crops(self._shapes(ids), round(self.pixels * larger))
        return torch.cat([crops, torch.zeros(len(ids), 1, dtype=torch.int64)], 1)

    def read(self, ids: Tensor, drawn: Tensor | None = None) -> Tensor:
        """uint8 [image, 3, pixels, pixels], channels last."""
        drawn = self._middle(ids) if drawn is None else drawn
        size = [self.pixels, self.pixels]
        views = torch.empty(len(ids), *size, 3, dtype=torch.uint8).permute(0, 3, 1, 2)
        for view, i, crop in zip(views, ids.tolist(), drawn.tolist(), strict=True):
            top, left, height, width, flip = crop
            # The part is copied out of the map: torch takes no read-only memory.
            part = self.pack.image(i)[top : top + height, left : left + width].copy()
            image = torch.from_numpy(part).permute(2, 0, 1)
            if (height, width) != (self.pixels, self.pixels):
                image = F.resize(image, size, antialias=True)
            view.copy_(image.flip(2) if flip else image)
        return views

    def read_raw(self, ids: Tensor, drawn: Tensor | None = None) -> Parts:
        """The same crops as `read` gives, for a GPU to resize (`Parts.finished`)."""
        drawn = self._middle(ids) if drawn is None else drawn
        sizes = drawn[:, 2:4]
        # Pinned, a batch goes to a GPU while the one before it is worked on.
        room = (len(ids), *sizes.amax(0).tolist(), 3)
        pictures = torch.empty(room, dtype=torch.uint8, pin_memory=torch.cuda.is_available())
        for picture, i, crop in zip(pictures.numpy(), ids.tolist(), drawn.tolist(), strict=True):
            top, left, height, width, _ = crop
            whole = self.pack.image(i)
            picture[:height, :width] = whole[top : top + height, left : left + width]
        return Parts(pictures, sizes, drawn[:, 4].bool(), self.pixels)

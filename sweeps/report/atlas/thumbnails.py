"""Small pictures in sheets, made once for a set of images: a page of thousands loads few files."""

import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from trainables.datasets.images import ImageSet
from trainables.memo import Memo
from trainables.workspace import whole_file

ACROSS = 8  # pictures of a sheet side by side, and as many rows: a screen shows few of many sheets
PER_SHEET = ACROSS * ACROSS
SIDES = (96, 64, 48, 32)  # pixels; multiples of the 16 that JPEG codes together, so none bleeds
_QUALITY = 86
_BATCH = 256
_TRIED = 4 * PER_SHEET  # images of which the bytes of all are told
_VERSION = 1  # raise it when the sheets of the same images change


def sheet_names(stem: str, n_images: int) -> list[str]:
    return [f"{stem}-{number:04}.jpg" for number in range(-(-n_images // PER_SHEET))]


class Sizes:
    """How many bytes pictures of a set take in sheets, told by a few of them."""

    def __init__(self, images: ImageSet) -> None:
        self.images, self._each = images, dict[int, float]()
        self.native = images.read(torch.zeros(1, dtype=torch.int64)).shape[-1]

    def each(self, side: int) -> float:
        if side not in self._each:
            n = len(self.images)
            some = torch.linspace(0, n - 1, min(_TRIED, n)).long()
            pictures = small_pictures(self.images, some, side)
            written = sum(len(_encoded(sheet)) for sheet in _sheets(pictures))
            self._each[side] = written / len(some)
        return self._each[side]

    def largest(self, n: int, n_bytes: float) -> int | None:
        """The largest side at which n pictures take no more bytes, and are no larger than the
        images; None where the smallest do not fit."""
        for side in SIDES:
            too_large = side > self.native and side != SIDES[-1]
            if not too_large and n * self.each(side) <= n_bytes:
                return side
        return None


def write_thumbnails(
    folder: Path, stem: str, images: ImageSet, ids: Tensor, side: int, cache: Path
) -> list[str]:
    """Sheets of images, in the order of ids; their names in `folder`.

    They are kept in the cache, where the next report of these images finds them.
    """
    depends_on = [_VERSION, images.digest, side, ids.tolist()]
    kept = Memo(cache).path("thumbnails", depends_on, suffix="")
    names = sheet_names(stem, len(ids))
    missing = [name for name in names if not (kept / name).is_file()]
    if missing:
        kept.mkdir(parents=True, exist_ok=True)
        for name, sheet in zip(names, _sheets(small_pictures(images, ids, side)), strict=True):
            with whole_file(kept / name) as partial:
                partial.write_bytes(_encoded(sheet))
    for name in names:
        shutil.copyfile(kept / name, folder / name)
    return names


def write_sheets(folder: Path, stem: str, pictures: Iterator[np.ndarray], n: int) -> list[str]:
    """Sheets of n pictures, uint8 [side, side, 3] each; their names."""
    names = sheet_names(stem, n)
    for name, sheet in zip(names, _sheets(pictures), strict=True):
        (folder / name).write_bytes(_encoded(sheet))
    return names


def small_pictures(images: ImageSet, ids: Tensor, side: int) -> Iterator[np.ndarray]:
    """uint8 [side, side, 3] of each image."""
    for _, pixels, _ in images.batches(ids, _BATCH):
        yield from resized(pixels, side)


def resized(pixels: Tensor, side: int) -> np.ndarray:
    """uint8 [image, side, side, 3] of uint8 [image, 3, height, width]."""
    if pixels.shape[-1] != side:
        size = (side, side)
        small = F.interpolate(pixels.float(), size, mode="bilinear", antialias=True)
        pixels = small.round().clamp(0, 255).byte()
    return pixels.permute(0, 2, 3, 1).numpy()


def _sheets(pictures: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    waiting: list[np.ndarray] = []
    for picture in pictures:
        waiting.append(picture)
        if len(waiting) == PER_SHEET:
            yield _sheet(waiting)
            waiting = []
    if waiting:
        yield _sheet(waiting)


def _sheet(pictures: list[np.ndarray]) -> np.ndarray:
    side = pictures[0].shape[0]
    rows = -(-len(pictures) // ACROSS)
    sheet = np.zeros((rows * side, ACROSS * side, 3), np.uint8)
    for place, picture in enumerate(pictures):
        y, x = divmod(place, ACROSS)
        sheet[y * side : (y + 1) * side, x * side : (x + 1) * side] = picture
    return sheet


def _encoded(sheet: np.ndarray) -> bytes:
    written = io.BytesIO()
    Image.fromarray(sheet).save(written, "jpeg", quality=_QUALITY, optimize=True)
    return written.getvalue()

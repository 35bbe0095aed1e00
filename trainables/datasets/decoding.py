"""One picture: a file brought to 8-bit RGB, in the same way for all that read pictures."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION, TiffImageFile

from trainables.datasets.names import shown
from trainables.datasets.regular import UnreadableError, mark_of, opened

# What is tried, whatever the file's name ends in. Not EPS and others that other programs decode.
FORMATS = ("JPEG", "PNG", "PPM", "BMP", "DIB", "TIFF", "WEBP", "GIF", "AVIF", "JPEG2000")
MOST_RATIO = (
    100  # longer side / shorter side: beyond, a picture resized by its shorter side is huge
)
_PNG, _WHITE = b"\x89PNG\r\n\x1a\n", 255


def read_picture(path: Path | str, mark: int | None = None) -> Image.Image:
    """The first picture of a file, as 8-bit RGB; as torchvision reads it but for what that spoils.

    Orientation tags, colour profiles and gamma are left alone, as torchvision does. Transparent
    pixels lie on white; 16-bit grey is scaled to 8 bits. Refused are 32-bit and floating-point
    pixels, whose black and white nobody knows, sides of a ratio over MOST_RATIO, and more pixels
    than Pillow opens.

    mark: `mark_of` the file when it was listed. Raises UnreadableError, with the file's name, for
    what cannot be read; ValueError for a file that has changed; and OSError for what may pass.
    """
    try:
        picture = _opened(path, to_rgb)
    except UnreadableError:
        _require_same(path, mark)
        raise
    _require_same(path, mark)
    return picture


def _require_same(path: Path | str, mark: int | None) -> None:
    try:
        if mark is None or mark_of(path) == mark:
            return
    except UnreadableError:
        pass  # it is gone
    raise ValueError(
        f"the images must stay as they were when the sweep was planned, {shown(path)} has changed; "
        "plan it anew"
    )


def read_channels(path: Path | str) -> Image.Image:
    """The first picture of a file as it is, for numbers in its channels. Raises UnreadableError."""

    def as_it_is(picture: Image.Image) -> Image.Image:
        picture.load()
        return picture.copy()

    return _opened(path, as_it_is)


def _opened(path: Path | str, use: Callable[[Image.Image], Image.Image]) -> Image.Image:
    try:
        with opened(path) as descriptor, os.fdopen(descriptor, "rb", closefd=False) as file:
            return _decoded(file, use)
    except UnreadableError as error:
        raise UnreadableError(error.why, path) from error
    except OSError as error:  # which may pass
        said = f"the disk must give {shown(path)}, it does not: {error.strerror}"
        raise OSError(error.errno, said) from error


def _decoded(file: IO[bytes], use: Callable[[Image.Image], Image.Image]) -> Image.Image:
    try:
        if file.read(len(_PNG)) == _PNG:  # Pillow shows a damaged one as far as it can make it out
            Image.open(file, formats=FORMATS).verify()
        file.seek(0)
        with Image.open(file, formats=FORMATS) as picture:
            require_shape(picture.size)
            return use(picture)
    except (UnreadableError, MemoryError):
        raise
    except Exception as error:
        # Whatever Pillow raises: each format has its own. With a number it is the disk's.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        said = (str(error).splitlines() or [type(error).__name__])[0]
        # Pillow names its own object, which says nothing, where no format knows the file.
        unknown = isinstance(error, Image.UnidentifiedImageError)
        raise UnreadableError("of no known format" if unknown else shown(said)) from error


def require_shape(size: tuple[int, int]) -> None:
    """Raise UnreadableError for a width and height that are too far apart."""
    width, height = size
    if max(size) > MOST_RATIO * min(size):
        raise UnreadableError(
            f"its sides are {height} x {width} pixels, of a ratio over {MOST_RATIO}"
        )


def to_rgb(picture: Image.Image) -> Image.Image:
    """8-bit RGB of any mode. Raises UnreadableError where black and white are not known."""
    if picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format == "PPM"):
        return _from_16_bits(picture)
    if picture.mode in ("I", "F"):
        kind = "signed or 32-bit" if picture.mode == "I" else "floating-point"
        raise UnreadableError(
            f"its pixels are {kind} numbers, and nothing says which are black and white; save it "
            "with 8 or 16 bits"
        )
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    layered = picture.convert("RGBA")
    if layered.getchannel("A").getextrema() == (_WHITE, _WHITE):
        return layered.convert("RGB")
    ground = Image.new("RGBA", layered.size, (_WHITE, _WHITE, _WHITE, _WHITE))
    return Image.alpha_composite(ground, layered).convert("RGB")


def _from_16_bits(picture: Image.Image) -> Image.Image:
    values = np.asarray(picture).astype(np.int64)
    white, is_negative = 65_535, False
    if isinstance(picture, TiffImageFile):
        white = 2 ** picture.tag_v2.get(BITSPERSAMPLE, (16,))[0] - 1  # 12 bits are read as they are
        is_negative = picture.tag_v2.get(PHOTOMETRIC_INTERPRETATION) == 0
    grey = ((values * 255 + white // 2) // white).clip(0, 255).astype(np.uint8)
    if is_negative:  # Pillow turns round those of 8 bits alone
        grey = _WHITE - grey
    clear = picture.info.get("transparency")  # one value, of a PNG
    if isinstance(clear, int):
        grey[values == clear] = _WHITE
    return Image.fromarray(grey).convert("RGB")

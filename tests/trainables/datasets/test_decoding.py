"""Odd pictures: each is read in one way, plain and packed, or refused by name."""

import os
import struct
import threading
import zlib

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from trainables.config import evaluation_side
from trainables.datasets.decoding import read_picture
from trainables.datasets.files import files_of
from trainables.datasets.image_folder import FolderImages, find_broken
from trainables.datasets.pack import BrokenImagesError, open_pack
from trainables.datasets.packed_images import PackedImages
from trainables.datasets.regular import UnreadableError, mark_of

RAMP = np.linspace(0, 65_535, 40 * 50).reshape(40, 50).astype(np.uint16)
GREY = np.round(RAMP / 257).astype(np.uint8)  # what 16 bits are as 8


def rgb(grey):
    return np.repeat(grey[..., None], 3, axis=2)


def png(path, values, bits, kind, extra=b""):
    """A PNG written by hand: Pillow writes neither 16-bit colour nor what is wrong."""
    height, width = values.shape[:2]

    def chunk(name, data, crc=None):
        crc = zlib.crc32(name + data) if crc is None else crc
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", crc)

    dtype = ">u2" if bits == 16 else "u1"
    rows = b"".join(b"\0" + row.astype(dtype).tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    data = chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(rows))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data + chunk(b"IEND", b""))


def grey_16(path):
    png(path.with_suffix(".png"), RAMP, 16, 0)
    return path.with_suffix(".png"), rgb(GREY)


def grey_16_with_alpha(path):
    values = np.stack([RAMP, np.full_like(RAMP, 65_535)], axis=2)
    png(path.with_suffix(".png"), values, 16, 4)
    return path.with_suffix(".png"), rgb((RAMP >> 8).astype(np.uint8))


def colour_16(path):
    png(path.with_suffix(".png"), np.stack([RAMP] * 3, axis=2), 16, 2)
    return path.with_suffix(".png"), rgb((RAMP >> 8).astype(np.uint8))


def tiff_16(path):
    Image.fromarray(RAMP).save(path.with_suffix(".tiff"))
    return path.with_suffix(".tiff"), rgb(GREY)


def tiff_16_big_endian(path):
    Image.fromarray(RAMP.astype(">u2")).save(path.with_suffix(".tif"))
    return path.with_suffix(".tif"), rgb(GREY)


def tiff_16_white_is_zero(path):
    Image.fromarray(RAMP).save(path.with_suffix(".tiff"), tiffinfo={262: 0})
    return path.with_suffix(".tiff"), rgb(255 - GREY)


def pgm_16(path):
    path = path.with_suffix(".pgm")
    path.write_bytes(b"P5 50 40 65535\n" + RAMP.astype(">u2").tobytes())
    return path, rgb(GREY)


def pgm_10(path):
    path = path.with_suffix(".pgm")
    path.write_bytes(b"P5 50 40 1023\n" + (RAMP >> 6).astype(">u2").tobytes())
    return path, rgb(np.round((RAMP >> 6) / 1023 * 255).astype(np.uint8))


def bilevel(path):
    bits = (RAMP > 30_000).astype(np.uint8) * 255
    Image.fromarray(bits).convert("1").save(path.with_suffix(".png"))
    return path.with_suffix(".png"), rgb(bits)


def grey_with_alpha(path):
    alpha = np.where(RAMP > 30_000, 255, 0).astype(np.uint8)
    Image.merge("LA", [Image.fromarray(a) for a in (np.zeros_like(GREY), alpha)]).save(
        path.with_suffix(".png")
    )
    return path.with_suffix(".png"), rgb(255 - alpha)


def black_on_transparent(path):
    """Bug report D11: it was all black."""
    alpha = np.where(RAMP > 30_000, 255, 0).astype(np.uint8)
    Image.fromarray(np.dstack([np.zeros((40, 50, 3), np.uint8), alpha])).save(
        path.with_suffix(".png")
    )
    return path.with_suffix(".png"), rgb(255 - alpha)


def palette_with_transparency(path):
    picture = Image.fromarray((RAMP > 30_000).astype(np.uint8)).convert("P")
    picture.putpalette([0, 0, 0, 200, 10, 20])
    picture.save(path.with_suffix(".png"), transparency=0)
    expected = np.where((RAMP > 30_000)[..., None], (200, 10, 20), (255, 255, 255))
    return path.with_suffix(".png"), expected.astype(np.uint8)


def colour_key(path):
    """One colour of a PNG without an alpha channel is transparent."""
    key = b"\0\0\0\6tRNS" + struct.pack(">HHH", 7, 7, 7)
    key += struct.pack(">I", zlib.crc32(key[4:]))
    values = np.full((40, 50, 3), 7, np.uint8)
    values[:20] = (9, 8, 7)
    png(path.with_suffix(".png"), values, 8, 2, key)
    return path.with_suffix(".png"), _keyed(values)


def _keyed(values):
    return np.where((values == 7).all(2)[..., None], 255, values).astype(np.uint8)


def half_transparent_webp(path):
    layered = np.full((40, 50, 4), (100, 0, 0, 128), np.uint8)
    Image.fromarray(layered).save(path.with_suffix(".webp"), lossless=True, exact=True)
    return path.with_suffix(".webp"), np.full((40, 50, 3), (177, 127, 127), np.uint8)


def animated(path):
    frames = [Image.new("RGB", (50, 40), colour) for colour in ("red", "blue")]
    frames[0].save(path.with_suffix(".png"), save_all=True, append_images=frames[1:])
    return path.with_suffix(".png"), np.full((40, 50, 3), (255, 0, 0), np.uint8)


def pages(path):
    frames = [Image.new("RGB", (50, 40), colour) for colour in ("red", "blue")]
    frames[0].save(path.with_suffix(".tiff"), save_all=True, append_images=frames[1:])
    return path.with_suffix(".tiff"), np.full((40, 50, 3), (255, 0, 0), np.uint8)


def gif_with_another_name(path):
    Image.new("RGB", (50, 40), "red").save(path.with_suffix(".jpg"), "GIF")
    return path.with_suffix(".jpg"), np.full((40, 50, 3), (255, 0, 0), np.uint8)


ODD = [
    grey_16, grey_16_with_alpha, colour_16, tiff_16, tiff_16_big_endian, tiff_16_white_is_zero,
    pgm_16, pgm_10, bilevel, grey_with_alpha, black_on_transparent, palette_with_transparency,
    colour_key, half_transparent_webp, animated, pages, gif_with_another_name,
]  # fmt: skip


@pytest.mark.parametrize("make", ODD, ids=lambda make: make.__name__)
def test_odd_pictures_are_read_as_they_look(tmp_path, make):
    path, expected = make(tmp_path / "x")
    found = np.asarray(read_picture(path))
    assert found.shape == (40, 50, 3) and found.dtype == np.uint8
    assert np.abs(found.astype(int) - expected.astype(int)).max() <= 1
    assert find_broken(files_of([path]), [0], 0) == {}


def test_plain_and_packed_reading_agree_on_all_of_them(tmp_path):
    paths = []
    for make in ODD:
        (tmp_path / make.__name__).mkdir()
        paths.append(make(tmp_path / make.__name__ / "x")[0])
    files, labels = files_of(paths), torch.arange(len(paths))
    plain = FolderImages(files, labels, "d", 28, workers=2)
    packed = PackedImages(open_pack(files, evaluation_side(28), tmp_path / "c"), labels, "d", 28)
    for left, right in zip(plain.batches(labels, 5), packed.batches(labels, 5), strict=True):
        assert torch.equal(left[1], right[1])


def test_orientation_profiles_and_inks_are_left_as_torchvision_leaves_them(tmp_path):
    """Pixel for pixel what ImageFolder gives: the weights of ImageNet were trained on that."""
    folder = tmp_path / "train" / "a"
    folder.mkdir(parents=True)
    picture = Image.fromarray(rgb(GREY))
    exif = Image.Exif()
    exif[274] = 6  # turned by a quarter
    picture.save(folder / "turned.jpg", exif=exif)
    picture.convert("CMYK").save(folder / "inks.jpg")
    picture.save(folder / "profile.png", icc_profile=b"no profile at all")
    picture.quantize(16).save(folder / "palette.png")
    picture.convert("LA").save(folder / "opaque.png")
    picture.save(folder / "grey.JPEG")
    Image.new("LAB", (50, 40), (120, 140, 130)).save(folder / "lab.tiff")
    theirs = ImageFolder(tmp_path / "train", v2.PILToTensor())
    for (path, _), (pixels, _) in zip(theirs.imgs, theirs, strict=True):
        ours = v2.functional.pil_to_tensor(read_picture(path))
        assert torch.equal(ours, pixels), path
    assert len(theirs) == 7


def whole_png(path, edit):
    Image.fromarray(rgb(GREY)).resize((200, 160)).save(path.with_suffix(".png"))
    path.with_suffix(".png").write_bytes(edit(bytearray(path.with_suffix(".png").read_bytes())))
    return path.with_suffix(".png")


def damaged_middle(path):
    def edit(data):
        data[len(data) // 2 : len(data) // 2 + 40] = b"\0" * 40
        return data

    return whole_png(path, edit)


def bad_header_checksum(path):
    def edit(data):
        data[29] ^= 1
        return data

    return whole_png(path, edit)


def huge(path):
    """Bug report F09: 189 megapixels in a few bytes."""
    png(path.with_suffix(".png"), np.zeros((1, 1), np.uint8), 8, 0)
    data = bytearray(path.with_suffix(".png").read_bytes())
    data[16:24] = struct.pack(">II", 13_750, 13_750)
    data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    path.with_suffix(".png").write_bytes(data)
    return path.with_suffix(".png")


def strip(path):
    Image.new("L", (1, 10_000)).save(path.with_suffix(".png"))
    return path.with_suffix(".png")


def floats(path):
    Image.fromarray(np.random.default_rng(0).random((9, 9), np.float32)).save(
        path.with_suffix(".tiff")
    )
    return path.with_suffix(".tiff")


def whole_numbers(path):
    Image.fromarray(np.arange(81, dtype=np.int32).reshape(9, 9)).save(path.with_suffix(".tif"))
    return path.with_suffix(".tif")


def postscript(path):
    """Pillow would start another program for it."""
    path.with_suffix(".jpg").write_text(
        "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n"
    )
    return path.with_suffix(".jpg")


def pipe(path):
    os.mkfifo(path.with_suffix(".jpg"))
    return path.with_suffix(".jpg")


def device(path):
    path.with_suffix(".jpg").symlink_to("/dev/zero")
    return path.with_suffix(".jpg")


def loop_of_links(path):
    path.with_suffix(".jpg").symlink_to(path.with_suffix(".jpg"))
    return path.with_suffix(".jpg")


def dangling(path):
    path.with_suffix(".jpg").symlink_to("nothing")
    return path.with_suffix(".jpg")


def folder(path):
    path.with_suffix(".jpg").mkdir()
    return path.with_suffix(".jpg")


def sparse(path):
    with path.with_suffix(".bmp").open("wb") as file:
        file.truncate(2**40)
    return path.with_suffix(".bmp")


def empty(path):
    path.with_suffix(".webp").touch()
    return path.with_suffix(".webp")


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (damaged_middle, "broken PNG file"),
        (bad_header_checksum, "of no known format"),
        (huge, "exceeds limit"),
        (strip, "its sides are 10000 x 1 pixels, of a ratio over 100"),
        (floats, "its pixels are floating-point numbers, and nothing says which are black"),
        (whole_numbers, "its pixels are signed or 32-bit numbers"),
        (postscript, "of no known format"),
        (pipe, "no regular file"),
        (device, "no regular file"),
        (loop_of_links, "a loop of links"),
        (dangling, "a link to nothing, or gone"),
        (folder, "a folder"),
        (sparse, "larger than 1 GiB"),
        (empty, "of no known format"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_is_no_whole_picture_is_refused_by_name_and_at_once(tmp_path, make, why):
    path = make(tmp_path / "x")
    told = []

    def read():
        try:
            read_picture(path)
        except UnreadableError as error:
            told.append(error)

    thread = threading.Thread(target=read, daemon=True)  # a pipe would hold it for ever
    thread.start()
    thread.join(20)
    assert told and str(told[0]).startswith(f"the image {path} cannot be read: ")
    assert why in told[0].why and "\n" not in str(told[0])


@pytest.mark.parametrize("make", [damaged_middle, huge, strip, floats])
def test_it_is_found_while_packing_and_while_looking_through(tmp_path, make):
    """Bug report F09: a right ending passed for a whole picture."""
    paths = [grey_16(tmp_path / "sound")[0], make(tmp_path / "x")]
    assert list(find_broken(files_of(paths), [0, 1], 2)) == [1]
    with pytest.raises(BrokenImagesError) as refused:
        open_pack(files_of(paths), 32, tmp_path / "cache")
    assert list(refused.value.broken) == [1]


def test_what_may_pass_is_not_called_broken(tmp_path, monkeypatch):
    """A disk that is away for a moment, or memory that ran out, says nothing about the file."""
    path = grey_16(tmp_path / "x")[0]

    def away(*_, **__):
        raise OSError(116, "Stale file handle")

    for error in (away, lambda *_, **__: (_ for _ in ()).throw(MemoryError())):
        monkeypatch.setattr(Image, "open", error)
        with pytest.raises((OSError, MemoryError)) as raised:
            read_picture(path)
        assert isinstance(raised.value, MemoryError) or str(path) in str(raised.value)
        assert not isinstance(raised.value, UnreadableError)


def test_names_are_printed_without_what_a_terminal_would_obey(tmp_path):
    for name in ("a\nb.jpg", "a\x1b[2Jb.jpg", "a\u202eb.jpg", os.fsdecode(b"a\xffb.jpg")):
        (tmp_path / name).write_bytes(b"no image")
        with pytest.raises(UnreadableError) as refused:
            read_picture(tmp_path / name)
        assert str(refused.value).isprintable() and "a\\" in str(refused.value)
    (tmp_path / "é '\" ü.jpg").write_bytes(b"no image")
    with pytest.raises(UnreadableError, match="é '\" ü.jpg cannot"):
        read_picture(tmp_path / "é '\" ü.jpg")


def test_a_picture_that_was_written_since_is_refused(tmp_path):
    path = grey_16(tmp_path / "x")[0]
    mark = mark_of(path)
    assert read_picture(path, mark).size == (50, 40)
    os.utime(path, (1, 1))
    assert read_picture(path, mark).size == (50, 40)
    png(path, RAMP[::-1], 16, 0)
    with pytest.raises(ValueError, match=r"must stay as they were .*x.png has changed; plan it an"):
        read_picture(path, mark)


@pytest.mark.parametrize("ending", [".jpg", ".bmp", ".TIFF", ".png"])
@pytest.mark.parametrize("size", [0, 1, 4_096, 36_864, 36_865, 200_000])
def test_a_mark_is_of_size_and_bytes(tmp_path, ending, size):
    data = np.random.default_rng(size).integers(0, 256, size, np.uint8).tobytes()
    (tmp_path / f"a{ending}").write_bytes(data)
    (tmp_path / f"b{ending}").write_bytes(data)
    os.utime(tmp_path / f"b{ending}", (5, 5))
    mark = mark_of(tmp_path / f"a{ending}")
    assert mark == mark_of(tmp_path / f"b{ending}") and 0 <= mark < 2**63
    marks = {mark}
    places = {0, size // 2, size - 1}
    if ending in (".bmp", ".TIFF") or size <= 36_864:  # read whole
        places |= {size // 3, size // 7, size * 5 // 6}
    for place in sorted(places) if size else []:
        changed = bytearray(data)
        changed[place] ^= 1
        (tmp_path / f"a{ending}").write_bytes(changed)
        marks.add(mark_of(tmp_path / f"a{ending}"))
    (tmp_path / f"a{ending}").write_bytes(data + b"\0")
    marks.add(mark_of(tmp_path / f"a{ending}"))
    assert len(marks) == 2 + (len(places) if size else 0)

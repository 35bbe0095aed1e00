"""The disk cache: images are drawn once, then opened from memory-mapped files."""

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import fields
from pathlib import Path

import numpy as np

from trainables.datasets.concepts.draw import ConceptImages, check, draw_chunks
from trainables.locks import held_folder
from trainables.workspace import size_shown

VERSION = 1  # of the pictures and the files; raised when either changes

_FILES = tuple(field.name for field in fields(ConceptImages))
_ABANDONED_SECONDS = 3600

_Expected = dict[str, tuple[np.dtype, tuple[int, ...]]]  # file -> dtype and shape of its array


def load(
    split: str,
    n_images: int,
    *,
    seed: int = 0,
    pixels: int = 64,
    root: Path,
    progress: Callable[[int, int], None] | None = None,
) -> ConceptImages:
    """As `draw`, but from files under `root`, which are made at the first call.

    The arrays are read-only and memory-mapped. progress is called with (images done, all images)
    while drawing, not when the files are there. Several processes may call at once.

    Raises ValueError as `draw` does, and OSError when the disk has no room.
    """
    check(split, n_images, seed, pixels)
    folder = root / f"concepts-v{VERSION}-{split}-{n_images}-seed{seed}-{pixels}px"
    expected = _expected(n_images, pixels)
    found = _open(folder, expected)
    if found is not None:
        return found
    root.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(folder)
    _require_space(root, expected)
    return _build(
        folder, expected, draw_chunks(split, n_images, seed=seed, pixels=pixels), progress
    )


def _expected(n_images: int, pixels: int) -> _Expected:
    byte, image = np.dtype(np.uint8), (n_images, pixels, pixels)
    kinds: _Expected = {name: (byte, image) for name in _FILES}
    kinds["images"] = (byte, (*image, 3))
    kinds["labels"] = (np.dtype(np.int64), (n_images,))
    kinds["scene"] = (byte, (n_images,))
    return kinds


def _build(
    folder: Path,
    expected: _Expected,
    chunks: Iterable[ConceptImages],
    progress: Callable[[int, int], None] | None,
) -> ConceptImages:
    """Write the files beside `folder`, give them its name, open them."""
    # Beside it, because renaming is atomic only within one disk.
    with tempfile.TemporaryDirectory(
        prefix=f"{folder.name}.partial-", dir=folder.parent, ignore_cleanup_errors=True
    ) as partial:
        # Not the temporary folder itself, which only its owner may enter.
        complete = Path(partial) / "complete"
        complete.mkdir()
        with held_folder(Path(partial)):
            _write(complete, chunks, expected, progress)
        built = _open(complete, expected)
        if built is None:
            raise OSError(f"{complete} must hold what was just written to it, but does not")
        _publish(complete, folder, expected)
    # Open files outlive a renamed or removed folder: `built` is right whatever others do.
    return _open(folder, expected) or built


def _open(folder: Path, expected: _Expected) -> ConceptImages | None:
    """The arrays in `folder`, or None unless all are there and whole."""
    arrays = {}
    for name, (dtype, shape) in expected.items():
        try:
            array = np.load(folder / f"{name}.npy", mmap_mode="r")
        except (OSError, ValueError, EOFError):
            return None  # missing, or shorter than its header says
        if array.dtype != dtype or array.shape != shape:
            return None
        arrays[name] = array
    return ConceptImages(**arrays)


def _remove_abandoned(folder: Path) -> None:
    """Remove what killed processes left of this folder.

    A clock that jumps, or that of another machine, may make any folder look old: one that is being
    written is held.
    """
    for partial in folder.parent.glob(f"{folder.name}.partial-*"):
        with contextlib.suppress(OSError), held_folder(partial):
            newest = max(path.stat().st_mtime for path in (partial, *partial.rglob("*")))
            if time.time() - newest > _ABANDONED_SECONDS:
                shutil.rmtree(partial, ignore_errors=True)


def _require_space(root: Path, expected: _Expected) -> None:
    needed = sum(dtype.itemsize * int(np.prod(shape)) for dtype, shape in expected.values())
    free = shutil.disk_usage(root).free
    if free < needed:
        raise OSError(
            f"the generated images need {size_shown(needed)} of disk, "
            f"but {size_shown(free)} are free in {root}"
        )


def _write(
    folder: Path,
    chunks: Iterable[ConceptImages],
    expected: _Expected,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Write the chunks into one .npy file an array, each onto the disk before this returns."""
    done, total = 0, expected["labels"][1][0]
    with contextlib.ExitStack() as stack:
        files = {name: stack.enter_context(open(folder / f"{name}.npy", "wb")) for name in expected}
        for name, (dtype, shape) in expected.items():
            header = {"descr": dtype.str, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(files[name], header)
        for chunk in chunks:
            # Written, not mapped: on a full disk a write raises, a mapped page kills the process.
            for name, file in files.items():
                file.write(np.ascontiguousarray(getattr(chunk, name)).data)
            done += len(chunk.labels)
            if progress is not None:
                progress(done, total)
        for file in files.values():
            file.flush()
            os.fsync(file.fileno())


def _publish(complete: Path, folder: Path, expected: _Expected) -> None:
    """Give a complete folder its name, unless another process was first."""
    if folder.exists() and _open(folder, expected) is None:
        with contextlib.suppress(FileNotFoundError):
            folder.rename(complete.with_name("broken"))
    try:
        complete.rename(folder)
    except OSError:
        if _open(folder, expected) is None:
            raise

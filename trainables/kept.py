"""Files that are kept to save work: read whole, or set aside, said, and made anew."""

import errno
import os
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch

from trainables.workspace import SetAside

T = TypeVar("T")

_OURS = ("mis", "pruning", "sweeps", "trainables")
_OF_THE_MACHINE = ("out of memory", "not enough memory", "alloc_cpu", "cuda", "cudnn", "cublas")


def may_pass(error: BaseException) -> bool:
    """Whether an error is of the machine (memory, disk, GPU), and so says nothing of a file."""
    if isinstance(error, OSError):
        return error.errno != errno.EINVAL  # which a position that makes no sense gives, too
    if isinstance(error, (MemoryError, torch.OutOfMemoryError, torch.AcceleratorError)):
        return True
    return isinstance(error, RuntimeError) and any(s in str(error).lower() for s in _OF_THE_MACHINE)


def read_kept(path: Path, read: Callable[[Path], T]) -> T | None:
    """What `read` makes of a file; None where there is none, or none that is whole.

    What cannot be read though the disk gives it, or is not as `read` must find it, is set aside.
    An error that may pass is raised, and the file stays.
    """
    if os.path.lexists(path) and not path.is_file():
        # A folder, a pipe, a link to nowhere: read, it would fail for ever or never end.
        set_aside(path, ValueError("it is no file"))
        return None
    try:
        return read(path)
    except FileNotFoundError:
        return None
    except Exception as error:
        # Anything may be in a broken file, and there are as many kinds of errors.
        if may_pass(error):
            raise
        _require_readable(path)
        set_aside(path, error)
        return None


def read_state(path: Path, device: torch.device) -> dict[str, Any] | None:
    """What `torch.save` left at `path`; None where there is nothing, or nothing whole.

    A file that cannot be read (a disk that filled up, a machine that went down) is set aside
    under another name, and the work starts over; see `read_kept`.
    """
    return read_kept(path, lambda whole: load_whole(whole, device))


def load_whole(path: Path, device: torch.device | str = "cpu") -> Any:
    """`torch.load` of tensors alone, whose checksums, which `torch.save` writes, must be right.

    Raises ValueError where one is not; torch does not look at them.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            wrong = archive.testzip()
        if wrong is not None:
            raise ValueError(f"the checksum of {wrong} in it is wrong: the file was damaged")
    return torch.load(path, map_location=device, weights_only=True)


def set_aside(path: Path, error: BaseException) -> None:
    """Give a file that cannot be used another name, and say so by a `SetAside`."""
    aside = set_aside_path(path)
    try:
        path.replace(aside)
    except FileNotFoundError:  # another process was faster
        return
    sentence = f"{path} cannot be used and is now {aside.name}: {_why(error)}"
    warnings.warn(SetAside(sentence), stacklevel=3)


def _why(error: BaseException) -> str:
    """In our words: those of libraries are of their own functions and options."""
    here, last = error.__traceback__, ""
    while here is not None:
        last, here = here.tb_frame.f_globals.get("__name__", ""), here.tb_next
    # One that was never raised is of this file.
    if type(error) is ValueError and (not last or last.partition(".")[0] in _OURS):
        return str(error)
    return "it is cut off or damaged, or of another version"


def set_aside_path(path: Path) -> Path:
    """Where a file is set aside that cannot be used."""
    return path.with_name(f"{path.name}.broken")


def require_state(state: object, entries: Mapping[str, type | tuple[type, ...]]) -> None:
    """Raise ValueError unless the state is a dictionary with these entries, of these types."""
    if not isinstance(state, dict):
        raise ValueError(f"a state must be a dictionary, it is a {type(state).__name__}")
    for name, kind in entries.items():
        if name not in state or not isinstance(state[name], kind):
            raise ValueError(f"the entry {name!r} of a state is missing or of another type")


def _require_readable(path: Path) -> None:
    """Raise OSError where the disk does not give a file; torch has other words for that."""
    with path.open("rb") as file:
        while file.read(1 << 20):
            pass

"""Pictures in a row: files under one folder, or whatever else can be read by number."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, overload

import numpy as np
from PIL import Image

from trainables.datasets.decoding import read_picture
from trainables.datasets.regular import mark_of


class Pictures(Protocol):
    """names: of each. marks: int64 [picture], of what each holds."""

    @property
    def names(self) -> Sequence[str]: ...

    @property
    def marks(self) -> np.ndarray: ...

    def __len__(self) -> int: ...

    def read(self, i: int) -> Image.Image:
        """As 8-bit RGB. Raises UnreadableError for what is no picture, ValueError for one that has
        changed, OSError for what may pass."""
        ...

    def where(self, i: int) -> str:
        """For people."""
        ...


@dataclass(frozen=True, eq=False)
class Files(Sequence[Path]):
    """Reads as a sequence of paths; a million of them would be half a gigabyte.

    names: relative to root. marks: int64 [file], `mark_of` each when it was listed.
    """

    root: str
    names: Sequence[str]
    marks: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, i: int) -> Path: ...

    @overload
    def __getitem__(self, i: slice) -> list[Path]: ...

    def __getitem__(self, i: int | slice) -> Path | list[Path]:
        if isinstance(i, slice):
            return [Path(self.root, name) for name in self.names[i]]
        return Path(self.root, self.names[i])

    def read(self, i: int) -> Image.Image:
        return read_picture(self[i], int(self.marks[i]))

    def where(self, i: int) -> str:
        return str(self[i])


def files_of(paths: Sequence[Path]) -> Files:
    """The files as they are now. Raises UnreadableError for what is no regular file."""
    root = os.path.commonpath([path.parent for path in paths]) if paths else ""
    names = tuple(os.path.relpath(path, root) for path in paths)
    return Files(root, names, np.array([mark_of(path) for path in paths], np.int64))

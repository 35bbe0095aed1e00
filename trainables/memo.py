"""What is computed once and kept: the one place of its name, and of reading and writing it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from trainables.fields import digest_of
from trainables.kept import load_whole, read_kept
from trainables.workspace import whole_file

T = TypeVar("T")


def _as_it_is(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class Memo:
    """Files below `root`, each named by all that it depends on, so that any may be deleted."""

    root: Path

    def path(self, what: str, depends_on: object, suffix: str = ".pt") -> Path:
        """Where it is, or will be. depends_on: as JSON takes it."""
        return self.root / f"{what}-{digest_of(depends_on)[:16]}{suffix}"

    def of(
        self,
        what: str,
        depends_on: object,
        compute: Callable[[], T],
        *,
        pack: Callable[[T], object] = _as_it_is,
        unpack: Callable[[Any], T] = _as_it_is,
    ) -> T:
        """What `compute` gives, or gave before.

        pack: of it what `torch.load(weights_only=True)` reads; unpack: the way back, which raises
        where that is not as it must be. A file that cannot be used is set aside (`read_kept`).
        """
        path = self.path(what, depends_on)
        found = self.read(path, unpack)
        if found is None:
            found = compute()
            self.write(path, pack(found))
        return found

    @staticmethod
    def read(path: Path, unpack: Callable[[Any], T] = _as_it_is) -> T | None:
        """What was written there; None where nothing whole is."""
        return read_kept(path, lambda whole: unpack(load_whole(whole)))

    @staticmethod
    def write(path: Path, value: object) -> None:
        """Whole or not at all. Raises OSError on a full disk."""
        with whole_file(path) as partial:
            torch.save(value, partial)

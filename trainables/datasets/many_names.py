"""A million names in a row: their bytes, and where each ends; less than half of the strings."""

import operator
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import overload

import numpy as np

_PART = 4_096  # names that are strings at once
_CODE = ("utf-8", "surrogatepass")  # names of files may be bytes that are no text


class Names(Sequence[str]):
    """Reads as a tuple of strings, none of which holds a null character.

    text: uint8 [byte], the names with a null between each two; of none at all, None.
    """

    def __init__(self, text: np.ndarray | None) -> None:
        self.text = np.zeros(0, np.uint8) if text is None else text
        self._ends = np.flatnonzero(self.text == 0)
        if text is not None:
            self._ends = np.append(self._ends, len(text))

    @classmethod
    def of(cls, names: Iterable[str]) -> "Names":
        rest, parts = iter(names), []
        while part := tuple(islice(rest, _PART)):  # never all as strings
            parts.append("\0".join(part).encode(*_CODE))
        return cls(np.frombuffer(b"\0".join(parts), np.uint8) if parts else None)

    def at(self, places: np.ndarray) -> "Names":
        """The names at these places."""
        if len(places) == len(self) and (places == np.arange(len(self))).all():
            return self
        return Names.of(self[i] for i in places)

    def __len__(self) -> int:
        return len(self._ends)

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), _PART):
            yield from self[start : start + _PART]

    @overload
    def __getitem__(self, i: int) -> str: ...

    @overload
    def __getitem__(self, i: slice) -> tuple[str, ...]: ...

    def __getitem__(self, i: int | slice) -> str | tuple[str, ...]:
        if isinstance(i, slice):
            first, last, step = i.indices(len(self))
            if step != 1 or first >= last:
                return tuple(self[k] for k in range(first, last, step))
            return tuple(self._decoded(first, last - 1).split("\0"))
        i = operator.index(i)
        if not -len(self) <= i < len(self):
            raise IndexError(f"a name must be one of {len(self)}, got number {i}")
        return self._decoded(i % len(self), i % len(self))

    def _decoded(self, first: int, last: int) -> str:
        start = 0 if first == 0 else self._ends[first - 1] + 1
        return self.text[start : self._ends[last]].tobytes().decode(*_CODE)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Names):
            return len(self) == len(other) and np.array_equal(self.text, other.text)
        return isinstance(other, (tuple, list)) and tuple(self) == tuple(other)

    def __repr__(self) -> str:
        return f"Names of {len(self):,}"

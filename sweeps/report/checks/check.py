"""One way in which a study goes wrong, and whether this one did."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "failed", "unknown"]


@dataclass(frozen=True)
class Check:
    """status: failed where the numbers must not be believed without looking; unknown where the
    trials cannot tell. said: one sentence, with the numbers it rests on."""

    name: str
    status: Status
    said: str


def listed(names: Iterable[object], most: int = 4) -> str:
    """The first few, and how many more there are."""
    every = [str(name) for name in names]
    more = len(every) - most
    return ", ".join(every[:most]) + (f" and {more} more" if more > 0 else "")

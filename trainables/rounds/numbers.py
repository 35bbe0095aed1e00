"""How much of each layer the masks of a round keep: a table, and numbers that trials share."""

from collections.abc import Mapping
from pathlib import Path

from trainables.memo import Memo

Numbers = Mapping[str, tuple[int, int]]
"""Name of a weight -> how many of its groups are kept, and how many there are."""


def layer_rows(round_: int, numbers: Numbers) -> list[dict[str, float | str]]:
    """A row per layer: round (from 1), layer, n_groups, n_kept, share (kept, in [0, 1]).

    A group is what the method prunes as one: a weight, a filter or an input channel.
    """
    return [
        {
            "round": float(round_ + 1),
            "layer": name.removesuffix(".weight"),
            "n_groups": float(there),
            "n_kept": float(kept),
            "share": kept / there,
        }
        for name, (kept, there) in numbers.items()
    ]


def keep_numbers_of(cache: Path, key: str, round_: int, numbers: Numbers) -> None:
    """Leave the numbers of a round for the controls that take them."""
    Memo.write(_path(cache, key, round_), {name: kept for name, (kept, _) in numbers.items()})


def numbers_of(cache: Path, key: str, round_: int) -> dict[str, int] | None:
    """Name of a weight -> groups kept in that round of the trial; None where it left none."""
    return Memo.read(_path(cache, key, round_))


def _path(cache: Path, key: str, round_: int) -> Path:
    return cache / f"kept-{key}-round{round_ + 1}.pt"

"""How much of each layer the masks of a round keep: a table, and numbers that trials share."""

from collections.abc import Mapping
from pathlib import Path

import torch

from trainables.kept import read_state
from trainables.workspace import whole_file

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
    with whole_file(_path(cache, key, round_)) as partial:
        torch.save({name: kept for name, (kept, _) in numbers.items()}, partial)


def numbers_of(cache: Path, key: str, round_: int) -> dict[str, int] | None:
    """Name of a weight -> groups kept in that round of the trial; None where it left none."""
    return read_state(_path(cache, key, round_), torch.device("cpu"))


def _path(cache: Path, key: str, round_: int) -> Path:
    return cache / f"kept-{key}-round{round_ + 1}.pt"

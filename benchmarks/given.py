"""A network of one's own for a benchmark: a file that loads it, its weights, and photographs.

The file is Python and defines load(path) -> network and prepare(picture) -> [3, h, w]; every file
in or below the folder is a photograph.
"""

import argparse
import runpy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn


@dataclass(frozen=True)
class Given:
    network: nn.Module  # in evaluation mode, channels last
    prepare: Callable[[Image.Image], Tensor]  # picture -> float32 [3, h, w]
    files: tuple[Path, ...]  # of the photographs, sorted, or drawn where not all are wanted


def add_options(parser: argparse.ArgumentParser) -> None:
    """--module, --weights and --images: all three, or none of them."""
    for name in ("--module", "--weights", "--images"):
        parser.add_argument(name, type=Path)


def given(module: Path, weights: Path, folder: Path, limit: int | None = None) -> Given:
    """limit: of all photographs so many are drawn, the same ones each time."""
    theirs = runpy.run_path(str(module))
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if limit is not None:
        order = torch.randperm(len(files), generator=torch.Generator().manual_seed(0))
        files = [files[i] for i in order[:limit].tolist()]
    network = theirs["load"](str(weights)).eval().to(memory_format=torch.channels_last)
    return Given(network, theirs["prepare"], tuple(files))


def class_of(files: Sequence[Path], every: Sequence[Path]) -> Tensor:
    """int64 [file]: the rank of a photograph's folder among the folders of all photographs."""
    names = sorted({path.parent.name for path in every})
    return torch.tensor([names.index(path.parent.name) for path in files])

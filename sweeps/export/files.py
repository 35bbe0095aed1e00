"""The files of an exported network, each read back before it counts."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trainables.datasets.images import normalise
from trainables.networks import (
    Compacted,
    as_graph,
    load_compacted,
    logits_of,
    require_onnx,
    run_graph,
    run_onnx,
    save_graph,
    save_onnx,
    save_safetensors,
)
from trainables.workspace import whole_file

SAFETENSORS, GRAPH, ONNX = "network.safetensors", "network.pt2", "network.onnx"
TOLERANCE = 1e-4
"""By how much a file's logits may differ from the trial's, as a part of the largest logit."""


@dataclass(frozen=True)
class Written:
    """One file. difference: the largest to the logits of the trial's network, as a part of the
    largest of them. why_not: where it is not there. is_optional: and nothing is wrong with that."""

    n_bytes: int = 0
    sha256: str = ""
    difference: float = 0.0
    why_not: str = ""
    is_optional: bool = False

    def said(self) -> dict[str, Any]:
        """For the card."""
        if self.why_not:
            return {"left_out": self.why_not}
        return {
            "bytes": self.n_bytes,
            "sha256": self.sha256,
            "largest_difference": self.difference,
            "tolerance": TOLERANCE,
        }


def write_files(
    folder: Path, left: Compacted, trial: nn.Module, pixels: int, results: Path | None = None
) -> dict[str, Written]:
    """Write the network in three formats; one that cannot be had leaves the others alone.

    trial: the network as the trial had it, whose logits every file must give. results: where the
    code of a user's own network is. Raises OSError on a full disk.
    """
    network = left.network.to(memory_format=torch.contiguous_format)
    images = _images(pixels)
    expected = _logits(trial, images)

    def write(
        name: str, save: Callable[[Path], None], run: Callable[[Path, Tensor], Tensor]
    ) -> Written:
        path = folder / name
        try:
            with whole_file(path) as partial:
                save(partial)
                difference = _difference(run(partial, images), expected)
                content = partial.read_bytes()
        except ValueError as error:
            return Written(why_not=str(error))
        return Written(len(content), hashlib.sha256(content).hexdigest(), difference)

    for name in (SAFETENSORS, GRAPH, ONNX):
        (folder / name).unlink(missing_ok=True)  # of an export before, maybe of another trial
    files = {
        SAFETENSORS: write(
            SAFETENSORS,
            lambda path: save_safetensors(path, network, left.arguments),
            lambda path, images: _logits(load_compacted(path, results), images),
        )
    }
    try:
        graph = as_graph(network, pixels)
    except ValueError as error:
        return files | dict.fromkeys((GRAPH, ONNX), Written(why_not=str(error)))
    files[GRAPH] = write(GRAPH, lambda path: save_graph(graph, path), run_graph)
    try:
        require_onnx()
    except ValueError as error:
        return files | {ONNX: Written(why_not=str(error), is_optional=True)}
    files[ONNX] = write(ONNX, lambda path: save_onnx(graph, path, pixels), run_onnx)
    return files


def _images(pixels: int) -> Tensor:
    """Three of noise, as the network takes them: not the two that graphs are drawn with."""
    generator = torch.Generator().manual_seed(0)
    shape = (3, 3, pixels, pixels)
    return normalise(torch.randint(256, shape, dtype=torch.uint8, generator=generator)).contiguous()


@torch.no_grad()
def _logits(network: nn.Module, images: Tensor) -> Tensor:
    return logits_of(network(images))[0]


def _difference(found: Tensor, expected: Tensor) -> float:
    """The largest, as a part of the largest logit. Raises ValueError where it is too large."""
    difference = float((found - expected).abs().max() / expected.abs().max())
    if not difference <= TOLERANCE:
        raise ValueError(
            f"a file must give the logits of the trial's network to {TOLERANCE:g} of the largest, "
            f"they differ by {difference:.2g}"
        )
    return difference

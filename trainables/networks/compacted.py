"""Compacted networks in files."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from pruning import Kept, compact
from trainables.networks.build import rebuild
from trainables.networks.checkpoints import read_checkpoint, require_fit


def save_compacted(path: Path, smaller: nn.Module, kept: Kept, arguments: dict[str, Any]) -> None:
    """Write a network that `compact` made of the one that `arguments` describe."""
    state = {name: tensor.detach().cpu() for name, tensor in smaller.state_dict().items()}
    plain = {name: list(indices) for name, indices in kept.items()}
    torch.save({"network": arguments, "kept": plain, "state": state}, path)


def load_compacted(path: Path | str) -> nn.Module:
    """The compacted network in a file of `save_compacted`, on the CPU, in evaluation mode.

    Reads with `weights_only=True`. Raises ValueError for any other file.
    """
    path = Path(path)
    saved = read_checkpoint(path)
    try:
        whole = rebuild(saved["network"])
        kept = {name: tuple(indices) for name, indices in saved["kept"].items()}
        smaller = compact(whole, kept)
    except Exception as error:
        # Anything may be in the file, and torch.load raises as many kinds of errors.
        raise ValueError(
            f"{path} must be a compacted network as a trial leaves it, it is something else"
        ) from error
    require_fit(smaller, saved["state"], path)
    smaller.load_state_dict(saved["state"])
    return smaller.eval()

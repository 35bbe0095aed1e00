"""Compacted networks in files."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from pruning import Survivors, compact
from trainables.networks.build import rebuild
from trainables.networks.checkpoints import read_checkpoint, require_fit
from trainables.networks.own_code import offer_code, own_function


def save_compacted(
    path: Path, smaller: nn.Module, survivors: Survivors, arguments: dict[str, Any]
) -> None:
    """Write a network that `compact` made of the one that `arguments` describe."""
    state = {name: tensor.detach().cpu() for name, tensor in smaller.state_dict().items()}
    plain = {name: list(indices) for name, indices in survivors.items()}
    torch.save({"network": arguments, "kept": plain, "state": state}, path)


def load_compacted(path: Path | str, results: Path | None = None) -> nn.Module:
    """The compacted network in a file of `save_compacted`, on the CPU, in evaluation mode.

    Reads with `weights_only=True`. The code of a function of your own is taken from `results`, by
    default the results folder that the file lies in, else from where you stand, if it is still the
    same. Raises ValueError for any other file, and where that code is not there.
    """
    path = Path(path)
    saved = read_checkpoint(path)
    try:
        arguments = dict(saved["network"])
        is_own_code = bool(arguments.get("code"))
    except Exception as error:
        raise _something_else(path) from error
    if is_own_code:
        for folder in [results] if results else path.resolve().parents:
            offer_code(arguments["code"], folder)
        own_function(arguments["name"], arguments["code"])  # which says what is missing
    try:
        whole = rebuild(arguments)
        survivors = {name: tuple(indices) for name, indices in saved["kept"].items()}
        smaller = compact(whole, survivors)
    except Exception as error:
        # Anything may be in the file, and torch.load raises as many kinds of errors.
        raise _something_else(path) from error
    require_fit(smaller, saved["state"], path)
    smaller.load_state_dict(saved["state"])
    return smaller.eval()


def _something_else(path: Path) -> ValueError:
    return ValueError(
        f"{path} must be a compacted network as a trial leaves it, it is something else"
    )

"""Compacted networks in files."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pruning import Survivors, compact
from trainables.network_names import require_name
from trainables.networks.build import rebuild
from trainables.networks.checkpoints import load_fitting, read_checkpoint
from trainables.own_import import offer_code, own_function

_ARGUMENTS = {"name", "num_classes", "code", "aux_logits", "transform_input", "init_weights"}


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
        arguments, state = dict(saved["network"]), dict(saved["state"])
        _require_known(arguments, state)
    except Exception as error:
        raise _something_else(path) from error
    if arguments.get("code"):
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
    load_fitting(smaller, state, path)
    return smaller.eval()


def _require_known(arguments: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Raise ValueError for what `save_compacted` never writes: some networks and arguments would
    load files, or fetch weights from the internet."""
    if not arguments.keys() <= _ARGUMENTS or not all(isinstance(name, str) for name in state):
        raise ValueError(f"a network of {', '.join(map(str, arguments))} is unknown")
    code = arguments.get("code", "")
    if code and not re.fullmatch("[0-9a-f]{16}", code):
        raise ValueError(f"code must be 16 hex digits, got {code!r}")
    require_name(arguments["name"])


def _something_else(path: Path) -> ValueError:
    return ValueError(
        f"{path} must be a compacted network as a trial leaves it, it is something else"
    )

"""Compacted networks in files: as trials keep them, and as they are exported."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pruning import Survivors, compact
from trainables.network_names import require_name
from trainables.networks.build import rebuild
from trainables.networks.checkpoints import is_safetensors, load_fitting, read_checkpoint
from trainables.networks.shapes import left_by_shapes, with_shapes
from trainables.own_import import offer_code, own_function

_ARGUMENTS = {"name", "num_classes", "code", "aux_logits", "transform_input", "init_weights"}
_NETWORK = "secateur.network"  # in the header of a safetensors file


@dataclass(frozen=True)
class Compacted:
    """A network in a file. arguments: of the dense one, for `rebuild`. survivors: what is left of
    each of its parameters; None where nothing is gone, or the file says no more than shapes."""

    network: nn.Module
    arguments: dict[str, Any]
    survivors: Survivors | None


def save_compacted(
    path: Path, smaller: nn.Module, survivors: Survivors, arguments: dict[str, Any]
) -> None:
    """Write a network that `compact` made of the one that `arguments` describe."""
    state = {name: tensor.detach().cpu() for name, tensor in smaller.state_dict().items()}
    plain = {name: list(indices) for name, indices in survivors.items()}
    torch.save({"network": arguments, "kept": plain, "state": state}, path)


def save_safetensors(path: Path, network: nn.Module, arguments: dict[str, Any]) -> None:
    """Write a network's tensors under its own names, with what it was made of in the header.

    network: of the shapes of `rebuild(arguments)`, or with fewer channels.
    """
    path.write_bytes(_safetensors(network, arguments))


def safetensors_bytes(network: nn.Module, arguments: dict[str, Any]) -> int:
    """How large the file of `save_safetensors` is."""
    return len(_safetensors(network, arguments))


def _safetensors(network: nn.Module, arguments: dict[str, Any]) -> bytes:
    from safetensors.torch import save

    # Copies: the format knows no tensors that share memory, and no order but one.
    tensors = {
        name: tensor.detach().cpu().contiguous().clone()
        for name, tensor in network.state_dict().items()
    }
    # Not by its `save_file`, whose files nobody but their owner may read.
    return save(tensors, {"format": "pt", _NETWORK: json.dumps(arguments)})


def load_compacted(path: Path | str, results: Path | None = None) -> nn.Module:
    """The network in a file that a trial kept (compacted.pt) or `secateur export` wrote
    (safetensors), on the CPU, in evaluation mode.

    Runs no code of the file. The code of a function of your own is taken from `results`, by
    default the results folder that the file lies in, else from where you stand, if it is still the
    same. Raises ValueError for any other file, and where that code is not there.
    """
    return read_compacted(path, results).network


def read_compacted(path: Path | str, results: Path | None = None) -> Compacted:
    """`load_compacted`, with what else such a file says. Raises ValueError likewise."""
    path = Path(path)
    saved = _read(path)
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
        whole, survivors = rebuild(arguments), None
        if saved["kept"] is None:
            smaller = with_shapes(whole, left_by_shapes(whole, state, path))
        else:
            survivors = {name: tuple(indices) for name, indices in saved["kept"].items()}
            smaller = compact(whole, survivors)
    except Exception as error:
        # Anything may be in the file, and torch.load raises as many kinds of errors.
        raise _something_else(path) from error
    load_fitting(smaller, state, path)
    shapes = {name: tensor.shape for name, tensor in whole.state_dict().items()}
    if all(tensor.shape == shapes[name] for name, tensor in state.items()):
        survivors = None
    return Compacted(smaller.eval(), arguments, survivors)


def _read(path: Path) -> Any:
    """As `save_compacted` has it; kept: None where the shapes tell what is left."""
    saved = read_checkpoint(path)
    if not is_safetensors(path):
        return saved
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        said = (file.metadata() or {}).get(_NETWORK)
    try:
        return {"network": json.loads(said or ""), "kept": None, "state": saved}
    except ValueError as error:
        raise _something_else(path) from error


def _require_known(arguments: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Raise ValueError for what is never written here: some networks and arguments would load
    files, or fetch weights from the internet."""
    if not arguments.keys() <= _ARGUMENTS or not all(isinstance(name, str) for name in state):
        raise ValueError(f"a network of {', '.join(map(str, arguments))} is unknown")
    code = arguments.get("code", "")
    if code and not re.fullmatch("[0-9a-f]{16}", code):
        raise ValueError(f"code must be 16 hex digits, got {code!r}")
    require_name(arguments["name"])


def _something_else(path: Path) -> ValueError:
    return ValueError(
        f"{path} must be a compacted network as a trial leaves it or secateur export writes it, it "
        "is something else"
    )

"""state_dicts in files, as people have them: loaded whole, or refused in one sentence."""

import argparse
import hashlib
import pathlib
import pickle
import re
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trainables.kept import load_whole, may_pass

# Under which training scripts keep the weights, beside epochs and optimizers; and what the names of
# those hold that are averaged over the training.
_WRAPPERS = ("state_dict", "model_state_dict", "model", "network", "net", "module", "weights")
_AVERAGED = ("ema", "avg", "averag", "swa")
# What DataParallel, torch.compile and a module that holds the network put before every name.
_PREFIXES = ("module.", "model.", "network.", "net.")
_COUNTER = "n_averaged"  # of torch's AveragedModel, beside the weights
# Arguments and results that stand beside weights; to make one of these runs no code of the file.
_HARMLESS: list[Any] = [
    argparse.Namespace,
    pathlib.PosixPath,
    pathlib.PurePosixPath,
    np._core.multiarray.scalar,  # type: ignore[attr-defined]
    (np._core.multiarray.scalar, "numpy.core.multiarray.scalar"),  # type: ignore[attr-defined]
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8", "?")),
]


def load_checkpoint(network: nn.Module, path: Path | str, entry: str = "") -> None:
    """Load a state_dict of exactly this network; ValueError, in one sentence, says what is wrong.

    entry: which of several in the file. See `checkpoint_state`.
    """
    path = Path(path)
    state = checkpoint_state(network, path, entry)
    load_fitting(network, state, path)


def load_fitting(network: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Load a state_dict; ValueError, and nothing is changed, as of `require_fit`."""
    require_fit(network, state, path)
    whole = OrderedDict(state)
    # Versions of modules, which a plain dictionary lacks and MNASNet asks for.
    whole._metadata = getattr(network.state_dict(), "_metadata", {})  # type: ignore[attr-defined]
    network.load_state_dict(whole)


def checkpoint_state(
    network: nn.Module, path: Path, entry: str = "", *, field: str = "network.entry"
) -> dict[str, Tensor]:
    """The state_dict in a file, under the network's own names where it has them; on the CPU.

    Read as well: a safetensors file, one within a dictionary ("state_dict", "model", …), names
    after "module." or "_orig_mod.", other precisions, no `num_batches_tracked`. A pickle that would
    run code is refused, and so are several state_dicts in one file unless `entry` names one. field:
    which says the entry, in sentences.
    """
    state = _adapted(network, _tensors(read_checkpoint(path), path, entry, field))
    for name, tensor in state.items():
        _require_plain(name, tensor, path)
    _require_finite(state, path)
    return state


def read_checkpoint(path: Path) -> Any:
    """What is in a file of `torch.save` or safetensors, on the CPU; ValueError where that cannot be
    had safely."""
    _require_file(path)
    if is_safetensors(path):
        return _safe_tensors(path)
    try:
        with torch.serialization.safe_globals(_HARMLESS), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what it holds is judged here
            return load_whole(path)
    except Exception as error:
        # Anything may be in the file, and torch.load raises as many kinds of errors.
        if may_pass(error):
            raise
        raise ValueError(f"{path} must be a state_dict saved by torch.save: {why(error)}") from None


def is_safetensors(path: Path) -> bool:
    """Told by how it begins: a length of 8 bytes, and a header in JSON."""
    with path.open("rb") as file:
        return path.suffix == ".safetensors" or file.read(9)[8:] == b"{"


def _safe_tensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(
            f"{path} must be a safetensors file: it is another kind of file, or was cut off or "
            "damaged"
        ) from error


def why(error: Exception) -> str:
    """What is wrong with a file that torch cannot read, in words for those who have it."""
    text = str(error)
    found = re.search(r"(?:GLOBAL|global|class) ([A-Za-z_][\w.]*\.[\w.]+)", text)
    if isinstance(error, pickle.UnpicklingError) and found:
        return (
            f"it holds objects of {found[1]}, and to read those could run code: save the weights "
            "alone, torch.save(model.state_dict(), 'weights.pt')"
        )
    if "TorchScript" in text or "torch.jit" in text:
        return "it is a TorchScript archive: torch.save(model.state_dict(), 'weights.pt')"
    if isinstance(error, ValueError) and "checksum" in text:
        return text
    return "it is another kind of file, or was cut off or damaged"


def require_fit(network: nn.Module, state: Mapping[str, Any], path: Path) -> None:
    """Raise ValueError unless the state has the network's names and shapes, in plain tensors."""
    expected = network.state_dict()
    missing = [name for name in expected if name not in state]
    unexpected = [name for name in state if name not in expected]
    if missing or unexpected:
        raise ValueError(
            f"{path} is a checkpoint of another network: {_count(missing)} are missing, "
            f"{_count(unexpected)} are unknown"
        )
    for name, tensor in expected.items():
        _require_plain(name, state[name], path)
        if state[name].shape != tensor.shape:
            raise ValueError(
                f"{path} is a checkpoint of another network: {name} must be "
                f"{tuple(tensor.shape)}, it is {tuple(state[name].shape)}"
            )
        if tensor.is_floating_point() and not state[name].is_floating_point():
            raise ValueError(f"{path} must hold {name} in floats, it is {_kind(state[name])}")


def file_digest(path: Path) -> str:
    """16 hex digits of a file's contents. Raises ValueError when it is no file."""
    _require_file(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _tensors(saved: object, path: Path, entry: str, field: str) -> dict[str, Tensor]:
    """The tensors by name, out of whatever dictionaries are around them."""
    if entry:
        saved = _entry(saved, path, entry, field)
    for _ in range(3):
        there = _states(saved) if isinstance(saved, dict) else []
        if len(there) > 1:
            raise ValueError(
                f"{path} holds {len(there)} state_dicts, {', '.join(there)}: {field} must "
                f"name one, {field}={there[0]} or another"
            )
        if not there or not isinstance(saved, dict):
            break
        saved = saved[there[0]]
    if not isinstance(saved, dict):
        raise ValueError(f"{path} must hold a state_dict, it holds a {type(saved).__name__}")
    for name in saved:
        if not isinstance(name, str):
            raise ValueError(f"{path} must hold tensors by name, it has the entry {name!r:.60}")
    # Numbers of epochs and arguments may stand among them.
    tensors = {name: value for name, value in saved.items() if isinstance(value, Tensor)}
    if not tensors:
        raise ValueError(f"{path} must hold a state_dict of tensors, there is none in it")
    return tensors


def _entry(saved: object, path: Path, entry: str, field: str) -> object:
    inner = saved.get(entry) if isinstance(saved, dict) else None
    if not isinstance(inner, dict):
        there = _states(saved) if isinstance(saved, dict) else []
        raise ValueError(
            f"{field} must name a state_dict in {path}, got {entry!r}; there are: "
            f"{', '.join(there) or 'none by name'}"
        )
    return inner


def _states(saved: Mapping[Any, Any]) -> list[str]:
    """Names of the entries that are state_dicts of a network, as far as names tell, or hold one."""
    holding = [n for n, value in saved.items() if isinstance(n, str) and _holds_tensors(value)]
    named = [n for n in holding if n in _WRAPPERS or any(part in n.lower() for part in _AVERAGED)]
    empty = [n for n in _WRAPPERS if isinstance(saved.get(n), dict) and not _has_tensors(saved)]
    return named or holding or empty[:1]


def _has_tensors(saved: Mapping[Any, Any]) -> bool:
    return any(isinstance(value, Tensor) for value in saved.values())


def _holds_tensors(value: object) -> bool:
    """Whether it is a state_dict, or a dictionary around one; an optimizer's is none."""
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        return False
    if "param_groups" in value:
        return False
    return _has_tensors(value) or any(map(_holds_tensors, value.values()))


def _adapted(network: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state under the network's own names, with what it can do without."""
    expected = network.state_dict()
    state = {name.replace("_orig_mod.", ""): tensor for name, tensor in state.items()}
    for name in [n.removesuffix("_orig") for n in state if n.endswith("_orig")]:
        if f"{name}_mask" in state:  # as torch.nn.utils.prune leaves a weight and its mask
            state[name] = state.pop(f"{name}_orig") * state.pop(f"{name}_mask")
    if _COUNTER not in expected:
        state.pop(_COUNTER, None)
    while not expected.keys() & state.keys():  # a network may itself be held by one called "model"
        prefix = next((p for p in _PREFIXES if all(n.startswith(p) for n in state)), None)
        if prefix is None or not state:
            break
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    counters = {name for name in expected if name.endswith(".num_batches_tracked")}
    if expected.keys() - state.keys() == counters:  # as before PyTorch 0.4.1
        state |= {name: expected[name] for name in counters}
    return state


def _require_plain(name: str, tensor: object, path: Path) -> None:
    plain = isinstance(tensor, Tensor) and tensor.layout == torch.strided
    if not plain or tensor.is_meta or tensor.is_quantized:  # type: ignore[attr-defined]
        raise ValueError(f"{path} must hold {name} as a plain tensor, it is {_kind(tensor)}")


def _kind(tensor: object) -> str:
    if not isinstance(tensor, Tensor):
        return f"a {type(tensor).__name__}"
    if tensor.is_meta:
        return "a meta tensor, without values"
    if tensor.is_quantized:
        return "quantized"
    layout = str(tensor.layout).removeprefix("torch.")
    return str(tensor.dtype).removeprefix("torch.") if layout == "strided" else layout


def _require_finite(state: Mapping[str, Tensor], path: Path) -> None:
    """Raise ValueError for weights with which no network computes."""
    for name, tensor in state.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor.float()).all()):
            raise ValueError(f"{path} must hold finite numbers, {name} has others")
        if name.endswith("running_var") and bool((tensor < 0).any()):
            raise ValueError(f"{path} must hold variances of at least 0, {name} has negative ones")


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise ValueError(f"the checkpoint must be a file, {path} is none")


def _count(entries: list[str]) -> str:
    some = [name if name.isprintable() else ascii(name) for name in entries[:2]]
    shown = ", ".join(name[:60] for name in some)
    return f"{len(entries)} entries" + (f" ({shown} …)" if entries else "")

"""state_dicts in files: loaded whole, or refused in one sentence."""

import hashlib
from pathlib import Path

import torch
from torch import Tensor, nn


def load_checkpoint(network: nn.Module, path: Path | str) -> None:
    """Load a state_dict that must fit `network` exactly; ValueError says what does not."""
    path = Path(path)
    _require_file(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # Anything may be in the file, and torch.load raises as many kinds of errors.
        raise ValueError(
            f"{path} must be a state_dict saved by torch.save: {first_line(error)}"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ValueError(f"{path} must hold a plain state_dict of tensors, it does not")
    require_fit(network, state, path)
    network.load_state_dict(state)


def require_fit(network: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    """Raise ValueError unless the state has the network's names and shapes."""
    expected = network.state_dict()
    missing = [name for name in expected if name not in state]
    unexpected = [name for name in state if name not in expected]
    if missing or unexpected:
        raise ValueError(
            f"{path} is a checkpoint of another network: {_count(missing)} are missing, "
            f"{_count(unexpected)} are unknown"
        )
    wrong = [name for name, tensor in expected.items() if state[name].shape != tensor.shape]
    if wrong:
        raise ValueError(
            f"{path} is a checkpoint of another network: {wrong[0]} must be "
            f"{tuple(expected[wrong[0]].shape)}, it is {tuple(state[wrong[0]].shape)}"
        )


def file_digest(path: Path) -> str:
    """16 hex digits of a file's contents. Raises ValueError when it is no file."""
    _require_file(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise ValueError(f"the checkpoint must be a file, {path} is none")


def _count(entries: list[str]) -> str:
    return f"{len(entries)} entries" + (f" ({', '.join(entries[:2])} …)" if entries else "")

"""A network with fewer channels, rebuilt by the shapes of its parameters alone."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from pruning import Survivors, compact
from trainables.networks.checkpoints import checkpoint_state, load_fitting


def left_by_shapes(network: nn.Module, state: Mapping[str, Tensor], path: Path) -> Survivors | None:
    """Parameter or buffer -> the first so many of its filters and columns; None where all are.

    network: of full shape. state: read from `path`. Which channels these were, shapes do not say.
    Raises ValueError where shapes are no part of the network's.
    """
    left: Survivors = {}
    for name, whole in network.state_dict().items():
        part = state.get(name)
        if part is None or part.shape == whole.shape or not whole.dim():
            continue
        n_cut = min(2, whole.dim())
        cut, rest = part.shape[:n_cut], part.shape[n_cut:]
        fits = rest == whole.shape[n_cut:] and all(
            0 < a <= b for a, b in zip(cut, whole.shape, strict=False)
        )
        if part.dim() != whole.dim() or not fits:
            raise ValueError(
                f"{path} is a checkpoint of another network: {name} must be at most "
                f"{tuple(whole.shape)}, it is {tuple(part.shape)}"
            )
        left[name] = tuple(torch.arange(n) for n in cut)
    return left or None


def with_shapes(network: nn.Module, left: Survivors | None) -> nn.Module:
    """The network itself where nothing is gone, else a copy with what is left of it."""
    if left is None:
        return network
    smaller = compact(network, left)
    for module in smaller.modules():
        if isinstance(module, nn.LayerNorm) and module.weight is not None:
            module.normalized_shape = tuple(module.weight.shape)
        elif isinstance(module, nn.GroupNorm) and module.weight is not None:
            module.num_channels = len(module.weight)
    return smaller


def load_by_shapes(network: nn.Module, path: Path) -> nn.Module:
    """The network, or a smaller copy of it, with the state_dict in a file; in evaluation mode.

    Raises ValueError as `load_checkpoint` and `left_by_shapes`.
    """
    state = checkpoint_state(network, path)
    shaped = with_shapes(network, left_by_shapes(network, state, path))
    load_fitting(shaped, state, path)
    return shaped.eval()

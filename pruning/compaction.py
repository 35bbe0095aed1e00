"""Removing for real: a network without its pruned filters, equal in outputs and gradients.

Only whole filters go, with their BatchNorm and with the input channels that read them. What feeds
what is told by the caller: this file knows no architecture.
"""

import copy
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import TypeVar

import torch
from torch import Tensor, nn

from pruning.masks import KeepMask, batchnorm_of

Network = TypeVar("Network", bound=nn.Module)

Sources = Mapping[str, Sequence[str]]
"""Name of a Conv2d or Linear -> the convolutions whose filters, end to end, are its inputs."""

Kept = dict[str, tuple[Tensor, ...]]
"""Name of a parameter or buffer -> the kept indices along its first dimensions."""


def kept_entries(network: nn.Module, keep: KeepMask, sources: Sources) -> Kept:
    """What is left of each parameter and buffer when the filters without weights are gone.

    keep: masks of a network whose filters are pruned together with their BatchNorms.
    sources: of every layer that reads a pruned one. A layer that is not named reads all it did.
    Raises ValueError when a layer has no filter left: such a network cannot be built.
    """
    width, left = {}, {}
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            mask = keep.get(f"{name}.weight")
            alive = torch.arange(module.out_channels)
            width[name], left[name] = len(alive), alive
            if mask is not None:
                left[name] = alive[mask.flatten(1).any(1).cpu()]
            if len(left[name]) == 0:
                raise ValueError(f"a compacted layer needs a filter, {name} has none left")
    kept: Kept = {}
    for name, module in network.named_modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            rows = left.get(name, torch.arange(len(module.weight)))
            columns = torch.arange(module.weight.shape[1])
            if name in sources:
                starts = accumulate((width[source] for source in sources[name]), initial=0)
                parts = [left[s] + start for s, start in zip(sources[name], starts, strict=False)]
                columns = torch.cat(parts)
            kept[f"{name}.weight"] = (rows, columns)
            kept[f"{name}.bias"] = (rows,)
    for convolution, batchnorm in batchnorm_of(network).items():
        for part in ("weight", "bias", "running_mean", "running_var"):
            kept[f"{batchnorm}.{part}"] = (left[convolution],)
    return kept


def compact(network: Network, kept: Kept) -> Network:
    """A smaller copy of `network`, in the same mode, with the same names; equal in its outputs.

    It holds no pruned filter, so an optimizer of its own trains it without masks.
    """
    smaller = copy.deepcopy(network)
    for name, module in smaller.named_modules():
        for part, tensor in [*module.named_parameters(recurse=False)]:
            if f"{name}.{part}" in kept:
                small = _chosen(tensor.detach(), kept[f"{name}.{part}"]).clone()
                setattr(module, part, nn.Parameter(small, requires_grad=tensor.requires_grad))
        for part, tensor in [*module.named_buffers(recurse=False)]:
            if f"{name}.{part}" in kept:
                setattr(module, part, _chosen(tensor, kept[f"{name}.{part}"]).clone())
        if isinstance(module, nn.Conv2d):
            module.out_channels, module.in_channels = module.weight.shape[:2]
        elif isinstance(module, nn.Linear):
            module.out_features, module.in_features = module.weight.shape
        elif isinstance(module, nn.BatchNorm2d):
            module.num_features = len(module.weight)
    return smaller


@torch.no_grad()
def copy_back(smaller: nn.Module, network: nn.Module, kept: Kept) -> None:
    """Write what `smaller` has become into `network`; what was removed stays as it is there."""
    large = network.state_dict()
    for name, tensor in smaller.state_dict().items():
        if name in kept:
            large[name][_grid(kept[name], large[name].device)] = tensor
        else:
            large[name].copy_(tensor)


def _chosen(tensor: Tensor, indices: tuple[Tensor, ...]) -> Tensor:
    return tensor[_grid(indices, tensor.device)].contiguous(
        memory_format=torch.channels_last if tensor.dim() == 4 else torch.contiguous_format
    )


def _grid(indices: tuple[Tensor, ...], device: torch.device) -> tuple[Tensor, ...]:
    """Indices of a rectangle: rows x columns, or rows alone."""
    here = [index.to(device) for index in indices]
    return (here[0][:, None], here[1][None, :]) if len(here) == 2 else (here[0],)

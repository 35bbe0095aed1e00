"""Which channels a masked network still needs: those that are not zero, and that somebody reads."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from pruning.masks import KeepMask
from pruning.structure import Step, Structure, is_depthwise, zero_after

Channels = dict[int, Tensor]
"""Step -> bool [channel], of the steps whose channels are followed; on the CPU."""


def zero_channels(network: nn.Module, keep: KeepMask, structure: Structure) -> Channels:
    """True where a channel is zero whatever the image, as its masks say.

    A layer's channel is zero where no weight of its filter is kept, nor its bias; a BatchNorm's
    where neither its weight nor its bias is.
    """
    zero: Channels = {}
    for i, step in enumerate(structure.steps):
        if step.width is None:
            continue
        if step.op in ("layer", "norm"):
            zero[i] = _emptied(network, keep, step)
        else:
            zero[i] = zero_after(step, [zero[number] for number in step.inputs])
    return zero


def needed_channels(
    network: nn.Module,
    keep: KeepMask,
    structure: Structure,
    zero: Channels,
    *,
    heads: bool = True,
) -> Channels:
    """True where a path of kept weights leads on to an output.

    keep: masks by parameter name; what has none is kept. zero: as `zero_channels`; a channel that
    is multiplied by zero is not needed. heads: whether outputs of auxiliary heads count, which
    are there in training alone.
    """
    needed = {
        i: torch.zeros(step.width, dtype=torch.bool)
        for i, step in enumerate(structure.steps)
        if step.width is not None
    }
    for i in reversed(range(len(structure.steps))):
        for number, wanted in _wants(network, keep, structure, i, needed, zero, heads):
            needed[number] |= wanted
    return needed


def read_filters(
    network: nn.Module, keep: KeepMask, structure: Structure, *, heads: bool = True
) -> dict[str, Tensor]:
    """Layer -> bool [filter], True where a path of kept weights leads on from it to an output.

    The arguments are those of `needed_channels`.
    """
    zero = zero_channels(network, keep, structure)
    needed = needed_channels(network, keep, structure, zero, heads=heads)
    return {name: needed[i] for name, i in structure.layers.items()}


def live_sets(network: nn.Module, keep: KeepMask, structure: Structure) -> Tensor:
    """bool [set]: which sets of channels must stay for equal outputs and gradients.

    A set may go if each of its channels is zero, or nobody reads it. Something of every layer
    stays, since there is none without channels, and as many of each part as a grouped convolution
    or a split needs.
    """
    zero = zero_channels(network, keep, structure)
    needed = needed_channels(network, keep, structure, zero)
    live = structure.fixed.clone()
    for i, step in enumerate(structure.steps):
        if step.op == "layer" and not is_depthwise(network.get_submodule(step.name)):
            for number, wanted in _wants(network, keep, structure, i, needed, zero, True):
                live[structure.tied[number][wanted & ~zero[number]]] = True
    while _fill(structure, live):
        pass
    return live


def _fill(structure: Structure, live: Tensor) -> bool:
    """Bring back what a step must have; whether that changed anything."""
    before = int(live.sum())
    for i, n_parts in (*((i, 1) for i in structure.tied), *structure.balanced):
        parts = structure.tied[i].reshape(n_parts, -1)
        counts = live[parts].sum(1)
        target = max(int(counts.max()), 1)
        if int(counts.min()) == target:
            continue
        for part, count in zip(parts, counts.tolist(), strict=True):
            live[part[~live[part]][: target - count]] = True
    return int(live.sum()) > before


def _emptied(network: nn.Module, keep: KeepMask, step: Step) -> Tensor:
    """bool [channel] of a layer or a BatchNorm: True where nothing of it is kept."""
    module = network.get_submodule(step.name)
    kept = torch.zeros(step.width or 0, dtype=torch.bool)
    names = [f"{step.name}.{part}" for part, _ in module.named_parameters(recurse=False)]
    if not names or any(name not in keep for name in names):
        return kept
    for name in names:
        kept |= keep[name].cpu().flatten(1).any(1) if keep[name].dim() > 1 else keep[name].cpu()
    return ~kept


def _wants(
    network: nn.Module,
    keep: KeepMask,
    structure: Structure,
    i: int,
    needed: Channels,
    zero: Channels,
    heads: bool,
) -> Iterator[tuple[int, Tensor]]:
    """(step, bool [channel]): what step i needs of each of those that it reads."""
    step, offset = structure.steps[i], 0
    for number in step.inputs:
        width = structure.steps[number].width
        if width is None:
            continue
        if step.op == "head" and not heads:
            wanted = torch.zeros(width, dtype=torch.bool)
        elif i not in needed:  # an output, or where channels are not followed any further
            wanted = torch.ones(width, dtype=torch.bool)
        elif step.op == "layer":
            wanted = _columns_read(network, keep, step.name, needed[i], width)
        elif step.op == "multiply":
            others = [zero[other] for other in step.inputs if other != number]
            wanted = needed[i] & ~torch.stack([*others, torch.zeros_like(needed[i])]).any(0)
        elif step.op == "concat":
            wanted = needed[i][offset : offset + width]
            offset += width
        elif step.op == "select":
            wanted = torch.zeros(width, dtype=torch.bool)
            wanted[list(step.index)] = needed[i]
        else:
            wanted = needed[i]
        yield number, wanted


def _columns_read(
    network: nn.Module, keep: KeepMask, name: str, rows: Tensor, width: int
) -> Tensor:
    """bool [input channel]: which of them the needed rows of a layer read."""
    layer: Any = network.get_submodule(name)
    mask = keep.get(f"{name}.weight")
    if mask is None:
        pairs = torch.ones(layer.weight.shape[:2], dtype=torch.bool)
    else:
        pairs = mask.cpu() if mask.dim() == 2 else mask.flatten(2).any(2).cpu()
    groups = getattr(layer, "groups", 1)
    by_group = (pairs & rows[:, None]).reshape(groups, len(rows) // groups, -1).any(1)
    return by_group.reshape(width, -1).any(1)  # of a flattened map: any of its positions

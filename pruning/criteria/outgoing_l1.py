"""The weights that read a filter (He et al. 2014)."""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pruning.criteria.criterion import Scaled, Subject, listed
from pruning.prunable import NeedsExclusion
from pruning.structure import Structure, structure_of


@dataclass(frozen=True, kw_only=True)
class OutgoingL1(Scaled):
    """Mean of |w| over all weights that read a filter, whatever lies in between.

    The "onorm" of He et al. 2014 (Reshaping Deep Neural Network for Fast Decoding by Node-Pruning,
    ICASSP): of all layers that read it, through concatenations, residual sums and products, too.
    A depthwise filter reads its input; a LocalResponseNorm is passed over, since it scales channels
    and leaves each where it is. A filter that nobody reads has 0.
    """

    name = "outgoing_l1"
    knows = ("filter",)

    def importance(self, subject: Subject) -> dict[str, Tensor]:
        self.require(subject)
        structure = _followed(subject)
        totals, counts = _readers(subject.network, structure)
        steps = structure.layers
        return {
            name: totals[steps[layer]] / counts[steps[layer]].clamp(min=1)
            for name, layer in subject.layers().items()
        }

    def require(self, subject: Subject) -> None:
        structure = _followed(subject)
        seen = structure.layers.keys() - _unseen(structure)
        unseen = [layer for layer in subject.layers().values() if layer not in seen]
        if unseen:
            ends = [f" ({end.name}: {end.why})" for end in structure.ends[:1]]
            raise NeedsExclusion(
                "criterion 'outgoing_l1' needs to see every layer that reads a filter; the filters "
                f"of {listed(unseen)} cannot be followed{''.join(ends)}, or are outputs",
                unseen,
            )


def _followed(subject: Subject) -> Structure:
    """The structure, as if there were no LocalResponseNorm."""
    norms = [
        name
        for name, module in subject.network.named_modules()
        if isinstance(module, nn.LocalResponseNorm)
    ]
    if not norms:
        return subject.structure
    plain = copy.deepcopy(subject.network)
    for name in norms:
        plain.set_submodule(name, nn.Identity())
    return structure_of(plain)


def _readers(
    network: nn.Module, structure: Structure
) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
    """Step -> float64 [channel]: the sum of |w| over the weights that read it, and their number."""
    steps = structure.steps
    widths = {i: step.width for i, step in enumerate(steps) if step.width is not None}
    totals = {i: torch.zeros(width, dtype=torch.float64) for i, width in widths.items()}
    counts = {i: torch.zeros_like(total) for i, total in totals.items()}
    for i in reversed(range(len(steps))):  # from the readers to what they read
        step, start = steps[i], 0
        for number in step.inputs:
            if number not in widths:
                continue
            width = widths[number]
            if step.op == "layer":
                total, count = _columns(network.get_submodule(step.name), width)
                totals[number] += total
                counts[number] += count
            elif i in widths:
                for values in (totals, counts):
                    if step.op == "select":
                        values[number].index_add_(0, torch.tensor(step.index), values[i])
                    else:
                        values[number] += values[i][start : start + width]
                start += width if step.op == "concat" else 0
    return totals, counts


def _columns(layer: Any, width: int) -> tuple[Tensor, float]:
    """Of each of the channels that a layer reads: the sum of |w|, and how many weights these are.

    A channel of a flattened map is read by a column for each of its positions.
    """
    magnitudes = layer.weight.detach().cpu().double().abs()
    groups = getattr(layer, "groups", 1)
    columns = magnitudes.reshape(groups, len(magnitudes) // groups, magnitudes.shape[1], -1)
    return columns.sum((1, 3)).reshape(width, -1).sum(1), magnitudes.numel() / width


def _unseen(structure: Structure) -> set[str]:
    """Layers of which a channel reaches an output, or a place where it is not followed."""
    found: dict[int, bool] = {}
    for i in reversed(range(len(structure.steps))):
        found[i] = any(
            structure.steps[k].op != "layer" and (structure.steps[k].width is None or found[k])
            for k in structure.readers[i]
        )
    return {name for name, i in structure.layers.items() if found[i]}

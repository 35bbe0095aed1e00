"""Criteria of filters that are none of ours, to see whether they should be."""

import copy

import torch
from torch import Tensor, nn

from pruning import batchnorm_of, prunable_weights, structure_of


def outgoing_l1(network: nn.Module) -> dict[str, Tensor]:
    """Sum of |w| over the weights that read a filter; [filter] of every prunable convolution.

    A LocalResponseNorm is passed over: it scales channels, and leaves each where it is. Raises
    ValueError where the readers of a filter cannot be followed.
    """
    plain = copy.deepcopy(network)
    for name, module in network.named_modules():
        if isinstance(module, nn.LocalResponseNorm):
            plain.set_submodule(name, nn.Identity())
    structure = structure_of(plain)
    if structure.ends:
        where = ", ".join(f"{end.name} ({end.why})" for end in structure.ends)
        raise ValueError(f"who reads a filter must be known, but channels end at {where}")
    totals = {
        i: torch.zeros(step.width, dtype=torch.float64)
        for i, step in enumerate(structure.steps)
        if step.width is not None
    }
    for i in reversed(range(len(structure.steps))):  # from the readers to what they read
        step, start = structure.steps[i], 0
        for number in step.inputs:
            if number not in totals:
                continue
            if step.op == "layer":
                weight = plain.get_parameter(f"{step.name}.weight").detach().double().abs()
                columns = weight.flatten(2).sum((0, 2)) if weight.dim() == 4 else weight.sum(0)
                totals[number] += columns.reshape(len(totals[number]), -1).sum(1)
            elif i in totals:
                width = len(totals[number])
                totals[number] += totals[i][start : start + width]
                start += width if step.op == "concat" else 0
    layers = structure.layers
    return {
        name: totals[layers[name.removesuffix(".weight")]] for name in prunable_weights(network)
    }


def batchnorm_scale(network: nn.Module) -> dict[str, Tensor]:
    """|weight of the BatchNorm that follows| (Liu et al. 2017, network slimming).

    Raises ValueError where a convolution has none.
    """
    follows = batchnorm_of(network)
    bare = [n for n in prunable_weights(network) if n.removesuffix(".weight") not in follows]
    if bare:
        raise ValueError(f"every convolution must have a BatchNorm, {bare[0]} has none")
    return {
        name: network.get_parameter(f"{follows[name.removesuffix('.weight')]}.weight")
        .detach()
        .double()
        .abs()
        for name in prunable_weights(network)
    }

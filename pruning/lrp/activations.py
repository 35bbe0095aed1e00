"""Activations, and LRN, take the relevance of what they give for that of what they read."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

# Zero stays zero in each. ReLU and max pooling need nothing: autograd does the same there.
# A LocalResponseNorm divides a value by what its neighbours are. These say how strongly it counts,
# and not what it is made of, so that they get nothing.
PASSED = (
    *(nn.ReLU6, nn.LeakyReLU, nn.Hardtanh, nn.SiLU, nn.Hardswish, nn.GELU),
    nn.LocalResponseNorm,
)


def keeps_zero(activation: nn.Module) -> bool:
    """Whether it gives 0 for 0: elsewhere an input of 0 could not carry its relevance."""
    zeros = torch.zeros(1, 1, 1, device="cpu")  # [channel] first, for a LocalResponseNorm
    return not activation(zeros).any()


class Passing(nn.Module):
    """The outputs of an activation; an input gets the relevance of its output, all of it.

    What Bach et al. 2015 do at a neuron (relevance is of the neuron, and its inputs get it by
    what they add to the sum), for any function of one number, and for one that scales each value:
    relevance is carried as value x gradient, so that the gradient is times y / x.
    """

    @staticmethod
    def is_for(module: nn.Module) -> bool:
        return type(module) in PASSED

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.in_place = bool(getattr(activation, "inplace", False))
        self.activation = copy.deepcopy(activation)
        if self.in_place:
            self.activation.inplace = False  # type: ignore[assignment]

    def forward(self, inputs: Tensor) -> Tensor:
        return _Pass.apply(inputs, self.activation, self.in_place)


class _Pass(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, activation: nn.Module, in_place: bool) -> Tensor:
        outputs = activation(inputs)
        ctx.ratio = torch.where(inputs == 0, 0, outputs / inputs)
        if not in_place:
            return outputs
        ctx.mark_dirty(inputs)  # others may read what it wrote
        return inputs.copy_(outputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return gradient * ctx.ratio, None, None

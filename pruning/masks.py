"""Holding the pruned at zero: a mask is a plain mapping, applied in place after every step.

Names and leaves stay what they are, so a pruned network is a plain torchvision network: its
state_dict loads anywhere, it deep-copies, it compiles without a recompile a round.
"""

import torch
from torch import Tensor, nn

KeepMask = dict[str, Tensor]
"""Parameter name -> bool tensor of the parameter's shape, True = kept."""


class Held:
    """The masks of one network, ready to be applied in one fused multiply.

    network: its parameters are changed in place, never replaced.
    keep: True = kept; names must be parameters of the network, shapes must agree.
    """

    def __init__(self, network: nn.Module, keep: KeepMask) -> None:
        self.parameters: list[Tensor] = [network.get_parameter(name) for name in keep]
        self.names = list(keep)
        for name, parameter in zip(self.names, self.parameters, strict=True):
            if keep[name].shape != parameter.shape:
                raise ValueError(
                    f"a mask must have its parameter's shape: {name} is {tuple(parameter.shape)}, "
                    f"its mask {tuple(keep[name].shape)}"
                )
        # Floats, because one fused multiply of floats is faster than 57 multiplies by bools.
        self.factors = [keep[n].to(p) for n, p in zip(keep, self.parameters, strict=True)]

    @torch.no_grad()
    def apply(self) -> None:
        """Set the pruned to zero."""
        if self.parameters:
            torch._foreach_mul_(self.parameters, self.factors)

    @torch.no_grad()
    def mask_gradients(self) -> None:
        """Drop the gradients of the pruned, before anything clips or logs a norm."""
        pairs = zip(self.parameters, self.factors, strict=True)
        reached = [(p.grad, f) for p, f in pairs if p.grad is not None]
        if reached:
            torch._foreach_mul_([g for g, _ in reached], [f for _, f in reached])

    def revived(self) -> list[str]:
        """Names of the parameters of which a pruned entry is not exactly zero (NaN included)."""
        return [
            name
            for name, parameter, factor in zip(
                self.names, self.parameters, self.factors, strict=True
            )
            if bool((parameter[factor == 0] != 0).any())
        ]

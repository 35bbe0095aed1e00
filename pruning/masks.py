"""Holding the pruned at zero: a mask is a plain mapping, applied in place after every step.

Names and leaves stay what they are, so a pruned network is a plain torchvision network: its
state_dict loads anywhere, it deep-copies, it compiles without a recompile a round.
"""

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor, nn

KeepMask = dict[str, Tensor]
"""Parameter name -> bool tensor of the parameter's shape, True = kept."""


def prunable_weights(network: nn.Module, exclude: Collection[str] = ()) -> dict[str, Tensor]:
    """The weights that may be pruned: those of every Conv2d but the first, and but `exclude`.

    exclude: prefixes of module names, e.g. "conv2" or "aux1".
    Returns parameter name -> parameter, in the order of the network's modules.
    Raises ValueError when an excluded name matches no convolution or nothing is left to prune.
    """
    convolutions = [name for name, m in network.named_modules() if isinstance(m, nn.Conv2d)]
    for prefix in exclude:
        if not any(_is_in(name, prefix) for name in convolutions):
            raise ValueError(
                f"an excluded layer must hold a convolution, {prefix!r} does not; there are "
                f"{', '.join(convolutions)}"
            )
    names = [
        name for name in convolutions[1:] if not any(_is_in(name, prefix) for prefix in exclude)
    ]
    if not names:
        raise ValueError(f"nothing is left to prune: all of {len(convolutions)} are excluded")
    return {f"{name}.weight": network.get_parameter(f"{name}.weight") for name in names}


def _is_in(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")


def batchnorm_of(network: nn.Module) -> dict[str, str]:
    """Convolution name -> name of the BatchNorm2d that is registered right after it."""
    pairs = {}
    for parent_name, parent in network.named_modules():
        children = [(f"{parent_name}.{n}".lstrip("."), m) for n, m in parent.named_children()]
        for (name, module), (next_name, following) in zip(children, children[1:], strict=False):
            if isinstance(module, nn.Conv2d) and isinstance(following, nn.BatchNorm2d):
                pairs[name] = next_name
    return pairs


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


@dataclass(frozen=True)
class Sparsity:
    """What is zero in a network, counted on its weights and not on its masks."""

    n_zero: int  # of the prunable weights
    n_prunable: int
    n_zero_network: int  # of all parameters
    n_network: int
    collapsed: tuple[str, ...]  # prunable layers without a weight left

    @property
    def prunable(self) -> float:
        """Fraction of the prunable weights that are zero, in [0, 1]."""
        return self.n_zero / self.n_prunable

    @property
    def network(self) -> float:
        """Fraction of all parameters that are zero, in [0, 1]."""
        return self.n_zero_network / self.n_network


@torch.no_grad()
def measure_sparsity(network: nn.Module, exclude: Collection[str] = ()) -> Sparsity:
    """Count the zeros of `network`; `exclude` as for `prunable_weights`."""
    weights = prunable_weights(network, exclude)
    zeros = {name: int((weight == 0).sum()) for name, weight in weights.items()}
    return Sparsity(
        n_zero=sum(zeros.values()),
        n_prunable=sum(weight.numel() for weight in weights.values()),
        n_zero_network=sum(int((p == 0).sum()) for p in network.parameters()),
        n_network=sum(p.numel() for p in network.parameters()),
        collapsed=tuple(
            n.removesuffix(".weight") for n, w in weights.items() if zeros[n] == w.numel()
        ),
    )

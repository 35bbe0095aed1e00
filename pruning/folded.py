"""A stand-in for a network, to look at how it decides: BatchNorm folded into the convolutions, and
every layer with weights replaced by one that the caller makes.

The network itself is not touched: layers that are never put into it cannot be left behind in it.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pruning.masks import batchnorm_of

_WITHOUT_WEIGHTS = (
    nn.ReLU,
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool2d,
    nn.Dropout,
    nn.Flatten,
    nn.Identity,
    nn.Sequential,  # an empty one: a shortcut
)


@dataclass(frozen=True)
class Affine:
    """A Conv2d with its BatchNorm, or a Linear: `of(x, weight, bias)` is what it computes."""

    name: str
    of: Callable[[Tensor, Tensor, Tensor | None], Tensor]
    weight: Tensor  # [filter, input channel, height, width] or [unit, input]
    bias: Tensor | None
    channel_dim: int  # of its inputs and outputs


class AffineLayer(nn.Module):
    """What takes the place of an `Affine`; `respond` is for a subclass to say."""

    def __init__(self, affine: Affine) -> None:
        super().__init__()
        self.affine = affine
        self.runs = 0

    def respond(self, inputs: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, inputs: Tensor) -> Tensor:
        self.runs += 1
        if self.runs > 1:
            raise ValueError(
                f"a layer with weights must run once a pass, {self.affine.name} runs again"
            )
        outputs = self.respond(inputs)
        # Tells the BatchNorm that nothing came in between, not even in place.
        outputs.folded = (self.affine.name, outputs._version)  # type: ignore[attr-defined]
        return outputs


class _Folded(nn.Module):
    """What takes the place of a BatchNorm."""

    def __init__(self, name: str, convolution: str) -> None:
        super().__init__()
        self.name, self.convolution = name, convolution

    def forward(self, inputs: Tensor) -> Tensor:
        if getattr(inputs, "folded", None) != (self.convolution, inputs._version):
            raise ValueError(
                f"a BatchNorm must get what the convolution registered before it gives, "
                f"{self.name} gets something else than the outputs of {self.convolution}"
            )
        return inputs


def require_foldable(network: nn.Module) -> None:
    """Raise ValueError for a module that `folded_copy` cannot stand in for, and for one in two
    places that has weights. Runs nothing."""
    follows = set(batchnorm_of(network).values())
    for name, module in network.named_modules():
        if type(module) is nn.BatchNorm2d:
            known = name in follows and module.running_var is not None
        elif any(True for _ in module.children()):
            known = not any(p is not None for p in module._parameters.values())
        else:
            known = type(module) in (nn.Conv2d, nn.Linear, *_WITHOUT_WEIGHTS)
        if not known:
            raise ValueError(
                f"every module must have a rule, there is none for {type(module).__name__} "
                f"{name or '(the network)'!r}; there is one for Conv2d, BatchNorm2d registered "
                f"right after one and with running statistics, Linear, "
                f"{', '.join(kind.__name__ for kind in _WITHOUT_WEIGHTS[:-1])}, and for modules "
                f"of these without parameters of their own"
            )
    first: dict[int, str] = {}
    for name, parameter in network.named_parameters(remove_duplicate=False):
        other = first.setdefault(id(parameter), name)
        if other != name:
            raise ValueError(f"a module with weights must have one place, {name} is {other} again")


def folded_copy(network: nn.Module, layer: Callable[[Affine], AffineLayer]) -> nn.Module:
    """A copy of `network` in eval mode, equal in outputs if `layer` keeps those of its `Affine`.

    What runs between the layers is the network's own forward, with its functions and modules.
    Raises ValueError as `require_foldable`; the copy does when a layer runs twice in a pass, or
    when something stands between a convolution and its BatchNorm. FloatingPointError for weights
    that are not finite.
    """
    require_foldable(network)
    modules = dict(network.named_modules())
    follows = batchnorm_of(network)
    replaced: dict[int, nn.Module] = {}
    for name, module in modules.items():
        if not isinstance(module, (nn.Conv2d, nn.Linear)):
            continue
        batchnorm = modules[follows[name]] if name in follows else None
        weight, bias = _fold(module, batchnorm)
        _require_finite(name, weight, bias)
        of, channel_dim = (
            (F.linear, -1) if isinstance(module, nn.Linear) else (module._conv_forward, 1)
        )
        replaced[id(module)] = layer(Affine(name, of, weight, bias, channel_dim))
        if batchnorm is not None:
            replaced[id(batchnorm)] = _Folded(follows[name], name)
    return copy.deepcopy(network, memo=dict(replaced)).eval()


@torch.no_grad()
def _fold(layer: Any, batchnorm: Any) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of a layer and the BatchNorm that follows (or None) as one; in its dtype."""
    weight = layer.weight.detach()
    bias = None if layer.bias is None else layer.bias.detach()
    if batchnorm is None:
        return weight, bias
    scale = (batchnorm.running_var.double() + batchnorm.eps).rsqrt()
    if batchnorm.affine:
        scale = scale * batchnorm.weight.double()
    shift = -batchnorm.running_mean.double() * scale
    if bias is not None:
        shift = shift + bias.double() * scale
    if batchnorm.affine:
        shift = shift + batchnorm.bias.double()
    folded = weight.double() * scale[:, None, None, None]
    return folded.to(weight.dtype), shift.to(weight.dtype)


def _require_finite(name: str, *tensors: Tensor | None) -> None:
    # The two ends tell: both are NaN when an entry is. Five times as fast as isfinite.
    ends = [torch.aminmax(tensor) for tensor in tensors if tensor is not None and tensor.numel()]
    if not all(torch.isfinite(end) for pair in ends for end in pair):
        raise FloatingPointError(
            f"weights must be finite, those of {name} (its BatchNorm included) are not"
        )

"""A stand-in for a network, to look at how it decides: BatchNorm folded into the layer that it
normalises, and every layer with weights replaced by one that the caller makes.

The network itself is not touched: layers that are never put into it cannot be left behind in it.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pruning.lrp.activations import Passing
from pruning.lrp.known import require_known
from pruning.structure import Structure


@dataclass(frozen=True)
class Affine:
    """A Conv2d or Linear, with its BatchNorm if one is folded into it, or a BatchNorm by itself:
    `of(x, weight, bias)` is what it computes."""

    name: str
    kind: Literal["convolution", "linear", "norm"]
    of: Callable[[Tensor, Tensor, Tensor | None], Tensor]
    weight: Tensor  # [filter, input channel, height, width], [unit, input] or [channel]
    bias: Tensor | None

    @property
    def channel_dim(self) -> int:
        """Of its inputs and outputs."""
        return -1 if self.kind == "linear" else 1


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
    """What takes the place of a BatchNorm that is folded."""

    def __init__(self, name: str, layer: str) -> None:
        super().__init__()
        self.name, self.layer = name, layer

    def forward(self, inputs: Tensor) -> Tensor:
        if getattr(inputs, "folded", None) != (self.layer, inputs._version):
            raise ValueError(
                f"a BatchNorm must get what its layer gives as it is, {self.name} gets something "
                f"else than the outputs of {self.layer}"
            )
        return inputs


def folded_copy(
    network: nn.Module, layer: Callable[[Affine], AffineLayer], structure: Structure
) -> nn.Module:
    """A copy of `network` in eval mode, equal in outputs if `layer` keeps those of its `Affine`.

    What runs between the layers is the network's own forward, with its functions and modules.
    Raises ValueError as `require_known`; the copy does when a layer runs twice in a pass.
    FloatingPointError for weights that are not finite.
    """
    require_known(network, structure)
    follows = structure.norm_of
    layer_of = {norm: name for name, norm in follows.items()}
    replaced: dict[int, nn.Module] = {}
    for name, module in network.named_modules():
        if isinstance(module, nn.BatchNorm2d) and name in layer_of:
            replaced[id(module)] = _Folded(name, layer_of[name])
        elif isinstance(module, (nn.Conv2d, nn.Linear, nn.BatchNorm2d)):
            norm = network.get_submodule(follows[name]) if name in follows else None
            replaced[id(module)] = layer(_affine(name, module, norm))
        elif Passing.is_for(module):
            replaced[id(module)] = Passing(module)
    return copy.deepcopy(network, memo=dict(replaced)).eval()


def _affine(name: str, module: Any, norm: Any) -> Affine:
    """What a layer computes, with the BatchNorm that follows it (or None)."""
    affine: Affine
    if isinstance(module, nn.BatchNorm2d):
        dtype = module.running_mean.dtype  # type: ignore[union-attr]
        scale, shift = (each.to(dtype) for each in _scale_and_shift(module))
        affine = Affine(name, "norm", _scaled, scale, shift)
    elif isinstance(module, nn.Linear):
        affine = Affine(name, "linear", F.linear, *_fold(module, norm))
    else:
        affine = Affine(name, "convolution", module._conv_forward, *_fold(module, norm))
    _require_finite(name, affine.weight, affine.bias)
    return affine


def _scaled(inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    outputs = inputs * weight[:, None, None]
    return outputs if bias is None else outputs + bias[:, None, None]


@torch.no_grad()
def _scale_and_shift(norm: Any) -> tuple[Tensor, Tensor]:
    """What a BatchNorm in eval mode multiplies by, and adds; float64 [channel]."""
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.affine:
        scale = scale * norm.weight.double()
    shift = -norm.running_mean.double() * scale
    return scale, shift + norm.bias.double() if norm.affine else shift


@torch.no_grad()
def _fold(layer: Any, norm: Any) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of a layer and the BatchNorm that follows (or None) as one; in its dtype."""
    weight = layer.weight.detach()
    bias = None if layer.bias is None else layer.bias.detach()
    if norm is None:
        return weight, bias
    scale, shift = _scale_and_shift(norm)
    if bias is not None:
        shift = shift + bias.double() * scale
    folded = weight.double() * scale.reshape(-1, *(1,) * (weight.dim() - 1))
    return folded.to(weight.dtype), shift.to(weight.dtype)


def _require_finite(name: str, *tensors: Tensor | None) -> None:
    # The two ends tell: both are NaN when an entry is. Five times as fast as isfinite.
    ends = [torch.aminmax(tensor) for tensor in tensors if tensor is not None and tensor.numel()]
    if not all(torch.isfinite(end) for pair in ends for end in pair):
        raise FloatingPointError(
            f"weights must be finite, those of {name} (its BatchNorm included) are not"
        )

"""What goes with a filter that has no weight left: its bias, its BatchNorm, depthwise filters."""

import torch
from torch import Tensor, nn

from pruning.masks import KeepMask
from pruning.structure import Structure, is_depthwise, zero_after


def with_followers(network: nn.Module, keep: KeepMask, structure: Structure) -> KeepMask:
    """`keep`, and masks of all that an emptied filter takes along.

    Its bias; its place in every BatchNorm that normalises it, also behind a concatenation; the
    depthwise filters that read it alone, with theirs. Without them a removed filter still emits the
    constant activation(bias - weight x mean / std), and in training mode its masked weights get
    huge gradients (1 / sqrt(eps) of a zero variance).

    keep: masks of weights; True = kept. Returns them with those of the followers, on the same
    device; what is masked in `keep` stays so.
    """
    extended = dict(keep)
    outputs = structure.outputs
    empty: dict[int, Tensor] = {}  # step -> bool [channel], where a masked filter has a say
    for i, step in enumerate(structure.steps):
        given = [empty[n] for n in step.inputs if n in empty]
        if step.op == "layer":
            module = network.get_submodule(step.name)
            if is_depthwise(module) and given:
                each = len(module.weight) // len(given[0])  # type: ignore[arg-type]
                _mask(network, extended, step.name, given[0].repeat_interleave(each))
            # The bias of a class is a prior of its own.
            if f"{step.name}.weight" in extended and step.name not in outputs:
                empty[i] = ~extended[f"{step.name}.weight"].flatten(1).any(1)
                _mask(network, extended, step.name, empty[i])
        elif step.op == "norm" and given:
            _mask(network, extended, step.name, given[0])
            empty[i] = given[0]
        elif given and step.width is not None and step.op != "shift":
            empty[i] = _put_together(structure, i, empty)
    return extended


def _mask(network: nn.Module, keep: KeepMask, name: str, empty: Tensor) -> None:
    """Mask these rows of every parameter of a module."""
    for part, parameter in network.get_submodule(name).named_parameters(recurse=False):
        rows = ~empty.reshape(-1, *(1,) * (parameter.dim() - 1))
        before = keep.get(f"{name}.{part}")
        keep[f"{name}.{part}"] = rows.expand(parameter.shape) if before is None else before & rows


def _put_together(structure: Structure, i: int, empty: dict[int, Tensor]) -> Tensor:
    """bool [channel] of a step: where what it reads is empty; what no mask has a say in is not."""
    step = structure.steps[i]
    device = next(empty[n] for n in step.inputs if n in empty).device
    none = [torch.zeros(structure.steps[n].width or 0, dtype=torch.bool) for n in step.inputs]
    given = [empty.get(n, no).to(device) for n, no in zip(step.inputs, none, strict=True)]
    return zero_after(step, given)

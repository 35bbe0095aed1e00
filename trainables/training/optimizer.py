"""Optimizers and learning rates of a recipe, and the states that they are restored from."""

import math
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from trainables.config import TrainConfig


def build_optimizer(
    network: nn.Module, recipe: TrainConfig, precision: str, head: Collection[str] = ()
) -> Optimizer:
    """A fresh optimizer: old momentum would push pruned weights away from zero.

    head: names of parameters that are trained apart from all others, which have `recipe.body_lr`.
    Each group of parameters has its "scale", of the learning rate.
    """
    # torch's fused SGD keeps the overflow of a step that the loss scaler of fp16 has it skip.
    fused = precision != "fp16"
    named = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [{"params": [p for _, p in named], "scale": 1.0}]
    if head:  # in a group of torch's fused SGD all have a momentum, or none has
        parts = [[p for name, p in named if (name in head) == which] for which in (True, False)]
        scales = (1.0, 1.0 if recipe.body_lr is None else recipe.body_lr / recipe.lr)
        groups = [{"params": p, "scale": s} for p, s in zip(parts, scales, strict=True)]
    if recipe.optimizer == "sgd":
        return SGD(
            groups,
            recipe.lr,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            nesterov=recipe.nesterov,
            fused=fused,
        )
    kind = {"adam": Adam, "adamw": AdamW}[recipe.optimizer]
    return kind(groups, recipe.lr, weight_decay=recipe.weight_decay, fused=fused)


def learning_rate(recipe: TrainConfig, step: int, steps_per_epoch: int) -> float:
    """The learning rate of optimizer step `step` (from 0) of a round."""
    total = recipe.epochs * steps_per_epoch
    warmup_steps = recipe.warmup * total
    if step < warmup_steps:
        return recipe.lr * (step + 1) / (warmup_steps + 1)
    if recipe.lr_schedule == "exponential":
        return recipe.lr * recipe.lr_gamma ** (step // steps_per_epoch)
    if recipe.lr_schedule == "step":
        passed = sum(step // steps_per_epoch >= epoch for epoch in recipe.lr_milestones)
        return recipe.lr * recipe.lr_gamma**passed
    if recipe.lr_schedule == "cosine":
        done = (step - warmup_steps) / max(1, total - warmup_steps)
        return recipe.lr * (1 + math.cos(math.pi * done)) / 2
    return recipe.lr


def require_moments(moments: dict[Any, Any], optimizer: Optimizer) -> None:
    """Raise ValueError unless what an optimizer keeps of each parameter has the parameter's shape:
    fused kernels do not look, and write beyond the end."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    names = {"momentum_buffer"} if isinstance(optimizer, SGD) else {"step", "exp_avg", "exp_avg_sq"}
    for index, found in moments.items():
        if not isinstance(index, int) or not 0 <= index < len(parameters):
            raise ValueError(f"the optimizer has {len(parameters)} parameters, none is {index!r}")
        if not isinstance(found, dict) or found.keys() != names:
            raise ValueError(f"the optimizer keeps {', '.join(sorted(names))}, the state does not")
        for name, tensor in found.items():
            shape = torch.Size() if name == "step" else parameters[index].shape
            if tensor is None and name == "momentum_buffer":
                continue
            if not isinstance(tensor, Tensor) or tensor.shape != shape or not _is_plain(tensor):
                raise ValueError(
                    f"{name} of the optimizer's parameter {index} must be a tensor of floats of "
                    f"shape {tuple(shape)}, it is not"
                )


def _is_plain(tensor: Tensor) -> bool:
    return tensor.layout == torch.strided and tensor.is_floating_point() and not tensor.is_meta

"""Which operations pass channels through one by one. All that is not listed here ends the trace."""

import operator
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from pruning.structure import Op

# Zero stays zero:
_SAME_MODULES = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.SiLU, nn.Hardswish, nn.GELU, nn.ELU, nn.CELU, nn.SELU),
    *(nn.Mish, nn.Tanh, nn.Hardtanh, nn.Softsign, nn.Identity, nn.Dropout),
)
# What follows a layer and makes it one of a network: none of these is a gate or a dropout.
_ACTIVATION_MODULES = tuple(kind for kind in _SAME_MODULES if kind not in (nn.Identity, nn.Dropout))
_MAP_MODULES = (  # of maps alone
    *(nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d),
    *(nn.Dropout2d, nn.Upsample, nn.ZeroPad2d),
)
_SAME_BY_NAME = ("StochasticDepth", "DropPath")  # of torchvision.ops and of timm
_SAME_FUNCTIONS = (
    *(F.relu, F.relu_, F.relu6, F.leaky_relu, F.leaky_relu_, F.silu, F.hardswish, F.gelu, F.elu),
    *(F.mish, F.hardtanh, F.tanh, F.dropout, torch.relu, torch.relu_, torch.tanh),
)
_MAP_FUNCTIONS = (
    *(F.max_pool2d, F.avg_pool2d, F.adaptive_avg_pool2d, F.adaptive_max_pool2d),
    *(F.dropout2d, F.interpolate),
)
_ACTIVATION_FUNCTIONS = tuple(f for f in _SAME_FUNCTIONS if f is not F.dropout)
_ACTIVATION_METHODS = ("relu", "relu_", "tanh")
_SAME_METHODS = ("relu", "relu_", "tanh", "contiguous", "clone", "float")
_SHIFT_MODULES = (nn.Sigmoid, nn.Hardsigmoid, nn.Softplus, nn.LogSigmoid)
_SHIFT_FUNCTIONS = (torch.sigmoid, F.sigmoid, F.hardsigmoid, F.softplus)
_SHIFT_METHODS = ("sigmoid",)
ADD = (operator.add, operator.iadd, torch.add, "add", "add_")
MULTIPLY = (operator.mul, operator.imul, torch.mul, "mul", "mul_")
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def argument(node: fx.Node, place: int, name: str, default: Any) -> Any:
    """What a node hands to an operation, by its place or its name."""
    return node.args[place] if len(node.args) > place else node.kwargs.get(name, default)


def channelwise(node: fx.Node, module: nn.Module | None, is_map: bool) -> Op | None:
    """ "same" or "shift" of what works on each channel alone."""
    if module is not None:
        kind = type(module)
        if kind in _SAME_MODULES or kind.__name__ in _SAME_BY_NAME:
            return "same"
        if kind in _MAP_MODULES and is_map:
            return "same"
        return "shift" if kind in _SHIFT_MODULES else None
    same = _SAME_METHODS if node.op == "call_method" else _SAME_FUNCTIONS
    if node.target in same or (is_map and node.target in _MAP_FUNCTIONS):
        return "same"
    shift = _SHIFT_METHODS if node.op == "call_method" else _SHIFT_FUNCTIONS
    return "shift" if node.target in shift else None


def activation(node: fx.Node, module: nn.Module | None) -> Callable[[Tensor], Tensor] | None:
    """What an activation computes; None of anything else. It may write into what it is given."""
    if module is not None:
        return module if type(module) in _ACTIVATION_MODULES else None
    others = (node.args[1:], dict(node.kwargs))
    if node.op == "call_method" and node.target in _ACTIVATION_METHODS:
        method = getattr(Tensor, str(node.target))
        return partial(_with, method, *others)
    if node.op == "call_function" and node.target in _ACTIVATION_FUNCTIONS:
        return partial(_with, node.target, *others)
    return None


def _with(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], values: Tensor) -> Tensor:
    return function(values, *args, **{n: v for n, v in kwargs.items() if n != "input"})


def flattens(node: fx.Node, module: nn.Module | None) -> bool:
    """Whether the positions of a map are laid beside each other, channel by channel."""
    if isinstance(module, nn.Flatten):
        return (module.start_dim, module.end_dim) == (1, -1)
    if node.target in (torch.flatten, "flatten"):
        start, end = argument(node, 1, "start_dim", 0), argument(node, 2, "end_dim", -1)
        return bool((start, end) == (1, -1))
    is_view = node.target in ("view", "reshape")
    return is_view and len(node.args) == 3 and isinstance(node.args[2], int) and node.args[2] < 0


def shared_modules(network: nn.Module, graph: fx.Graph) -> set[str]:
    """Modules that run more than once in a pass, or whose weights another one has, too."""
    runs = Counter(str(node.target) for node in graph.nodes if node.op == "call_module")
    for node in graph.nodes:  # whose weights are handed to a function
        weights = [str(n.target) for n in node.all_input_nodes if n.op == "get_attr"]
        runs.update({name.rpartition(".")[0] for name in weights} - {""})
    shared = {name for name, n in runs.items() if n > 1}
    owners: dict[int, list[str]] = {}
    for name, parameter in network.named_parameters(remove_duplicate=False):
        owners.setdefault(id(parameter), []).append(name.rpartition(".")[0])
    return shared.union(*(names for names in owners.values() if len(names) > 1))

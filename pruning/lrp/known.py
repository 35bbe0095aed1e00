"""What LRP has rules for. All that is not listed here is refused by its name."""

from torch import nn

from pruning.lrp.activations import PASSED, keeps_zero
from pruning.structure import Structure

_WITHOUT_WEIGHTS = (
    *(nn.ReLU, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.Dropout, nn.Flatten),
    *(nn.Identity, nn.Sequential),  # an empty one: a shortcut
)
# Functions under which value x gradient keeps its sum.
_BY_A_NUMBER = ("mul", "imul", "mul_")  # but not a product of values
_FUNCTIONS = (
    *("relu", "relu_", "max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "dropout", "mean"),
    *("flatten", "view", "reshape", "contiguous", "clone", "permute", "transpose", "getitem"),
    *("squeeze", "unsqueeze", "add", "iadd", "add_", "cat", "concat", "chunk", "split", "shuffle"),
)


def require_known(network: nn.Module, structure: Structure) -> None:
    """Raise ValueError for a module or function that there is no rule for, and for a module in two
    places that has weights. Runs nothing. Of a network that cannot be traced functions are not
    looked at."""
    for name, module in network.named_modules():
        if not _is_known(module):
            passed = ", ".join(kind.__name__ for kind in (*_WITHOUT_WEIGHTS[:-1], *PASSED))
            raise ValueError(
                f"every module must have a rule, there is none for {type(module).__name__} "
                f"{name or '(the network)'!r}; there is one for Conv2d, Linear, BatchNorm2d with "
                f"running statistics, {passed}, and for modules of these without parameters of "
                "their own"
            )
    modules = dict(network.named_modules())
    for i, step in enumerate(structure.steps):
        if step.name not in modules and not _keeps_sums(structure, i):
            raise ValueError(
                f"every function must have a rule, there is none for {step.name}, which the "
                f"network's forward calls; there is one for {', '.join(_FUNCTIONS)}, and for mul "
                "by a number"
            )
    first: dict[int, str] = {}
    for name, parameter in network.named_parameters(remove_duplicate=False):
        other = first.setdefault(id(parameter), name)
        if other != name:
            raise ValueError(f"a module with weights must have one place, {name} is {other} again")


def _is_known(module: nn.Module) -> bool:
    kind = type(module)
    if kind is nn.BatchNorm2d:
        return module.running_var is not None
    if any(True for _ in module.children()):
        return not any(p is not None for p in module._parameters.values())
    if kind in PASSED:
        return keeps_zero(module)
    return kind in (nn.Conv2d, nn.Linear, *_WITHOUT_WEIGHTS)


def _keeps_sums(structure: Structure, i: int) -> bool:
    """Whether a function does; where no layer stands before it there is no relevance to keep."""
    step = structure.steps[i]
    if step.op in ("input", "output", "head") or not _after_a_layer(structure, i):
        return True
    if step.name in _BY_A_NUMBER:
        return step.op == "same"
    return step.op not in ("multiply", "shift") and step.name in _FUNCTIONS


def _after_a_layer(structure: Structure, i: int) -> bool:
    inputs = structure.steps[i].inputs
    return any(
        structure.steps[number].op == "layer" or _after_a_layer(structure, number)
        for number in inputs
    )

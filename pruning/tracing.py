"""From a network's forward pass to its steps: which operations pass channels through, and how."""

import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import fx, nn

from pruning.graph import graph_of
from pruning.operations import (
    ADD,
    MULTIPLY,
    NORMS,
    activation,
    argument,
    channelwise,
    flattens,
    shared_modules,
)
from pruning.structure import End, Op, Step, is_depthwise

Kind = Literal["map", "flat", "rows"]
"""[image, channel, y, x]; [image, channel x position]; […, channel]."""


@dataclass(frozen=True)
class _Value:
    """What a node of the graph gives. step: None of what is no tensor of channels, such as a size.

    folded: while a view splits the channels in groups: (groups, whether they are turned already).
    """

    step: int | None = None
    kind: Kind = "map"
    folded: tuple[int, bool] | None = None


_SHARED = "its weights are used more than once in a pass"


class _Reading:
    """The steps so far, and what each node of the graph gives."""

    def __init__(self, network: nn.Module, graph: fx.Graph) -> None:
        self.modules = dict(network.named_modules())
        self.steps: list[Step] = []
        self.balanced: list[tuple[int, int]] = []
        self.pairs: list[tuple[int, int, int]] = []
        self.ends: list[End] = []
        self.values: dict[fx.Node, Any] = {}
        self.shared = shared_modules(network, graph)

    def add(self, op: Op, name: str, inputs: Sequence[int], width: int | None, **more: Any) -> int:
        self.steps.append(Step(op, name, tuple(inputs), width, **more))
        return len(self.steps) - 1

    def width(self, value: _Value) -> int | None:
        return None if value.step is None else self.steps[value.step].width

    def end(self, name: str, why: str, values: Sequence[_Value]) -> _Value:
        """Channels that come here stay, and what comes out is not followed."""
        numbers = [v.step for v in values if v.step is not None]
        if any(self.steps[number].width is not None for number in numbers):
            self.ends.append(End(name, why))
        return _Value(self.add("end", name, numbers, None), "rows")


Traced = tuple[
    tuple[Step, ...],
    tuple[tuple[int, int], ...],
    tuple[tuple[int, int, int], ...],
    tuple[End, ...],
]


def trace(network: nn.Module) -> Traced:
    """Steps, balanced, tied pairs and ends of a network, as `structure.tie` wants them."""
    try:
        graph, returned = graph_of(network)
    except Exception as error:
        # Whatever a forward pass does with what is no tensor: control flow, shapes, numpy.
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        return (), (), (), (End(type(network).__name__, f"cannot be traced: {first}"),)
    reading = _Reading(network, graph)
    for node in graph.nodes:
        before = len(reading.steps)
        value = reading.values[node] = _read(reading, node)
        is_new = len(reading.steps) == before + 1
        if isinstance(value, _Value) and value.step is not None and node in returned:
            step = reading.steps[value.step]
            if is_new or step.read_at is None:  # an Identity says where to read what it got
                reading.steps[value.step] = replace(step, read_at=returned[node])
    return (
        tuple(reading.steps),
        tuple(reading.balanced),
        tuple(reading.pairs),
        tuple(reading.ends),
    )


def _read(reading: _Reading, node: fx.Node) -> Any:
    if node.op == "placeholder":
        return _Value(reading.add("input", str(node.target), (), None))
    if node.op == "get_attr":
        return _Value()
    if node.op == "output":
        return _output(reading, node)
    if isinstance(node.target, type) and issubclass(node.target, tuple):  # of outputs, named
        return _Value()
    values = [reading.values[n] for n in node.all_input_nodes]
    if any(isinstance(value, list) for value in values):  # parts of a split
        return _part(reading, node)
    if not any(value.step is not None for value in values):
        return _Value()
    module = reading.modules[str(node.target)] if node.op == "call_module" else None
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        return _layer(reading, str(node.target), module, values[0])
    if isinstance(module, NORMS):
        return _norm(reading, str(node.target), values[0])
    if node.op == "call_function" and node.target in (F.batch_norm, F.linear, F.conv2d):
        return _by_function(reading, node)
    if node.target is torch.cat or node.target is torch.concat:
        return _concat(reading, node)
    if node.target in (*ADD, *MULTIPLY) and all(v.step is not None for v in values):
        op: Op = "add" if node.target in ADD else "multiply"
        return _together(reading, op, node, values)
    if node.target in ("size", "dim") or node.target is getattr:
        return _Value()
    if len([v for v in values if v.step is not None]) == 1 and values[0].step is not None:
        return _alone(reading, node, module, values[0])
    return reading.end(_name(node), "several maps come together there", values)


def _name(node: fx.Node) -> str:
    if node.op == "call_module":
        return str(node.target)
    return str(getattr(node.target, "__name__", node.target))


def _output(reading: _Reading, node: fx.Node) -> None:
    """The first of several outputs is the network's, the others are heads of training."""
    given = node.args[0]
    if isinstance(given, fx.Node) and given.op == "call_function" and given.args:
        maker = given.target
        if isinstance(maker, type) and issubclass(maker, tuple):
            given = given.args
    each = list(given) if isinstance(given, (tuple, list)) else [given]
    for k, one in enumerate(each):
        value = reading.values.get(one) if isinstance(one, fx.Node) else None
        if isinstance(value, _Value) and value.step is not None:
            reading.add("head" if k else "output", f"output {k}", [value.step], None)
    return None


def _layer(reading: _Reading, name: str, module: Any, value: _Value) -> _Value:
    if name in reading.shared:
        return reading.end(name, _SHARED, [value])
    is_linear = isinstance(module, nn.Linear)
    width = reading.width(value)
    columns = module.weight.shape[1] * (1 if is_linear else module.groups)
    if width is not None:
        each, left = divmod(columns, width)
        fits = value.kind == "map" and each == 1 and not value.folded
        if is_linear:
            fits = value.kind == "flat" or (value.kind == "rows" and each == 1)
        if left or not fits:
            return reading.end(name, f"it reads {columns} columns of {width} channels", [value])
    numbers = [] if value.step is None else [value.step]
    number = reading.add("layer", name, numbers, len(module.weight))
    if not is_linear and module.groups > 1 and not is_depthwise(module):
        reading.balanced.append((number, module.groups))
        if width is not None:
            reading.balanced.append((numbers[0], module.groups))
    if not is_linear:
        return _Value(number)
    return _Value(number, "flat" if value.kind == "flat" and width is not None else "rows")


def _norm(reading: _Reading, name: str, value: _Value) -> _Value:
    if name in reading.shared:
        return reading.end(name, _SHARED, [value])
    if value.kind != "map" or value.folded:
        return reading.end(name, "a BatchNorm of what is no map", [value])
    return _Value(reading.add("norm", name, [_step(value)], reading.width(value)))


def _by_function(reading: _Reading, node: fx.Node) -> _Value:
    """A layer or BatchNorm by its function, with the weights of a module: as timm's layers do."""
    names = [str(n.target) for n in node.all_input_nodes if n.op == "get_attr"]
    weights = [name.removesuffix(".weight") for name in names if name.endswith(".weight")]
    value = reading.values[node.all_input_nodes[0]]
    module = reading.modules.get(weights[0]) if len(weights) == 1 else None
    if isinstance(module, NORMS):
        return _norm(reading, weights[0], value)
    is_whole = isinstance(module, nn.Linear) and node.target is F.linear
    if isinstance(module, nn.Conv2d) and node.target is F.conv2d:
        is_whole = argument(node, 6, "groups", 1) == module.groups
    if is_whole:
        return _layer(reading, weights[0], module, value)
    return reading.end(_name(node), "its weights are not those of a module of that kind", [value])


def _step(value: _Value) -> int:
    if value.step is None:
        raise ValueError("a value without channels has no step")
    return value.step


def _concat(reading: _Reading, node: fx.Node) -> _Value:
    given: Any = argument(node, 0, "tensors", ())
    values = [reading.values[n] for n in given]
    widths = [reading.width(v) for v in values]
    if None in widths:
        return reading.end("cat", "some of its parts cannot be followed", values)
    plain = all(v.kind == "map" and not v.folded for v in values)
    if argument(node, 1, "dim", 0) not in (1, -3) or not plain:
        return reading.end("cat", "it joins another dimension than the channels", values)
    total = sum(width or 0 for width in widths)
    return _Value(reading.add("concat", "cat", [_step(v) for v in values], total))


def _together(reading: _Reading, op: Op, node: fx.Node, values: list[_Value]) -> _Value:
    """A sum or product: of maps, or of one with a number."""
    first, widths = values[0], {reading.width(v) for v in values}
    if len(values) == 1:
        moves = op == "add" and any(isinstance(a, (int, float)) for a in node.args)
        kind: Op = "shift" if moves else "same"
        return replace(first, step=reading.add(kind, _name(node), [_step(first)], *widths))
    alike = len({(v.kind, v.folded) for v in values}) == 1
    if None in widths or len(widths) > 1 or not alike:
        return reading.end(_name(node), "what is put together does not line up", values)
    return replace(first, step=reading.add(op, _name(node), [_step(v) for v in values], *widths))


def _alone(reading: _Reading, node: fx.Node, module: nn.Module | None, value: _Value) -> Any:
    """An operation on one map."""
    name = _name(node)
    width, is_map = reading.width(value), value.kind == "map" and not value.folded
    if type(module) is nn.Identity:
        return value
    if width is None:
        return replace(value, step=reading.add("same", name, [_step(value)], None))
    if op := channelwise(node, module, is_map):
        number = reading.add(op, name, [_step(value)], width, activation=activation(node, module))
        return replace(value, step=number)
    if is_map and flattens(node, module):
        return _Value(reading.add("same", name, [_step(value)], width), "flat")
    if is_map and node.target in ("mean", torch.mean):
        dims = argument(node, 1, "dim", ())
        if isinstance(dims, (list, tuple)) and {d % 4 for d in dims} == {2, 3}:
            number = reading.add("same", name, [_step(value)], width)
            return _Value(number, "map" if argument(node, 2, "keepdim", False) else "flat")
    if is_map and node.target in ("chunk", torch.chunk):
        n, dim = argument(node, 1, "chunks", 0), argument(node, 2, "dim", 0)
        if dim == 1 and width % n == 0:
            reading.balanced.append((_step(value), n))
            return [(_step(value), k * width // n, width // n) for k in range(n)]
    folded = _folded(reading, node, value)
    if folded is not None:
        return folded
    what = type(module).__name__ if module is not None else name
    return reading.end(name, f"{what} may mix channels", [value])


def _folded(reading: _Reading, node: fx.Node, value: _Value) -> _Value | None:
    """A shuffle of channels: seen as groups, turned, and seen as channels again."""
    width = reading.width(value) or 0
    if node.target in ("view", "reshape"):
        sizes = node.args[1:]
        # Sizes that are numbers would be wrong once channels are gone.
        if len(sizes) == 5 and isinstance(sizes[1], int) and not isinstance(sizes[2], int):
            return replace(value, folded=(sizes[1], False)) if not value.folded else None
        if len(sizes) == 4 and not isinstance(sizes[1], int) and value.folded:
            groups, turned = value.folded
            order = torch.arange(width).reshape(groups, -1)
            index = tuple((order.T if turned else order).flatten().tolist())
            per_group, number = width // groups, _step(value)
            reading.pairs += [(number, k % per_group, k) for k in range(per_group, width)]
            return _Value(reading.add("select", "shuffle", [number], width, index=index))
    if node.target in ("transpose", torch.transpose) and value.folded:
        groups, turned = value.folded
        if set(node.args[1:]) == {1, 2} and not turned:
            return replace(value, folded=(groups, True))
    return None


def _part(reading: _Reading, node: fx.Node) -> _Value:
    """One of the parts of a split."""
    parts, k = reading.values[node.all_input_nodes[0]], node.args[1]
    if node.target is operator.getitem and isinstance(k, int):
        number, first, width = parts[k]
        index = tuple(range(first, first + width))
        return _Value(reading.add("select", "chunk", [number], width, index=index))
    return reading.end(_name(node), "a split is used as a whole", [_Value(parts[0][0])])

"""Where in the picture the cells of a layer's maps look: the centres of their receptive fields."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import fx, nn

from pruning.graph import graph_of

_DEFAULTS = {"kernel_size": 1, "stride": 1, "padding": 0, "dilation": 1}
_OF_POOLS = ("kernel_size", "stride", "padding")


@dataclass(frozen=True)
class Centres:
    """Along either axis, in pixels from the picture's edge: cell c is centred at first + c x step.

    The pixel at the edge is centred at 0.5.
    """

    first: float
    step: float

    def after(self, kernel: int, stride: int, padding: int, dilation: int = 1) -> "Centres":
        """Those of what a convolution or a pool makes of such maps."""
        first = self.first + (dilation * (kernel - 1) / 2 - padding) * self.step
        return Centres(first, self.step * stride)


def cell_centres(network: nn.Module) -> dict[str, Centres]:
    """Name of every convolution -> the centres of its cells.

    By arithmetic along the network's graph (Araujo, Norris, Sim 2019, Distill, "Computing receptive
    fields"): kernels, strides and paddings alone matter, and ceil_mode adds cells at the far end.
    Raises ValueError for a network that cannot be traced, where paths that meet are centred
    differently, and for windows that are so along the two axes.
    """
    try:
        graph, _ = graph_of(network)
    except Exception as error:  # whatever a forward pass does that cannot be traced
        raise ValueError(
            "where cells look is read from a trace of the network, which cannot be traced: "
            "dissection.aligned must be False, SET=dissection.aligned=False (maps are stretched "
            "over the picture then), or dissection None"
        ) from error
    modules = dict(network.named_modules())
    found: dict[fx.Node, Centres] = {}
    convolutions = {}
    for node in graph.nodes:
        if node.op == "output":
            break
        if node.op == "placeholder":
            found[node] = Centres(0.5, 1.0)
            continue
        known = [found[source] for source in node.all_input_nodes if source in found]
        if not known or isinstance(node.target, type):  # several outputs, side by side
            continue
        if len(set(known)) > 1:
            raise ValueError(f"paths that meet must be centred alike, {node.name} joins {known}")
        found[node] = known[0]
        module = modules.get(str(node.target)) if node.op == "call_module" else None
        if isinstance(module, (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)):
            found[node] = _after(known[0], vars(module), str(node.target))
        if node.target in (F.max_pool2d, F.avg_pool2d):
            given = dict(zip(_OF_POOLS, node.args[1:], strict=False)) | dict(node.kwargs)
            given["stride"] = given.get("stride") or given["kernel_size"]
            found[node] = _after(known[0], given, node.name)
        if isinstance(module, nn.Conv2d):
            convolutions[str(node.target)] = found[node]
    return convolutions


def _after(before: Centres, given: Mapping[str, Any], name: str) -> Centres:
    """Those of what a window makes of such maps; given: its sizes, one or (down, across)."""
    by_axis = set()
    for axis in (0, 1):
        sizes = []
        for what, default in _DEFAULTS.items():
            size = given.get(what, default)
            if isinstance(size, str):
                raise ValueError(f"{what} of {name} must be a number, got {size!r}")
            sizes.append(size[axis] if isinstance(size, (tuple, list)) else size)
        by_axis.add(before.after(*sizes))
    if len(by_axis) > 1:
        raise ValueError(
            f"the window of {name} must be centred alike along both axes, it gives {by_axis}"
        )
    return by_axis.pop()

"""Where in the picture the cells of a layer's maps look: the centres of their receptive fields."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import fx, nn


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
    Raises ValueError where paths that meet are centred differently, and for windows that are not
    square.
    """
    graph = fx.symbolic_trace(network).graph
    modules = dict(network.named_modules())
    found: dict[fx.Node, Centres] = {}
    convolutions = {}
    for node in graph.nodes:
        if node.op == "placeholder":
            found[node] = Centres(0.5, 1.0)
            continue
        known = [found[source] for source in node.all_input_nodes if source in found]
        if not known:
            continue
        if len(set(known)) > 1:
            raise ValueError(f"paths that meet must be centred alike, {node.name} joins {known}")
        found[node] = known[0]
        module = modules.get(str(node.target)) if node.op == "call_module" else None
        if isinstance(module, (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)):
            found[node] = known[0].after(*_window(module, str(node.target)))
        if isinstance(module, nn.Conv2d):
            convolutions[str(node.target)] = found[node]
    return convolutions


def _window(module: Any, name: str) -> Iterable[int]:
    """kernel, stride, padding, dilation"""
    sizes = []
    for what in ("kernel_size", "stride", "padding", "dilation"):
        size = getattr(module, what, 1)
        down, across = size if isinstance(size, tuple) else (size, size)
        if down != across or isinstance(down, str):
            raise ValueError(f"{what} of {name} must be one number for both axes, got {size}")
        sizes.append(down)
    return sizes

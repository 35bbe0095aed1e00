"""The graph of a forward pass, and which module gives which of its values."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import fx, nn


def graph_of(network: nn.Module) -> tuple[fx.Graph, dict[fx.Node, str]]:
    """The operations of a pass in training mode, and node -> the module to read it at.

    A node can be read at a module that runs once in a pass and returns it: the layer itself, or
    else the innermost module around it, such as a block that ends with a functional ReLU.
    Raises whatever a forward pass raises that cannot be traced: control flow, shapes, numpy.
    """
    tracer = _Tracer()
    with _training_alone(network):
        graph = tracer.trace(network)
    once = [(name, node) for name, node in tracer.returned if tracer.runs[name] == 1]
    read_at: dict[fx.Node, str] = {}
    for name, node in once:  # the innermost first
        # A Sequential gives what its last module gives, whose name says more.
        if name and not isinstance(network.get_submodule(name), nn.Sequential):
            read_at.setdefault(node, name)
    return graph, read_at


class _Tracer(fx.Tracer):
    """Notes what every module returns. Whole are torch's own layers, not what is made of them."""

    def __init__(self) -> None:
        super().__init__()
        self.returned: list[tuple[str, fx.Node]] = []
        self.runs: Counter[str] = Counter()

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        if any(True for _ in module.children()):
            return False
        return type(module).__module__.startswith(("torch.nn", "torchvision.ops"))

    def call_module(self, module: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        name = self.path_of_module(module)
        self.runs[name] += 1
        given = super().call_module(module, forward, args, kwargs)
        if isinstance(given, fx.Proxy):
            self.returned.append((name, given.node))
        return given


@contextmanager
def _training_alone(network: nn.Module) -> Iterator[None]:
    """The network's own flag alone: auxiliary heads run, and no dropout is asked to."""
    before, network.training = network.training, True
    try:
        yield
    finally:
        network.training = before

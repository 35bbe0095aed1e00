"""A network run again from some layers on: what comes before them is computed once per batch."""

import operator
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, fx, nn

from trainables.networks import logits_of

_IN_PLACE = {operator.iadd, operator.imul, operator.isub, operator.itruediv}


class Again:
    """Logits of a batch, of the whole network, and then after changes to parameters of some of its
    modules: only what depends on these is computed anew.

    network: in evaluation mode; it is shared, not copied. One that torch.fx cannot follow is run
    as a whole each time.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network.eval()
        try:
            traced = fx.symbolic_trace(network)
            self._run: _Interpreter | None = _Interpreter(traced, garbage_collect_values=False)
            self._nodes = list(traced.graph.nodes)
        except Exception:  # a forward pass may do anything
            self._run, self._nodes = None, []
        self._later: dict[frozenset[str], list[fx.Node]] = {}
        self._inputs = torch.empty(0)
        self._values: dict[fx.Node, Any] = {}

    def whole(self, inputs: Tensor) -> Tensor:
        """Logits [image, class] of a batch, which `after` goes on with."""
        self._inputs = inputs
        if self._run is None:
            return logits_of(self.network(inputs))[0]
        self._run.args_iter = iter([inputs])
        self._run.env = {}
        for node in self._nodes:
            self._run.env[node] = self._run.run_node(node)
        self._values = self._run.env
        return logits_of(self._output(self._values))[0]

    def after(self, modules: Collection[str]) -> Tensor:
        """Logits of the batch again, after changes to the parameters of these modules alone."""
        if self._run is None:
            return logits_of(self.network(self._inputs))[0]
        which = frozenset(modules)
        if which not in self._later:
            self._later[which] = self._nodes_after(which)
        self._run.env = dict(self._values)
        for node in self._later[which]:
            self._run.env[node] = self._run.run_node(node)
        return logits_of(self._output(self._run.env))[0]

    def _nodes_after(self, modules: frozenset[str]) -> list[fx.Node]:
        """The nodes that run these modules or read their parameters, and all that read those."""
        later: dict[fx.Node, None] = {}
        for node in self._nodes:
            owner = str(node.target)
            if node.op == "get_attr":
                owner = owner.rpartition(".")[0]
            changed = node.op in ("call_module", "get_attr") and owner in modules
            if changed or any(each in later for each in node.all_input_nodes):
                later[node] = None
        return list(later)

    def _output(self, values: dict[fx.Node, Any]) -> Any:
        return next(value for node, value in values.items() if node.op == "output")


class _Interpreter(fx.Interpreter):
    """Leaves what a step reads as it is, also where the step would work in place: it may be read
    again."""

    def run_node(self, n: fx.Node) -> Any:
        if not self._is_in_place(n):
            return super().run_node(n)
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        first, others = args[0].clone(), args[1:]
        return getattr(self, n.op)(n.target, (first, *others), kwargs)

    def _is_in_place(self, n: fx.Node) -> bool:
        if n.op == "call_module":
            return bool(getattr(self.fetch_attr(str(n.target)), "inplace", False))
        if n.op == "call_method":
            return str(n.target).endswith("_") and not str(n.target).endswith("__")
        # F.relu(x, True) as well as F.relu(x, inplace=True).
        flags = (n.kwargs.get("inplace"), *n.args[1:2])
        is_told = any(flag is True for flag in flags)
        return n.op == "call_function" and (n.target in _IN_PLACE or is_told)

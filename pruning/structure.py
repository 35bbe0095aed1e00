"""How channels run through a network: one symbolic trace, read as a list of steps.

The layers with weights, who reads whom, which BatchNorm normalises what, what is tied together,
which channels are outputs: everything that removing a channel for real must know.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

Op = Literal[
    "input",  # of the network: channels that are not ours to remove
    "layer",  # a Conv2d or Linear: makes channels of its own
    "norm",  # a BatchNorm
    "same",  # channel by channel, and zero stays zero: most activations, pooling, flattening
    "shift",  # channel by channel, and zero becomes something else: a sigmoid
    "add",
    "multiply",
    "concat",
    "select",  # some channels, or all in another order
    "end",  # anything else: channels cannot be followed through it
    "output",
    "head",  # an output of training alone: of an auxiliary head
]


@dataclass(frozen=True)
class Step:
    """One operation on the channels of a network.

    name: of its module, or of its function. inputs: the steps it reads, by number. width: its
    channels; None: they are not followed, and nothing can be said of them. index: of "select":
    which channels of its input these are. read_at: a module that runs once a pass and returns
    what the step gives; None where there is none. activation: of an activation, what it computes,
    maybe in place.
    """

    op: Op
    name: str
    inputs: tuple[int, ...] = ()
    width: int | None = None
    index: tuple[int, ...] = ()
    read_at: str | None = None
    activation: Callable[[Tensor], Tensor] | None = field(default=None, compare=False)


@dataclass(frozen=True)
class End:
    """Where channels cannot be followed any further. name: of the module or function."""

    name: str
    why: str


@dataclass(frozen=True)
class Structure:
    """A network's steps, from input to output.

    tied: step -> int64 [channel], the set that the channel belongs to: channels of one set stay or
        go together (summed, multiplied, or the two sides of a depthwise filter).
    fixed: bool [set], True where a channel must stay: an output's, or one that was not followed.
    balanced: (step, n): of each of the n equal parts of its channels equally many must stay, since
        a grouped convolution or a split cuts there.
    ends: where channels could not be followed; empty for most CNNs.
    """

    steps: tuple[Step, ...]
    tied: Mapping[int, Tensor] = field(repr=False)
    fixed: Tensor = field(repr=False)
    balanced: tuple[tuple[int, int], ...]
    ends: tuple[End, ...]

    @property
    def layers(self) -> dict[str, int]:
        """Name of each layer with weights that was followed -> its step, in the order of the
        forward pass."""
        return {step.name: i for i, step in enumerate(self.steps) if step.op == "layer"}

    @property
    def norms(self) -> dict[str, int]:
        """Name of each BatchNorm that was followed -> its step."""
        return {step.name: i for i, step in enumerate(self.steps) if step.op == "norm"}

    @property
    def outputs(self) -> frozenset[str]:
        """Layers whose channels are outputs of the network, such as classes: these never go."""
        return frozenset(
            name
            for name, number in self.layers.items()
            if number in self.tied and self._is_output(number)
        )

    def _is_output(self, number: int) -> bool:
        return not {"output", "head"}.isdisjoint(self.steps[i].op for i in self._after(number))

    @property
    def first(self) -> frozenset[str]:
        """Layers that read the image: no other layer comes before them."""
        later = {i for number in self.layers.values() for i in self._after(number)}
        return frozenset(name for name, number in self.layers.items() if number not in later)

    @property
    def heads(self) -> frozenset[str]:
        """Layers of auxiliary heads: no path leads from them to the network's own output."""
        leads = {i for i, step in enumerate(self.steps) if step.op == "output"}
        for i in reversed(range(len(self.steps))):
            if i in leads:
                leads.update(self.steps[i].inputs)
        return frozenset(name for name, number in self.layers.items() if number not in leads)

    @cached_property
    def readers(self) -> Mapping[int, tuple[int, ...]]:
        """Step -> the steps that read it."""
        found: dict[int, list[int]] = {i: [] for i in range(len(self.steps))}
        for i, step in enumerate(self.steps):
            for number in dict.fromkeys(step.inputs):
                found[number].append(i)
        return {i: tuple(steps) for i, steps in found.items()}

    @property
    def norm_of(self) -> dict[str, str]:
        """Layer -> the BatchNorm that normalises what it gives, and nothing else reads that."""
        pairs = {}
        for name, number in self.layers.items():
            readers = self.readers[number]
            if len(readers) == 1 and self.steps[readers[0]].op == "norm":
                pairs[name] = self.steps[readers[0]].name
        return pairs

    def _after(self, number: int) -> set[int]:
        """The steps that read what a step gives, up to the next layers, these included."""
        after: set[int] = set()
        new = [number]
        while new:
            for reader in self.readers[new.pop()]:
                if reader not in after:
                    after.add(reader)
                    if self.steps[reader].op != "layer":
                        new.append(reader)
        return after


def structure_of(network: nn.Module) -> Structure:
    """The structure of a network, by one symbolic trace of its forward pass in training mode.

    Works on any device, "meta" included, and changes nothing. What cannot be traced or followed
    is no error: it is among `ends`, and there nothing is ever removed.
    """
    from pruning.tracing import trace  # which needs the steps from here

    return tie(*trace(network), network)


def what_is_lost(structure: Structure) -> str:
    """What pruning a network cannot do where its channels are not followed, in one sentence; ""
    where they are followed from end to end."""
    if not structure.ends:
        return ""
    first, others = structure.ends[0], len(structure.ends) - 1
    if not structure.layers:
        return (
            f"the network {first.name} {first.why}: it is pruned by masks, nothing of it is "
            "removed for real, and units that nobody reads are not told from others"
        )
    more = f" and {others} more" if others else ""
    return (
        f"channels cannot be followed through {first.name} ({first.why}){more}: filters that are "
        "read there are held at zero and not removed for real"
    )


def zero_after(step: Step, given: Sequence[Tensor]) -> Tensor:
    """bool [channel]: where a step gives zero, of what it reads.

    given: bool [channel] of each input, True where it is zero. For steps without weights of which
    the channels are followed; those of a "shift" are never zero.
    """
    if step.op == "add":
        return torch.stack([*given]).all(0)
    if step.op == "multiply":
        return torch.stack([*given]).any(0)
    if step.op == "concat":
        return torch.cat([*given])
    if step.op == "select":
        return given[0][list(step.index)]
    return given[0] if step.op == "same" else torch.zeros_like(given[0])


def is_depthwise(layer: nn.Module) -> bool:
    """Whether each input channel of a convolution has filters of its own."""
    return isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels > 1


def tie(
    steps: tuple[Step, ...],
    balanced: tuple[tuple[int, int], ...],
    pairs: tuple[tuple[int, int, int], ...],
    ends: tuple[End, ...],
    network: nn.Module,
) -> Structure:
    """Find the channels that stay or go together.

    pairs: (step, channel, channel) that are tied besides.
    """
    widths = [step.width or 0 for step in steps]
    start = np.cumsum([0, *widths])
    fixed = np.zeros(start[-1], dtype=bool)
    edges = [(start[i] + one, start[i] + other) for i, one, other in pairs]
    ones, others = [np.array([e[k] for e in edges], dtype=np.int64) for k in (0, 1)]
    joined = [np.stack([ones, others])]
    for i, step in enumerate(steps):
        for source, there, here in _links(steps, i, network):
            joined.append(np.stack([start[source] + there, start[i] + here]))
        is_reader = step.op == "layer"
        if step.op in ("end", "output", "head") or (step.width is None and not is_reader):
            for number in step.inputs:
                fixed[start[number] : start[number + 1]] = True
    # Here, since a program that only loads an exported network has no need of SciPy.
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    row, column = np.concatenate(joined, axis=1)
    graph = coo_array((np.ones(len(row), dtype=bool), (row, column)), shape=(start[-1],) * 2)
    n_sets, labels = connected_components(graph, directed=False)
    fixed_sets = np.zeros(n_sets, dtype=bool)
    fixed_sets[labels[fixed]] = True
    tied = {
        i: torch.from_numpy(labels[start[i] : start[i + 1]].astype(np.int64))
        for i, step in enumerate(steps)
        if step.width is not None
    }
    return Structure(steps, tied, torch.from_numpy(fixed_sets), balanced, ends)


def _links(
    steps: tuple[Step, ...], i: int, network: nn.Module
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """(a step that is read, channels of it, the channels of step i that are tied to these)."""
    step = steps[i]
    if step.width is None:
        return
    here, offset = np.arange(step.width), 0
    for number in step.inputs:
        width = steps[number].width
        if width is None:
            continue
        if step.op == "layer":
            layer = network.get_submodule(step.name)
            if is_depthwise(layer):
                yield number, here // (step.width // width), here
        elif step.op == "concat":
            yield number, np.arange(width), offset + np.arange(width)
            offset += width
        elif step.op == "select":
            yield number, np.array(step.index, dtype=np.int64), here
        else:
            yield number, here, here

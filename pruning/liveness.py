"""Which filters a masked network still needs: those that emit something that somebody reads."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from pruning.masks import KeepMask, batchnorm_of

Sources = Mapping[str, Sequence[Sequence[str]]]
"""Name of a reading Conv2d or Linear -> its input: channel spans end to end (a concatenation),
each the convolutions whose outputs are summed into it (one, where nothing is summed)."""


def read_channels(network: nn.Module, keep: KeepMask, sources: Sources) -> dict[str, Tensor]:
    """Convolution -> bool [filter], True where a path of kept weights leads on to an output.

    keep: masks by parameter name; what has none is kept. sources: of all readers of every
    convolution asked about; one that nobody reads is an output, and all of it counts as read.
    """
    columns = {reader: _kept_columns(network, keep, reader) for reader in sources}
    width = {name: m.out_channels for name, m in _convolutions(network).items()}
    somebody = {name for spans in sources.values() for span in spans for name in span}
    read = {
        name: torch.full((n,), name not in somebody, dtype=torch.bool) for name, n in width.items()
    }
    changed = True
    while changed:  # against the flow: two or three times, since the last readers come first
        changed = False
        for reader in reversed(list(sources)):
            rows = read.get(reader)
            used = columns[reader] if rows is None else columns[reader][rows]
            reads = used.any(0)
            for span, part in _spans(reads, sources[reader], width):
                for name in span:
                    if (part & ~read[name]).any():
                        read[name] = read[name] | part
                        changed = True
    return read


def live_channels(network: nn.Module, keep: KeepMask, sources: Sources) -> dict[str, Tensor]:
    """Convolution -> bool [filter], True where the filter must stay for equal outputs.

    A filter may go if its output is zero, or if nobody reads it. Convolutions that are summed
    share their channels: one stays if it stays for any of them. A layer of which nothing is left
    keeps its first filter, since there is no convolution without one.
    """
    read, silent = read_channels(network, keep, sources), _silent(network, keep)
    live: dict[str, Tensor] = {}
    for group in _summed(read, sources):
        alive = torch.stack([read[name] & ~silent[name] for name in group]).any(0)
        if not alive.any():
            alive[0] = True
        live |= {name: alive for name in group}
    return live


def split_columns(reader: nn.Module, span_widths: Sequence[int]) -> int:
    """How many columns of a reader belong to one channel: of a flattened map its positions."""
    n_columns = reader.weight.shape[1]  # type: ignore[index]
    total = sum(span_widths)
    if total == 0 or n_columns % total:
        raise ValueError(
            f"the inputs of a layer must be a multiple of what feeds it, got {n_columns} columns "
            f"for {total} channels"
        )
    return int(n_columns // total)


def _convolutions(network: nn.Module) -> dict[str, nn.Conv2d]:
    return {n: m for n, m in network.named_modules() if isinstance(m, nn.Conv2d)}


def _kept_columns(network: nn.Module, keep: KeepMask, reader: str) -> Tensor:
    """bool [row, input column] of a layer, on the CPU: whether any weight of the pair is kept."""
    weight = network.get_parameter(f"{reader}.weight")
    mask = keep.get(f"{reader}.weight")
    if mask is None:
        return torch.ones(weight.shape[:2], dtype=torch.bool)
    return mask.cpu() if mask.dim() == 2 else mask.amax((2, 3)).cpu()


def _spans(
    columns: Tensor, spans: Sequence[Sequence[str]], width: Mapping[str, int]
) -> list[tuple[Sequence[str], Tensor]]:
    """The spans of a reader's input, each with the bool [channel] of what it reads of them."""
    widths = [width[span[0]] for span in spans]
    per_channel = columns.reshape(sum(widths), -1).any(1)
    return list(zip(spans, per_channel.split(widths), strict=True))


def _silent(network: nn.Module, keep: KeepMask) -> dict[str, Tensor]:
    """Convolution -> bool [filter], True where its output, after its BatchNorm, is always zero."""
    norms = batchnorm_of(network)
    silent = {}
    for name, module in _convolutions(network).items():
        none = torch.zeros(module.out_channels, dtype=torch.bool)
        if name in norms:
            parts = [keep.get(f"{norms[name]}.{part}") for part in ("weight", "bias")]
        else:
            weight = keep.get(f"{name}.weight")
            parts = [None if weight is None else weight.amax((1, 2, 3))]
            if module.bias is not None:
                parts.append(keep.get(f"{name}.bias"))
        masked = [none if part is None else ~part.cpu() for part in parts]
        silent[name] = torch.stack(masked).all(0)
    return silent


def _summed(names: Mapping[str, object], sources: Sources) -> list[set[str]]:
    """The convolutions in groups that are summed with one another, each convolution once."""
    group_of = {name: {name} for name in names}
    for spans in sources.values():
        for span in spans:
            merged: set[str] = set().union(*(group_of[name] for name in span))
            for name in merged:
                group_of[name] = merged
    unique = {id(group): group for group in group_of.values()}
    return list(unique.values())

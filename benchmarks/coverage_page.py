"""The table of networks as a page for people: what was tried with each, and what is refused."""

from collections.abc import Sequence
from datetime import date
from typing import Any

import torch
import torchvision

_INTRO = """# Networks

Every convolutional classification network of torchvision ({n_torchvision}), and {n_timm} of timm, as
`network.name` takes them: what of Secateur works with each. {written}

Half of the filters of every convolution but the first are emptied at random, half of these together
with all that they are summed with; then half of the input channels; then half of the weights. Each
time the network is compacted, and compared with the masked one.

| column | says |
|---|---|
| layers | convolutions and Linear layers that the trace follows, of all |
| emptied | filters without a weight |
| could go | those of them that are put together with empty ones alone |
| gone | filters that the compacted network has not |
| parameters | before and after, with half of the filters emptied |
| apart | largest difference of an output and of a gradient, each to the largest of its kind; the worst of the three kinds of masks |
| units | layers and units that are read for MIS |
| LRP | whether there is a rule for every module |

*Gone* is less than *could go* where the groups of a convolution, or the halves of a shuffle, must stay
equally wide: then the fullest decides, and the others hold zeros. It is more where filters are
multiplied by what is zero, or have lost all their readers. Weights, input channels and filters can be
pruned by masks in every one of these networks, where nothing is gone, too.
"""  # noqa: E501
_WRITTEN = (
    'Written by `make bench NAME="networks --page docs/networks.md"` on {day}: torch {torch}, '
    "torchvision {torchvision}, random weights, "
    "images of 32 px (AlexNet: 63, Inception: 75), "
    "{exact}."
)
_ROWS = """
| network | layers | emptied | could go | gone | parameters | apart | units | LRP |
|---|---|---|---|---|---|---|---|---|
"""


def page(rows: Sequence[Any], every: Sequence[str] = ()) -> str:
    """Markdown of rows, each a `Coverage`; it names those of `every` that are not among them."""
    timm = [row for row in rows if row.name.startswith("timm:")]
    narrow = [row.name for row in rows if row.bits == 32]
    written = _WRITTEN.format(
        day=date.today(),
        torch=torch.__version__,
        torchvision=torchvision.__version__,
        exact="float64" + (f" ({', '.join(narrow)}: float32)" if narrow else ""),
    )
    text = _INTRO.format(n_torchvision=len(rows) - len(timm), n_timm=len(timm), written=written)
    text += _ROWS + "".join(_row(row) for row in rows)
    missing = [name for name in every if name not in {row.name for row in rows}]
    if missing:
        text += f"\nNot measured with all three kinds of masks: {', '.join(missing)}.\n"
    refused = [_refusals(row) for row in rows]
    return (
        text
        + "\n## What is refused, in the words that are said before anything runs\n\n"
        + "".join(refused)
    )


def _row(row: Any) -> str:
    filters = row.compacted["filter"]
    outputs = max(each.outputs for each in row.compacted.values())
    gradients = max(each.gradients for each in row.compacted.values())
    before, after = (n / 1e6 for n in filters.params)
    units = "no" if isinstance(row.units, str) else f"{row.units[0]}, {row.units[1]:,}"
    return (
        f"| {row.name} | {row.n_followed} of {row.n_layers} | {filters.n_empty:,} | "
        f"{filters.n_could:,} | {filters.n_removed:,} | {before:.2f} → {after:.2f} M | "
        f"{outputs:.0e}, {gradients:.0e} | {units} | {'no' if row.lrp else 'yes'} |\n"
    )


def _refusals(row: Any) -> str:
    units = row.units if isinstance(row.units, str) else ""
    # What there are rules for is the same in every sentence.
    said = {"compaction": row.lost, "units": units, "LRP": row.lrp.partition(";")[0]}
    return "".join(f"- {row.name}, {what}: {text}\n" for what, text in said.items() if text)

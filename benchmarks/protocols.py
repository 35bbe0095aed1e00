"""Standard and hard protocol of the MIS paper: how much do queries nearer the middle cost?

python -m benchmarks protocols --module net.py --weights state.pt --images FOLDER [--limit N]
    a network of one's own (see benchmarks/given.py) on at least 9,000 photographs, of which
    `--limit` draws so many

Every convolution's units, before the ReLU, with the same lots and deals; 20 tasks of 9
explanations. A standard error is over units; that of the difference has their pairs.
"""

import argparse
from collections.abc import Sequence

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.given import add_options
from benchmarks.reading import BATCH, TASKS, K, of_module, read_both
from mis import ExtremesCollector, Margins, build_tasks, query_rank
from mis.score.tasks import images_needed
from mis.score.uncertainty import unit_error
from mis.score.units import score_tasks

PROTOCOLS = ("zimmermann2024", "zimmermann2024_hard")


def scored(activations: Tensor, vectors: Tensor, slope: float, rank: int) -> Tensor:
    """MIS with queries from that rank on: float64 [unit]. activations: float32 [image, unit]."""
    draw = torch.Generator().manual_seed(0)
    priority = torch.randperm(len(vectors), generator=draw)
    collector = ExtremesCollector(["all"], images_needed(TASKS, K, rank) // 2, priority)
    collector.add(torch.arange(len(vectors)), [activations])
    found = collector.result()
    tasks = build_tasks(
        found.top, found.bottom, n_tasks=TASKS, k=K, generator=draw, query_rank=rank
    )
    return score_tasks(tasks, Margins(vectors, n_reads=10**9), slope=slope).mis.double()


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="benchmarks protocols",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_options(parser)
    parser.add_argument("--limit", type=int, help="photographs to draw; without it all")
    asked = parser.parse_args(arguments)
    if not (asked.module and asked.weights and asked.images):
        parser.error("--module, --weights and --images are needed, all three")
    network, inputs, vectors, slope = of_module(
        asked.module, asked.weights, asked.images, asked.limit
    )
    ranks = [query_rank(protocol, len(inputs), TASKS, K) for protocol in PROTOCOLS]
    batches = (torch.stack(inputs[i : i + BATCH]) for i in range(0, len(inputs), BATCH))
    # A batch at a time: of many photographs the means after the ReLU would take as much memory.
    activations = torch.cat([read_both(network, iter([batch])).before for batch in batches])
    found = [scored(activations, vectors, slope, rank) for rank in ranks]
    n_units = activations.shape[1]
    table = Table(title=f"{asked.module.stem}, {n_units:,} units, {len(inputs):,} photographs")
    for heading in ("protocol", "first rank of queries", "mean MIS"):
        table.add_column(heading)
    for protocol, rank, mis in zip(PROTOCOLS, ranks, found, strict=True):
        table.add_row(protocol, f"{rank:,}", f"{mis.mean():.4f} ± {unit_error(mis):.4f}")
    less = found[1] - found[0]
    table.add_row("hard - standard", "", f"{less.mean():+.4f} ± {unit_error(less):.4f}")
    Console(width=110).print(table)
    print(f"correlation over units: {torch.corrcoef(torch.stack(found))[0, 1]:.3f}")


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])

"""What an exported network saves, as a table for the terminal."""

from rich.box import SIMPLE
from rich.markup import escape
from rich.table import Table

from sweeps.export.measured import BATCHES, DENSE, EXPORTED, Measured
from trainables.networks import Latency
from trainables.workspace import size_shown


def cost_table(name: str, measured: Measured) -> Table:
    """The dense network, the exported one, and their ratio."""
    where = f"{measured.device['device']}, {measured.device['threads']} threads, fp32"
    table = Table(
        title=f"{escape(name)}, on {escape(where)}",
        title_justify="left",
        box=SIMPLE,
        padding=(0, 1, 0, 0),
    )
    table.add_column("network")
    for heading in ("parameters", "file", *(f"ms per image, batch of {n}" for n in BATCHES)):
        table.add_column(heading, justify="right")
    for which in (DENSE, EXPORTED):
        table.add_row(
            which,
            f"{measured.cost[which].params:,}",
            size_shown(measured.n_bytes[which]),
            *map(_cell, measured.latencies[which]),
        )
    whole, left = (
        [
            measured.cost[which].params,
            measured.n_bytes[which],
            *(latency.median for latency in measured.latencies[which]),
        ]
        for which in (DENSE, EXPORTED)
    )
    ratios = (f"{small / large:.2f}" for small, large in zip(left, whole, strict=True))
    table.add_row("exported ÷ dense", *ratios)
    return table


def _cell(latency: Latency) -> str:
    return f"{latency.median:.3g} ({latency.lower:.3g}–{latency.upper:.3g})"

"""make bench [NAME=pruning]: a table of ratios. Lower is better; the goal stands beside it.

make bench NAME=sweep, stopping, toy, harmless, loaders, load, reading, protocols, criteria,
networks, listing, torch_pruning, export or atlas: what has a table of its own, and takes minutes.
"""

import importlib
import platform
import sys
from datetime import date
from typing import Any

import torch
import torchvision
from rich.console import Console
from rich.table import Table

from benchmarks.timing import Measured
from trainables.training.compute import describe

# All but the last need torch alone, so that they run on a machine without Ray and MLflow.
ON_TORCH = (
    *("training", "loading", "sharing", "pruning", "relevance", "compaction"),
    *("mis", "dissection"),
)
TABLES = (*ON_TORCH, "report", "imports")
PROGRAMS = (
    "sweep",
    "stopping",
    "toy",
    "harmless",
    "loaders",
    "load",
    "statistics",
    "reading",
    "protocols",
    "criteria",
    "networks",
    "listing",
    "torch_pruning",
    "export",
    "atlas",
)  # modules with a main of their own, and its options


def main(chosen: list[str]) -> None:
    """Run the tables named, or all of ON_TORCH; or one of PROGRAMS, with its options."""
    if chosen and chosen[0] in PROGRAMS:
        return importlib.import_module(f"benchmarks.{chosen[0]}").main(chosen[1:])
    for name in chosen:
        if name not in TABLES:
            sys.exit(f"NAME must be one of {', '.join((*TABLES, *PROGRAMS))}, got {name!r}")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    where = describe(device, "")["device"]
    table = Table(
        title=f"GoogLeNet, 64 px where nothing is said; {where}, {torch.get_num_threads()} "
        f"threads, torch {torch.__version__}, torchvision {torchvision.__version__}, Python "
        f"{platform.python_version()}, {date.today()}"
    )
    for heading in ("what", "ratio", "goal", ""):
        table.add_column(heading)
    for name in chosen or ON_TORCH:
        for what, (benchmark, goal) in _benchmarks(name, device).items():
            wanted = goal.get(device.type) if isinstance(goal, dict) else goal
            found = benchmark(device)
            if not isinstance(found, Measured):
                found = Measured(found, "")
            shown = "" if wanted is None else f"<= {wanted:.3g}"
            table.add_row(what, f"{found.ratio:.3f}", shown, found.note)
        table.add_section()
    Console(width=150).print(table)


def _benchmarks(name: str, device: torch.device) -> dict[str, Any]:
    """What is measured -> (benchmark, goal); on a GPU also what only that has."""
    module = importlib.import_module(f"benchmarks.{name}")
    on_a_gpu = getattr(module, "ON_A_GPU", {}) if device.type == "cuda" else {}
    return module.BENCHMARKS | on_a_gpu


if __name__ == "__main__":
    main(sys.argv[1:])

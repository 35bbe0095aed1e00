"""What it costs to begin: processes of their own, their time and their memory."""

import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

from benchmarks.timing import Measured

ROOT = Path(__file__).parents[1]
_ROUNDS = 5
# Of its own: what the system counts for a child includes what its parent held before.
_MEMORY = "; print([line for line in open('/proc/self/status') if 'VmHWM' in line][0])"


def load_against_mlflow(device: torch.device) -> Measured:
    """Time of `from sweeps.report import load` over that of importing MLflow and pandas."""
    return _ratio("from sweeps.report import load", "import mlflow, pandas", which=0)


def load_against_mlflow_memory(device: torch.device) -> Measured:
    """The same of the memory that the process holds afterwards."""
    return _ratio("from sweeps.report import load", "import mlflow, pandas", which=1)


def help_against_python(device: torch.device) -> Measured:
    """Time of `python -m sweeps --help` over that of a Python that imports argparse and rich."""
    ours = [sys.executable, "-m", "sweeps", "--help"]
    bare = [sys.executable, "-c", "import argparse, rich.console, rich.table"]
    times = [(_run(ours)[0], _run(bare)[0]) for _ in range(_ROUNDS + 1)][1:]
    mine = statistics.median(a for a, _ in times)
    return Measured(statistics.median(a / b for a, b in times), f"{mine:.2f} s")


def _ratio(ours: str, other: str, which: int) -> Measured:
    lines = [[sys.executable, "-c", line + _MEMORY] for line in (ours, other)]
    pairs = [[_run(line)[which] for line in lines] for _ in range(_ROUNDS + 1)][1:]
    mine, unit = statistics.median(a for a, _ in pairs), ("s", "MB")[which]
    return Measured(statistics.median(a / b for a, b in pairs), f"{mine:,.1f} {unit}")


def _run(line: list[str]) -> tuple[float, float]:
    """Seconds of a process, and the most memory in MB that it says it held."""
    started = time.perf_counter()
    said = subprocess.run(line, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
    peak = said.split()[-2] if line[-1].endswith(_MEMORY) else "0"
    return time.perf_counter() - started, int(peak) / 1e3


BENCHMARKS = {
    "import load / import mlflow, pandas: time": (load_against_mlflow, 1.25),
    "import load / import mlflow, pandas: memory": (load_against_mlflow_memory, 1.25),
    "--help / import argparse, rich": (help_against_python, 3.0),
}
"""What is measured -> (how, the most that the ratio may be)."""

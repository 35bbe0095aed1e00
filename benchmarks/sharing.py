"""How many trials share a device best: images per second of 1, 2, … that train side by side.

python -m benchmarks.sharing BEGIN END PIXELS   is one of the trials: its images per second between
two times of the clock (seconds since 1970).
"""

import os
import subprocess
import sys
import time
from functools import cache, partial

import torch

from benchmarks.timing import Measured
from benchmarks.training import batch_size, step_of_ours
from trainables.config import ComputeConfig
from trainables.training.compute import prepare_process

_WARM_UP, _MEASURED = 30.0, 15.0  # seconds; on a CPU as on a GPU
_TRIALS = (2, 3, 4)


def trial(begin: float, end: float, pixels: int) -> float:
    """Images a second from `begin` to `end`; the same load before, and a little longer."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    prepare_process(ComputeConfig(threads=1))
    step, done = step_of_ours(device, pixels), []
    while time.time() < end + 1:
        step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        done.append(time.time())
    inside = [moment for moment in done if begin <= moment <= end]
    if len(inside) < 2:
        raise RuntimeError(f"{len(done)} steps are too few between {begin} and {end}")
    return (len(inside) - 1) * batch_size(device) / (inside[-1] - inside[0])


@cache
def together(n_trials: int, pixels: int) -> float:
    """Images a second of all, in processes of their own."""
    begin = time.time() + _WARM_UP
    arguments = [str(begin), str(begin + _MEASURED), str(pixels)]
    command = [sys.executable, "-m", "benchmarks.sharing", *arguments]
    trials = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(n_trials)]
    return sum(float(each.communicate()[0]) for each in trials)


def against_one(_: torch.device, *, n_trials: int, pixels: int) -> Measured:
    """The time an image takes with `n_trials` side by side against one trial alone."""
    alone, all_ = together(1, pixels), together(n_trials, pixels)
    return Measured(alone / all_, f"{all_:,.0f} images/s, one alone {alone:,.0f}")


BENCHMARKS = {
    f"{n} trials side by side, {px} px / one alone": (
        partial(against_one, n_trials=n, pixels=px),
        None,
    )
    for px in (64, 224)
    for n in _TRIALS
    # On a CPU a trial has a core.
    if torch.cuda.is_available() or (px == 64 and n <= (os.cpu_count() or 1))
}

if __name__ == "__main__":
    print(trial(*map(float, sys.argv[1:3]), int(sys.argv[3])))

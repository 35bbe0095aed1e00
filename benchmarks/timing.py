"""Time two things against each other, interleaved, so that a busy machine hits both alike."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Measured:
    """A ratio, and what must be said beside it."""

    ratio: float
    note: str


def seconds(action: Callable[[], object]) -> float:
    """Wall time of one call, the GPU's work included."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    start = time.perf_counter()
    action()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def seconds_at_work(action: Callable[[], object]) -> float:
    """Time that this process's processors spent on a call, which other processes on the machine
    hardly change; where there is a GPU wall time, its work included."""
    if torch.cuda.is_available():
        return seconds(action)
    start = time.process_time()
    action()
    return time.process_time() - start


def median_seconds(action: Callable[[], object], rounds: int = 7) -> float:
    """Median wall time of a call, after one to warm up."""
    action()
    return statistics.median(seconds(action) for _ in range(rounds))


def ratio(ours: Callable[[], object], other: Callable[[], object], rounds: int = 7) -> float:
    """Median over rounds of the time of `ours` over that of `other`, each called in every round."""
    ours()
    other()
    return statistics.median(seconds(ours) / seconds(other) for _ in range(rounds))

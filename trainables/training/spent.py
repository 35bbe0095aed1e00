"""What a trial spends: seconds, images per second, memory, waiting for data.

What a clock says is another number each time: of two equal trials all else is equal.
"""

import contextlib
import resource
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import torch

T = TypeVar("T")

MEASURED = ("spent/", "cost/latency")
"""What the names of metrics begin with that are measured and not computed."""

_PEAK, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Clock:
    """Seconds since it was made, and how many of them went by in waiting."""

    def __init__(self) -> None:
        self._begun, self.waited = time.perf_counter(), 0.0

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._begun

    def waiting_for(self, items: Iterable[T]) -> Iterator[T]:
        """The items; the time until each is there counts as waiting."""
        iterator = iter(items)
        while True:
            begun = time.perf_counter()
            try:
                item = next(iterator)
            except StopIteration:
                return
            finally:
                self.waited += time.perf_counter() - begun
            yield item

    def of_training(self, n_images: int) -> dict[str, float]:
        """Metrics of a pass over so many images that ended just now.

        spent/images_per_second; spent/waiting: fraction of the time that this process waited for
        its next batch, 0 to 1. A GPU may still have been at work then.
        """
        seconds = max(self.seconds, 1e-9)
        waiting = self.waited / seconds
        return {"spent/images_per_second": n_images / seconds, "spent/waiting": waiting}


def begin_peaks(device: torch.device) -> None:
    """Forget how much memory earlier trials of this process took, as far as the system can."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with contextlib.suppress(OSError):
        _RESET.write_text("5")


def peaks(device: torch.device) -> dict[str, float]:
    """Bytes of memory at their highest: spent/memory_host, of this process; on a GPU
    spent/memory_device, what torch held of it."""
    found = {"spent/memory_host": float(_peak_of_host())}
    if device.type == "cuda":
        found["spent/memory_device"] = float(torch.cuda.max_memory_reserved(device))
    return found


def _peak_of_host() -> int:
    with contextlib.suppress(OSError, ValueError, IndexError):
        lines = _PEAK.read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

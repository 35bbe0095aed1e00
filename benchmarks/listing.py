"""make bench NAME=listing: what the names of a million images cost each trial's process.

Memory is that of the whole process, of which the listing's growth is told; no picture is there.
"""

import argparse
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.console import Console

from trainables.datasets.known import known_listing
from trainables.datasets.listing import Listing, Split
from trainables.datasets.many_names import Names

_PAGE = resource.getpagesize()


def main(words: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="make bench NAME=listing", description=__doc__)
    parser.add_argument("--images", type=int, default=1_000_000)
    n = parser.parse_args(words).images
    console = Console()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "listing.npz"
        # Elsewhere, or what it frees here would be taken again and not be seen.
        maker = multiprocessing.get_context("spawn").Process(target=_make, args=(path, n))
        maker.start()
        maker.join()
        before, began = _resident(), time.perf_counter()
        listing = known_listing(path, lambda: _listing(n))
        read, seconds = _resident() - before, time.perf_counter() - began
        taken = listing.splits["train"].at(np.arange(n))
        before, began = _resident(), time.perf_counter()
        digest = listing.digest
        hashed, spent = _resident() - before, time.perf_counter() - began
    console.print(
        f"{n:,} images: the listing {read / n:.0f} bytes per image, read in {seconds:.2f} s; its "
        f"digest {digest} in {spent:.2f} s, {hashed / n:.1f} bytes per image more; "
        f"{len(taken):,} taken"
    )


def _make(path: Path, n: int) -> None:
    known_listing(path, lambda: _listing(n))


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE


def _listing(n: int) -> Listing:
    """As ImageNet's: a thousand classes, names of 36 characters."""
    names = Names.of(f"train/n{i % 1000:08}/n{i % 1000:08}_{i}.JPEG" for i in range(n))
    marks = np.random.default_rng(0).integers(0, 2**62, n)
    train = Split(names, np.arange(n, dtype=np.int64) * 1_000 // n, marks)
    classes = tuple(f"n{i:08}" for i in range(1_000))
    return Listing(classes, {"train": train, "val": train.at(np.arange(1))}, {}, {})

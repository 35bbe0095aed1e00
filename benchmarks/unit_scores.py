"""What the scores beside MIS add to its pass, in forward passes; and that memory stays flat."""

import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torchvision.models import googlenet

from benchmarks.timing import Measured, seconds_at_work
from mis import UNIT_SCORES, AboveZero, OfMaps, OfMeans, collect_extremes, draw_groups
from trainables.config import ComputeConfig, NetworkConfig, TrialConfig
from trainables.datasets.images import ArrayImages
from trainables.networks import unit_layers
from trainables.scores.beside import score_beside
from trainables.scores.embeddings import ProbeVectors
from trainables.training.compute import autocast, resolve_precision

BATCH, CLASSES, DIMENSION, DEPTH = 32, 20, 1280, 50
IMAGES = {64: 1024, 224: 128}  # pixels -> how many
ALL = tuple(UNIT_SCORES)


def added(
    pixels: int, names: tuple[str, ...], precision: str = "auto"
) -> Callable[[torch.device], Measured]:
    """What the scores take on top of MIS's pass over the images, in forward passes over these:
    seeing maps, the file of means, scores, chance, and errors over images. On a CPU on one thread,
    and in time of the processor: the difference of two passes would be lost in their noise."""

    def measure(device: torch.device) -> Measured:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return _added(device, pixels, names, precision)
        finally:
            torch.set_num_threads(threads)

    return measure


@torch.inference_mode()
def _added(device: torch.device, pixels: int, names: tuple[str, ...], precision: str) -> Measured:
    torch.manual_seed(0)
    network = googlenet(weights=None, init_weights=False, aux_logits=False, num_classes=CLASSES)
    network = network.to(device, memory_format=torch.channels_last).eval()
    layers = unit_layers(network, "before_relu")
    sizes = {at.name: len(network.get_parameter(f"{at.layer}.weight")) for at in layers}
    n, n_units = IMAGES[pixels], sum(sizes.values())
    images = torch.randn(n, 3, pixels, pixels, device=device)
    batches = images.to(memory_format=torch.channels_last).split(BATCH)
    ids, priority = torch.arange(n).split(BATCH), torch.randperm(n)
    groups = draw_groups(n, generator=torch.Generator())
    labels, config = _labels(n), _config(names)
    space = ProbeVectors(F.normalize(torch.randn(n, DIMENSION), dim=1), 1.0, "cosine")
    resolved = resolve_precision(ComputeConfig(), device) if precision == "auto" else precision
    context = autocast(resolved, device)
    maps = [score for score in config.beside if isinstance(score, OfMaps)]
    of_means = any(isinstance(score, OfMeans) for score in config.beside)
    state = torch.zeros(n_units, dtype=torch.int8)

    def scored() -> float:
        with tempfile.TemporaryDirectory() as folder:
            above = AboveZero(sizes, groups, maps, Path(folder) / "means" if of_means else None)
            watch = _Timed(above)
            each = zip(ids, batches, strict=True)
            with context:
                collect_extremes(
                    network, list(sizes), each, depth=DEPTH, priority=priority, also=watch
                )
            after = seconds_at_work(
                lambda: score_beside(config, labels, above, space, state, state == 0, groups)
            )
        return watch.seconds + after

    def plain() -> None:
        with context:
            for batch in batches:
                network(batch)

    plain()
    found = [scored() / seconds_at_work(plain) for _ in range(4)][1:]
    return Measured(statistics.median(found), f"{min(found):.3f} to {max(found):.3f}, {resolved}")


class _Timed:
    """What sees a pass, and how long it took over it."""

    def __init__(self, above: AboveZero) -> None:
        self.above, self.seconds = above, 0.0

    def begin(self, ids: torch.Tensor) -> None:
        self.above.begin(ids)

    def see(self, layer: str, values: torch.Tensor) -> None:
        self.seconds += seconds_at_work(lambda: self.above.see(layer, values))


def _labels(n: int) -> ArrayImages:
    return ArrayImages(np.zeros((n, 1, 1, 3), np.uint8), torch.arange(n) % CLASSES, "")


def _config(names: tuple[str, ...]) -> TrialConfig:
    network = NetworkConfig(weights="random", recipe=None)
    return TrialConfig(network=network, scores=("mis", *names))


def memory(n_images: int) -> Callable[[torch.device], float]:
    """Memory of a pass with all scores over so many images against one over 2,000: what is not on
    the disk, at its highest."""

    def measure(_device: torch.device) -> float:
        # What the allocator leaves unused differs by a factor of two from run to run.
        many, few = (min(_grown(n) for _ in range(3)) for n in (n_images, 2_000))
        return many / few

    return measure


def _grown(n_images: int) -> int:
    command = [sys.executable, "-m", "benchmarks.unit_scores", str(n_images)]
    return int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)


def _score(n_images: int) -> int:
    """KiB that are added at the highest, of 2,048 units on maps of 4 x 4."""
    config, highest, before = _config(ALL), 0, _anonymous()
    groups = draw_groups(n_images, generator=torch.Generator())
    maps = [score for score in config.beside if isinstance(score, OfMaps)]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "vectors.npy"
        shape = (n_images, 128)
        np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=shape)[:] = 1
        vectors = torch.from_numpy(np.load(file, mmap_mode="c"))
        above = AboveZero({"0": 2048}, groups, maps, Path(folder) / "means")
        for ids in torch.arange(n_images).split(256):
            above.begin(ids)
            above.see("0", torch.randn(len(ids), 2048, 4, 4))
            highest = max(highest, _anonymous())
        state = torch.zeros(2048, dtype=torch.int8)
        watched = _Watched(above)
        space = ProbeVectors(vectors, 1.0, "cosine")
        score_beside(config, _labels(n_images), watched, space, state, state == 0, groups)
        return max(highest, watched.highest) - before


class _Watched:
    """Notes how much memory is taken whenever means are asked for."""

    def __init__(self, above: AboveZero) -> None:
        self.above, self.highest = above, 0

    def __getattr__(self, name: str) -> object:
        self.highest = max(self.highest, _anonymous())
        return getattr(self.above, name)


def _anonymous() -> int:
    """KiB of this process that are of no file. Linux alone says so."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0])


def _table() -> dict[str, tuple[Callable[[torch.device], Measured], float | None]]:
    rows: dict[str, tuple[Callable[[torch.device], Measured], float | None]] = {}
    for pixels in IMAGES:
        for name in ALL:
            rows[f"{name} at {pixels} px / forward pass"] = (added(pixels, (name,)), None)
        goal = 0.1 if pixels == max(IMAGES) else None
        rows[f"all three at {pixels} px / forward pass"] = (added(pixels, ALL), goal)
        rows[f"the same in fp32 at {pixels} px"] = (added(pixels, ALL, "fp32"), goal)
    return rows


BENCHMARKS = {
    **_table(),
    "memory of all three at 20,000 images / at 2,000": (memory(20_000), 2),
}

if __name__ == "__main__":
    torch.set_num_threads(1)
    _score(600)  # what torch itself takes at first use
    print(_score(int(sys.argv[1])))

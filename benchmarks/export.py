"""What `secateur export` makes of GoogLeNet, ResNet-50 and MobileNet at half their filters.

Each network is left in MLflow as a trial leaves it, exported by the command, and its files are read
back on pictures by processes that lack all packages but those that a file should need. Weights are
untrained, with BatchNorm's statistics of the pictures: sizes and times do not depend on them.
"""

import argparse
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from PIL import ImageOps
from rich.console import Console
from torch import Tensor, nn

from benchmarks.alone import BLOCKED, logits_alone
from pruning import choose_groups, importance_of_groups
from sweeps.export.find import find_trial
from sweeps.export.measured import DENSE, EXPORTED
from sweeps.export.table import cost_table
from sweeps.export.write import Exported, export_run
from sweeps.tracking.quiet import settled
from sweeps.tracking.tracker import Tracker
from trainables.config import NetworkConfig, PruneConfig, TrialConfig
from trainables.datasets.decoding import read_picture
from trainables.datasets.images import normalise
from trainables.networks import build_network, logits_of, network_arguments
from trainables.results import save_results
from trainables.rounds.pruned import PrunedNetwork
from trainables.scores.scoring import Scored

NETWORKS = ("googlenet", "resnet50", "mobilenet_v2", "mobilenet_v3_large")
_STUDY, _BATCH = "export", 16


@dataclass(frozen=True)
class Read:
    """apart: file -> largest difference to the trial's logits, as a part of the largest logit."""

    exported: Exported
    apart: dict[str, float]


def pictures(folder: Path | None, n: int, pixels: int) -> Tensor:
    """float32 [n, 3, pixels, pixels]: photographs below a folder, or blots that are drawn."""
    generator = torch.Generator().manual_seed(0)
    if folder is None:
        coarse = torch.rand(n, 3, 7, 7, generator=generator)
        size = (pixels, pixels)
        smooth = nn.functional.interpolate(coarse, size=size, mode="bilinear") * 255
        return normalise(smooth.to(torch.uint8)).contiguous()
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    order = torch.randperm(len(files), generator=generator)[:n].tolist()
    drawn = [ImageOps.fit(read_picture(files[i]), (pixels, pixels)) for i in order]
    flat = [torch.frombuffer(bytearray(p.tobytes()), dtype=torch.uint8) for p in drawn]
    return normalise(
        torch.stack([each.view(pixels, pixels, 3).permute(2, 0, 1) for each in flat])
    ).contiguous()


@torch.no_grad()
def pruned(name: str, images: Tensor, rate: float, n_classes: int) -> PrunedNetwork:
    """Filters by L1 within each layer, and BatchNorm's statistics of the images."""
    torch.manual_seed(0)
    network = build_network(NetworkConfig(name=name, weights="random"), n_classes)
    whole = PrunedNetwork(network, PruneConfig(granularity="filter", scope="layer", rate=rate))
    scores = importance_of_groups(network, "l1", "filter")
    whole.hold(choose_groups(scores, rate, granularity="filter", scope="layer"))
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
    network.train()
    for batch in images.split(_BATCH):
        network(batch)
    for norm in norms:
        norm.momentum = 0.1
    network.eval()
    return whole


def leave(results: Path, name: str, network: PrunedNetwork, pixels: int, n_classes: int) -> None:
    """A finished trial in MLflow that has left its files."""
    tracker = Tracker(_STUDY, results)
    params = {"data.pixels": pixels, "method": "structured", "rate": 0.5, "network.name": name}
    run = tracker.start_run(name, kind="trial", key=name, params=params)
    config = NetworkConfig(name=name, weights="random")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        units = pd.DataFrame({"layer": [], "channel": []})
        scored = Scored({}, units, None, {})
        arguments = network_arguments(config, n_classes)
        save_results(folder, TrialConfig(network=config), arguments, network, scored, {})
        tracker.log_folder(run, folder)
    tracker.end_run(run, "FINISHED")


def export_and_read(
    name: str, images: Tensor, results: Path, rate: float = 0.5, n_classes: int = 1_000
) -> Read:
    """Prune, export and read back. Raises RuntimeError where a file cannot be read alone."""
    pixels = images.shape[-1]
    network = pruned(name, images, rate, n_classes)
    leave(results, name, network, pixels, n_classes)
    with torch.no_grad():
        expected = torch.cat(
            [logits_of(network.network(batch))[0] for batch in images.split(_BATCH)]
        )
    tracker, run = find_trial(name, results)
    exported = export_run(tracker, run, results / name)
    apart = {}
    for file in BLOCKED:
        found = logits_alone(results / name / file, images, results)
        apart[file] = float((found - expected).abs().max() / expected.abs().max())
    return Read(exported, apart)


def main(argv: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="benchmarks export", description=__doc__)
    parser.add_argument("--networks", nargs="+", default=NETWORKS)
    parser.add_argument("--images", type=Path, help="folder of photographs (default: drawn)")
    parser.add_argument("--n", type=int, default=32, help="how many of them")
    parser.add_argument("--pixels", type=int, default=224)
    parser.add_argument("--rate", type=float, default=0.5)
    options = parser.parse_args(argv)
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    images = pictures(options.images, options.n, options.pixels)
    for name in options.networks:
        with tempfile.TemporaryDirectory() as temporary, settled():
            read = export_and_read(name, images, Path(temporary), options.rate)
        load = os.getloadavg()[0]
        Console(width=160).print(cost_table(f"{name}, load {load:.1f}", read.exported.measured))
        print(markdown(name, read), flush=True)


def markdown(name: str, read: Read) -> str:
    """A row for RESULTS.md: sizes in MB, ms per image with quartiles, differences."""
    done = read.exported
    sizes = [f"{done.measured.n_bytes[DENSE] / 1e6:.1f}"]
    sizes += [f"{written.n_bytes / 1e6:.1f}" for written in done.files.values()]
    pairs = zip(*(done.measured.latencies[which] for which in (DENSE, EXPORTED)), strict=True)
    times = []
    for dense, exported in pairs:
        each = (f"{t.median:.3g} ({t.lower:.3g}–{t.upper:.3g})" for t in (dense, exported))
        times += [*each, f"{exported.median / dense.median:.2f}"]
    apart = [f"{difference:.0e}" for difference in read.apart.values()]
    return f"| {' | '.join([name, *sizes, *times, *apart])} |"

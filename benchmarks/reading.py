"""Before or after the ReLU? Ties and reliability of units read at either place.

python -m benchmarks reading [--networks N] [--results FOLDER]
    the demo's dense networks of seeds 0 … N - 1, trained where the results do not hold them
python -m benchmarks reading --module net.py --weights state.pt --images FOLDER
    another network (see benchmarks/given.py)

Ties: how many of a unit's 200 least activating images a lot chose among equals. Reliability: every
unit is scored on each half of its images, or over each half of its tasks, and the two scores are
correlated over units, within layers; of several cuts the mean, with its standard error from
resampled units. Both places have the same units (alive after the ReLU), images, lots and deals. A
higher mean MIS says nothing here.
"""

import argparse
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from benchmarks.given import add_options, given
from mis import ExtremesCollector, Margins, build_tasks, calibrate_slope, load_similarity
from mis.score.tasks import images_needed
from mis.score.units import CONSTANT_RANGE
from sweeps.studies import load_study
from trainables.config import ComputeConfig
from trainables.datasets.ahead import network_inputs
from trainables.datasets.loading import load_data
from trainables.networks import unit_layers
from trainables.scores.embeddings import probe_vectors
from trainables.training.compute import autocast, resolve_precision
from trainables.training.dense import load_dense, missing_dense, train_dense
from trainables.workspace import Workspace

K = 9
TASKS = 20  # as a trial asks them: the 200 images at either end
FEW = 5  # of half of the images, so that their ends are as extreme
BATCH = 32
CUTS, RESAMPLES = 10, 200
PLACES = ("before", "after")


@dataclass(frozen=True)
class Read:
    """Spatial means of every convolution's units, at both places."""

    before: Tensor  # float32 [image, unit]
    after: Tensor
    layer_of: Tensor  # int64 [unit]

    def at(self, place: str) -> Tensor:
        return self.before if place == "before" else self.after


@torch.inference_mode()
def read_both(network: nn.Module, batches: Iterator[Tensor]) -> Read:
    """Of convolutions after their BatchNorm, where they have one; auxiliary heads left out."""
    names = [layer.name for layer in unit_layers(network, "before_relu") if not layer.rows]
    means: dict[tuple[str, str], list[Tensor]] = {(p, n): [] for p in PLACES for n in names}
    with ExitStack() as hooks:
        for name in names:

            def hook(_: object, __: object, output: Tensor, name: str = name) -> None:
                maps = output.float()
                means["before", name].append(maps.mean((2, 3)))
                means["after", name].append(maps.relu().mean((2, 3)))

            hooks.callback(network.get_submodule(name).register_forward_hook(hook).remove)
        for images in batches:
            network(images)
    both = [torch.cat([torch.cat(means[p, n]) for n in names], 1) for p in PLACES]
    widths = torch.tensor([means["before", n][0].shape[1] for n in names])
    return Read(*both, torch.arange(len(names)).repeat_interleave(widths))


def drawn_by_lot(activations: Tensor, depth: int) -> Tensor:
    """int64 [unit]: of the `depth` least activating images those that a lot chose among equals.

    activations: [image, unit].
    """
    ranked = activations.sort(dim=0).values
    last, following = ranked[depth - 1], ranked[depth]
    return (ranked[:depth] == last).sum(0) * (last == following)


def _confidence(
    activations: Tensor, vectors: Tensor, slope: float, n_tasks: int, seed: int
) -> Tensor:
    """float64 [unit, task]"""
    draw = torch.Generator().manual_seed(seed)
    n_images = len(vectors)
    priority = torch.randperm(n_images, generator=draw)
    collector = ExtremesCollector(["all"], images_needed(n_tasks, K) // 2, priority)
    collector.add(torch.arange(n_images), [activations])
    found = collector.result()
    tasks = build_tasks(found.top, found.bottom, n_tasks=n_tasks, k=K, generator=draw)
    return (slope * Margins(vectors, n_reads=10**9)(tasks)).sigmoid().double()


def halves_of_images(activations: Tensor, vectors: Tensor, slope: float, seed: int) -> Tensor:
    """MIS of every unit on either half of the images, with few tasks: float64 [2, unit]."""
    draw = torch.Generator().manual_seed(seed)
    halves = torch.randperm(len(vectors), generator=draw)[: len(vectors) // 2 * 2].view(2, -1)
    scores = [
        _confidence(activations[half], vectors[half], slope, FEW, 2 * seed + number).mean(1)
        for number, half in enumerate(halves)
    ]
    return torch.stack(scores)


def halves_of_tasks(activations: Tensor, vectors: Tensor, slope: float, seed: int) -> Tensor:
    """MIS of every unit over either half of its tasks: float64 [2, unit]."""
    return _confidence(activations, vectors, slope, TASKS, seed).T.view(2, TASKS // 2, -1).mean(1)


def reliability(scores: Tensor, layer_of: Tensor, weights: Tensor) -> Tensor:
    """Correlation of both halves over units, within layers: float64 [resample].

    scores: [2, unit]. weights: float64 [resample, unit], how often each unit counts.
    """
    same = torch.zeros(int(layer_of.max()) + 1, len(layer_of), dtype=torch.float64)
    same[layer_of, torch.arange(len(layer_of))] = 1
    counts = (weights @ same.T).clamp(min=1e-9)
    centred = [s - ((weights * s) @ same.T / counts)[:, layer_of] for s in scores]
    a, b = centred
    covariance = (weights * a * b).sum(1)
    return covariance / ((weights * a * a).sum(1) * (weights * b * b).sum(1)).sqrt()


def compare(name: str, read: Read, vectors: Tensor, slope: float, table: Table) -> None:
    """A row for each place, and one for their difference."""
    alive = read.after.amax(0) - read.after.amin(0) >= CONSTANT_RANGE
    n_alive = int(alive.sum())
    weights = torch.ones(1 + RESAMPLES, n_alive, dtype=torch.float64)
    draw = torch.Generator().manual_seed(0)
    for row in weights[1:]:
        picked = torch.randint(n_alive, (n_alive,), generator=draw)
        row.copy_(torch.bincount(picked, minlength=n_alive))
    layer_of, depth = read.layer_of[alive], images_needed(TASKS, K) // 2
    found: dict[tuple[str, str], Tensor] = {}
    for place in PLACES:
        activations = read.at(place)[:, alive]
        for kind, halves in HALVES.items():
            of_cuts = [
                reliability(halves(activations, vectors, slope, seed), layer_of, weights)
                for seed in range(CUTS)
            ]
            found[place, kind] = torch.stack(of_cuts).mean(0)
        lots = drawn_by_lot(activations, depth)
        scores = _confidence(activations, vectors, slope, TASKS, 0)
        table.add_row(
            f"{name}, {place}",
            f"{n_alive:,} of {len(alive):,}",
            f"{(lots > 0).double().mean():.3f}",
            f"{(lots == depth).double().mean():.3f}",
            f"{lots.double().mean() / depth:.3f}",
            *(_with_error(found[place, kind]) for kind in HALVES),
            f"{scores.mean():.3f}",
        )
    gain = (_with_error(found["before", kind] - found["after", kind]) for kind in HALVES)
    table.add_row(f"{name}, before - after", *[""] * 4, *gain, "")


HALVES = {"images": halves_of_images, "tasks": halves_of_tasks}


def _with_error(resampled: Tensor) -> str:
    return f"{resampled[0]:.3f} ± {resampled[1:].std():.3f}"


def of_demo(n_networks: int, root: Path, table: Table) -> None:
    """The demo's dense networks, and its probe images."""
    cache = Workspace(root).cache
    for seed in range(n_networks):
        config = load_study("demo").base.replace({"seed": seed})
        data = load_data(config.data, cache)
        if missing_dense(config, data, cache):
            train_dense(config, data, cache)
        network, device = load_dense(config, data, cache).eval(), torch.device("cpu")
        inputs = network_inputs(data.probe, torch.arange(len(data.probe)), 64, device)
        with autocast(resolve_precision(config.compute, device), device):
            read = read_both(network, (images for _, images, _ in inputs))
        space = probe_vectors(data.probe, config.score, cache, device)
        compare(f"demo {seed}", read, space.vectors, space.slope, table)


def of_module(
    module: Path, weights: Path, folder: Path, limit: int | None = None
) -> tuple[nn.Module, list[Tensor], Tensor, float]:
    """A network, its inputs [3, h, w], and the vectors and slope of the pictures."""
    theirs = given(module, weights, folder, limit)
    embed = load_similarity("efficientnet_lite0").embed
    inputs, small, vectors = [], [], []
    for path in theirs.files:
        picture = Image.open(path).convert("RGB")
        inputs.append(theirs.prepare(picture))
        side = min(picture.size)
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        square = picture.crop((left, top, left + side, top + side)).resize((96, 96))
        pixels = torch.tensor(bytearray(square.tobytes()), dtype=torch.uint8)
        small.append(pixels.view(96, 96, 3).permute(2, 0, 1))
    for i in range(0, len(small), BATCH):
        vectors.append(embed(torch.stack(small[i : i + BATCH])))
    space = torch.cat(vectors)
    slope = calibrate_slope(space, k=K, generator=torch.Generator().manual_seed(0))
    return theirs.network, inputs, space, slope


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", type=int, default=3)
    parser.add_argument("--results", type=Path, default=Path("results"))
    add_options(parser)
    chosen = parser.parse_args(argv)
    table = Table()
    lots = "of the 200 least activating images by lot"
    for heading in ("units", "alive", f"units with any {lots}", "with all", "mean share"):
        table.add_column(heading)
    for kind in HALVES:
        table.add_column(f"reliability, halves of {kind}")
    table.add_column("mean MIS")
    if chosen.module is None:
        of_demo(chosen.networks, chosen.results, table)
    else:
        network, inputs, vectors, slope = of_module(chosen.module, chosen.weights, chosen.images)
        device = torch.device("cpu")
        with autocast(resolve_precision(ComputeConfig(), device), device):
            read = read_both(
                network, (torch.stack(inputs[i : i + 32]) for i in range(0, len(inputs), 32))
            )
        compare(chosen.module.stem, read, vectors, slope, table)
    Console(width=150).print(table)


if __name__ == "__main__":
    main()

"""What scoring costs: against drawing every task's vectors into memory, against a forward pass."""

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import googlenet

from benchmarks import machinterp, unit_scores
from benchmarks.timing import Measured, ratio
from mis import collect_extremes
from mis.score.extremes import Extremes
from mis.score.tasks import images_needed
from mis.score.uncertainty import deeper, draw_groups, replicate_mis
from mis.score.units import score_units
from trainables.config import ComputeConfig
from trainables.networks import unit_layers
from trainables.training.compute import autocast, resolve_precision

BATCH, PIXELS, CLASSES = 64, 64, 20
IMAGES, UNITS, DIMENSION = 1536, 7280, 1280  # GoogLeNet's filters, EfficientNet-Lite0's vectors
TASKS, K = 20, 9
PEER_UNITS = 128
SLOPE = 20.0


def _vectors(device: torch.device) -> Tensor:
    kinds = torch.randn(8, DIMENSION)[torch.randint(8, (IMAGES,))]
    return F.normalize(kinds + torch.randn(IMAGES, DIMENSION), dim=1).to(device)


def _activations() -> Tensor:
    return torch.randn(UNITS, IMAGES)


def _extremes(activations: Tensor, depth: int) -> Extremes:
    n_units, n_images = activations.shape
    return Extremes(
        layers=("layer",),
        layer_of=torch.zeros(n_units, dtype=torch.int64),
        channel=torch.arange(n_units),
        top=activations.topk(depth).indices,
        bottom=activations.topk(depth, largest=False).indices,
        minimum=activations.min(dim=1).values,
        maximum=activations.max(dim=1).values,
        n_images=n_images,
    )


def _score(extremes: Extremes, vectors: Tensor) -> None:
    score_units(extremes, vectors, slope=SLOPE, n_tasks=TASKS, k=K, generator=torch.Generator())


def materialising_score(order: Tensor, vectors: Tensor, pool: int) -> Tensor:
    """The score as a first implementation has it: [unit]; a peer, and for no other use.

    order: int64 [unit, image], least activating first. Each task draws k + 1 images of a side's
    `pool` without replacement and asks about the least extreme; the vectors of all tasks are
    copied out and their cosines taken one by one.
    """
    n_units = len(order)
    sides = []
    for ranked in (order.flip(1)[:, :pool], order[:, :pool]):
        drawn = torch.rand(n_units, TASKS, pool).argsort(dim=2)[..., : K + 1].sort(dim=2).values
        images = ranked.unsqueeze(1).expand(-1, TASKS, -1).gather(2, drawn)
        sides.append(vectors[images.to(vectors.device)])
    plus, minus = sides

    def similarity(query: Tensor, explanations: Tensor) -> Tensor:
        return F.cosine_similarity(query.unsqueeze(2), explanations, dim=3).mean(dim=2)

    def difference(query: Tensor) -> Tensor:
        return similarity(query, plus[:, :, :K]) - similarity(query, minus[:, :, :K])

    margin = difference(plus[:, :, K]) - difference(minus[:, :, K])
    return (SLOPE * margin).sigmoid().mean(dim=1)


def task_scores(device: torch.device) -> float:
    """Dealing, gathering and scoring all units against the peer, per unit; ranking left out."""
    activations, vectors = _activations(), _vectors(device)
    depth = images_needed(TASKS, K) // 2
    extremes, order = _extremes(activations, depth), activations[:PEER_UNITS].argsort(dim=1)
    measured = ratio(
        lambda: _score(extremes, vectors),
        lambda: [materialising_score(part, vectors, depth) for part in order.split(64)],
        rounds=5,
    )
    return measured * PEER_UNITS / UNITS


def public_scores(device: torch.device) -> float:
    """The same against the public code, which draws from the same images."""
    theirs, activations, vectors = machinterp.load(), _activations(), _vectors(device)
    depth = images_needed(TASKS, K) // 2
    extremes, few = _extremes(activations, depth), activations[:PEER_UNITS]
    order = few.argsort(dim=1)
    settings = {"n_tasks": TASKS, "k": K, "slope": SLOPE, "pool": depth}

    def public() -> None:
        for part, ranked in zip(few.split(64), order.split(64), strict=True):
            machinterp.score(theirs, part, ranked, vectors, **settings)

    measured = ratio(lambda: _score(extremes, vectors), public, rounds=5)
    return measured * PEER_UNITS / UNITS


def public_difference(device: torch.device) -> float:
    """Scores and task accuracies of tasks that the public code drew, dead units among them."""
    activations = _activations()[:PEER_UNITS]
    activations[:4] = 0
    activations[4:40] = activations[4:40].round()
    return machinterp.difference(machinterp.load(), activations, _vectors(device), SLOPE)


def _errors(extremes: Extremes, vectors: Tensor) -> None:
    groups = draw_groups(len(vectors), generator=torch.Generator())
    settings = {"n_tasks": TASKS, "k": K, "generator": torch.Generator()}
    replicate_mis(extremes, vectors, groups, slope=SLOPE, **settings)


def image_errors(device: torch.device) -> float:
    """The error over images against the score it is of: twenty scores, without the matrix anew."""
    vectors = _vectors(device)
    extremes = _extremes(_activations(), deeper(images_needed(TASKS, K) // 2, IMAGES))
    return ratio(lambda: _errors(extremes, vectors), lambda: _score(extremes, vectors), rounds=3)


def many_images(device: torch.device) -> float:
    """The error over images of 50,000 images against that of 5,000; a tenth of the units."""
    kinds, few = torch.randn(8, DIMENSION), UNITS // 10
    actions = []
    for n in (50_000, 5_000):
        vectors = F.normalize(kinds[torch.randint(8, (n,))] + torch.randn(n, DIMENSION), dim=1)
        depth = deeper(images_needed(TASKS, K) // 2, n)
        extremes = _extremes(torch.rand(few, n), depth)
        actions.append(partial(_errors, extremes, vectors.to(device)))
    return ratio(*actions, rounds=1)


def network_score(device: torch.device) -> float:
    """A network's score, vectors given, against a forward pass over the same images."""
    return _network_score(device, with_errors=False)


def network_score_and_errors(device: torch.device) -> float:
    """The same with all that a trial asks: errors over images, and the tasks by raw pixels.

    Both take the same time however many images there are: the more images, the less they weigh.
    """
    return _network_score(device, with_errors=True)


@torch.inference_mode()
def _network_score(device: torch.device, *, with_errors: bool) -> float:
    torch.manual_seed(0)
    network = googlenet(weights=None, init_weights=False, aux_logits=False, num_classes=CLASSES)
    network = network.to(device, memory_format=torch.channels_last).eval()
    layers = [layer.name for layer in unit_layers(network, "before_relu")]
    vectors, pixels = _vectors(device), _vectors(device)
    images = torch.randn(IMAGES, 3, PIXELS, PIXELS, device=device)
    batches = images.to(memory_format=torch.channels_last).split(BATCH)
    ids = torch.arange(IMAGES).split(BATCH)
    precision = autocast(resolve_precision(ComputeConfig(), device), device)
    depth = images_needed(TASKS, K) // 2

    def ours() -> None:
        with precision:
            extremes = collect_extremes(
                network,
                layers,
                zip(ids, batches, strict=True),
                depth=deeper(depth, IMAGES) if with_errors else depth,
                priority=torch.randperm(IMAGES),
                before_relu=[name for name in layers if name != "fc"],
            )
        _score(extremes, vectors)
        if with_errors:
            _score(extremes, pixels)
            _errors(extremes, vectors)

    def plain() -> None:
        with precision:
            for batch in batches:
                network(batch)

    return ratio(ours, plain, rounds=3)


def _growth(n_images: int) -> int:
    """KiB by which the peak of a process of its own grows while it collects from so many images."""
    command = [sys.executable, "-m", "benchmarks.mis", str(n_images)]
    return int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)


def memory(n_images: int) -> Callable[[torch.device], float]:
    """Memory for collecting from so many images against that for 5,000.

    Flat but for what the allocator leaves unused, which differs by half from run to run; all
    activations of 80,000 images would take ten times as much.
    """
    return lambda _device: _growth(n_images) / _growth(5_000)


def _collect(n_images: int) -> None:
    network = nn.Sequential(nn.Conv2d(3, 2048, 1)).eval()
    collect_extremes(
        network,
        ["0"],
        ((ids, torch.randn(len(ids), 3, 2, 2)) for ids in torch.arange(n_images).split(256)),
        depth=200,
        priority=torch.randperm(n_images),
    )


def _peak() -> int:
    """KiB, since the last reset. Linux alone says so."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


BENCHMARKS: dict[str, tuple[Callable[[torch.device], float | Measured], float | None]] = {
    "MIS of a unit / the same with every task's vectors in memory": (task_scores, 0.02),
    "error over images / score": (image_errors, 15),
    "error over images of 50,000 images / of 5,000": (many_images, 10),
    "score of a network / forward pass": (network_score, 1.3),
    "the same with errors and by pixels / forward pass": (network_score_and_errors, None),
    "memory at 20,000 images / at 5,000": (memory(20_000), 2),
    "memory at 80,000 images / at 5,000": (memory(80_000), 2),
    **unit_scores.BENCHMARKS,
}
if machinterp.is_there():
    BENCHMARKS["MIS of a unit / by MachInterp"] = (public_scores, 0.02)
    BENCHMARKS["largest difference to MachInterp, of the same tasks"] = (public_difference, 1e-5)

if __name__ == "__main__":
    torch.set_num_threads(1)
    _collect(600)  # what torch itself takes at first use
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak to what is there now
    before = _peak()
    _collect(int(sys.argv[1]))
    print(_peak() - before)

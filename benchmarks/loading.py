"""What decoding once saves: packed images against torchvision's folder and torch's loader.

The pictures are generated, or those of the folder (a folder a class) that the environment variable
SECATEUR_PHOTOGRAPHS names.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from benchmarks.timing import Measured, median_seconds, ratio
from benchmarks.training import RECIPE, network
from trainables.config import ComputeConfig
from trainables.datasets.ahead import batches_on, network_inputs
from trainables.datasets.files import files_of
from trainables.datasets.images import ImageSet
from trainables.datasets.pack import open_pack
from trainables.datasets.packed_images import PackedImages
from trainables.training.compute import autocast, place, resolve_compile, resolve_precision
from trainables.training.finetune import Training

N_IMAGES, BATCH, PIXELS, SIDE = 512, 64, 224, 256
ITERATE = Callable[[], None]


def _pictures(root: Path) -> list[Path]:
    """JPEG files of ImageNet's usual size, and nearly of its bytes a file (110 kB)."""
    draw = np.random.default_rng(0)
    paths = []
    for i in range(N_IMAGES):
        coarse = draw.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        smooth = np.asarray(Image.fromarray(coarse).resize((500, 375), Image.Resampling.BICUBIC))
        noisy = smooth + draw.normal(0, 14, smooth.shape)
        path = root / str(i % 10) / f"{i:04}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path, quality=85)
        paths.append(path)
    return sorted(paths)


@contextmanager
def _folder(workers: int) -> Iterator[tuple[Path, PackedImages]]:
    with tempfile.TemporaryDirectory() as temporary:
        root, photographs = Path(temporary), os.environ.get("SECATEUR_PHOTOGRAPHS")
        folder = Path(photographs) if photographs else root / "images"
        paths = sorted(folder.glob("*/*.*")) if photographs else _pictures(folder)
        pack = open_pack(files_of(paths), SIDE, root)
        labels = torch.zeros(len(paths), dtype=torch.int64)
        yield folder, PackedImages(pack, labels, "", PIXELS, workers)


def _epoch(images: ImageSet, *, train: bool) -> ITERATE:
    order = torch.randperm(len(images))

    def epoch() -> None:
        augment = torch.Generator().manual_seed(0) if train else None
        for _ in images.batches(order, BATCH, augment=augment):
            pass

    return epoch


def _torchvision(root: Path, workers: int, *, train: bool) -> ITERATE:
    if train:
        views = [v2.RandomResizedCrop(PIXELS, antialias=True), v2.RandomHorizontalFlip()]
    else:
        views = [v2.Resize(SIDE, antialias=True), v2.CenterCrop(PIXELS)]
    images = ImageFolder(root, v2.Compose([*views, v2.PILToTensor()]))

    def epoch() -> None:
        for _ in DataLoader(images, BATCH, shuffle=True, num_workers=workers):
            pass

    return epoch


def against_torchvision(device: torch.device, *, workers: int, train: bool) -> Measured:
    """The time of an epoch of batches of uint8 pixels on the host, with as many workers."""
    with _folder(workers) as (root, packed):
        ours, theirs = _epoch(packed, train=train), _torchvision(root, workers, train=train)
        measured = ratio(ours, theirs, rounds=3)
        speed = len(packed) / median_seconds(ours, rounds=3)
        return Measured(measured, f"{speed:,.0f} images/s, torchvision {measured * speed:,.0f}")


def training_against_constant(device: torch.device, *, workers: int) -> Measured:
    """Images a second of training with packed images, as a trial does, against the same steps with
    a batch that is on the device already.
    """
    compute = ComputeConfig(compile="auto")
    batch_size = RECIPE.batch_size if device.type == "cuda" else 16
    recipe = replace(RECIPE, batch_size=batch_size)
    with _folder(workers) as (_, packed):
        n = len(packed) if device.type == "cuda" else 64
        order, draw = torch.arange(len(packed))[: n - n % batch_size], torch.Generator()
        training = Training(
            place(network(), device),
            packed,
            recipe,
            precision=resolve_precision(compute, device),
            compile=resolve_compile(compute, device),
        )
        training.network.train()
        first = next(iter(batches_on(device, packed, order, batch_size, augment=draw)))

        def loaded() -> None:
            for _, images, labels in batches_on(device, packed, order, batch_size, augment=draw):
                training._step(images, labels)

        def constant() -> None:
            for _ in range(len(order) // batch_size):
                training._step(*first[1:])

        measured = ratio(loaded, constant, rounds=3)
        speed = len(order) / median_seconds(loaded, rounds=3)
    return Measured(measured, f"{speed:,.0f} images/s")


def one_pass_for_several(device: torch.device, *, workers: int, n_networks: int = 4) -> float:
    """Evaluating several networks in one pass over packed images against a pass for each.

    What it could save is the loading, less what changing networks in every batch costs.
    """
    precision = resolve_precision(ComputeConfig(), device)
    networks = [place(network(), device).eval() for _ in range(n_networks)]
    with _folder(workers) as (_, packed):
        order = torch.arange(len(packed) if device.type == "cuda" else 64)

        @torch.inference_mode()
        def evaluate(chosen: list[nn.Module]) -> None:
            for _, images, _ in network_inputs(packed, order, BATCH, device):
                for each in chosen:
                    with autocast(precision, device):
                        each(images)

        def apart() -> None:
            for each in networks:
                evaluate([each])

        return ratio(lambda: evaluate(networks), apart, rounds=3)


_NAME = "packed images, {what}, {workers} workers / ImageFolder and DataLoader"
WORKERS = (0, 2) if (os.cpu_count() or 1) < 8 else (0, 8)
BENCHMARKS = {
    _NAME.format(what="training" if train else "evaluation", workers=workers): (
        partial(against_torchvision, workers=workers, train=train),
        0.125,
    )
    for train in (True, False)
    for workers in WORKERS
} | {
    f"training from packed images, {WORKERS[-1]} workers / from one constant batch": (
        partial(training_against_constant, workers=WORKERS[-1]),
        {"cuda": 1.11},
    ),
    "evaluating 4 networks in one pass / in a pass each": (
        partial(one_pass_for_several, workers=WORKERS[-1]),
        None,
    ),
}

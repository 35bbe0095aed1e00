"""Does what makes training fast cost accuracy? The demo's dense recipe with all of it, and without.

With: images decoded once, cropped from the pack (on a GPU by it), channels last, the precision that
"auto" means, a fused optimizer, compiled where "auto" does. Without: files that torchvision decodes
and crops in every epoch, NCHW, float32, eager, torch's default optimizer, in a loop of its own.

python -m benchmarks harmless [--seeds N] [--epochs N] [--pixels N] [--images N]
"""

import argparse
import math
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from rich.console import Console
from torch import nn

from sweeps.studies import load_study
from trainables.config import ComputeConfig, DataConfig, NetworkConfig, TrainConfig, evaluation_side
from trainables.datasets import concepts
from trainables.datasets.images import Data, normalise
from trainables.datasets.loading import load_data
from trainables.networks import build_network, logits_of
from trainables.training.compute import (
    describe,
    place,
    prepare_process,
    resolve_compile,
    resolve_precision,
)
from trainables.training.evaluate import accuracy_metrics, predict
from trainables.training.finetune import Training
from trainables.training.optimizer import learning_rate

FAST = ComputeConfig(compile="auto", threads=1)


def write_folder(root: Path, pixels: int, counts: dict[str, int]) -> None:
    """The generated images as a folder of PNG files, a folder per class."""
    for split, count in counts.items():
        drawn = concepts.draw(split, count, pixels=pixels)
        for i, (image, label) in enumerate(zip(drawn.images, drawn.labels, strict=True)):
            path = root / split / f"{label:02}" / f"{i:05}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)


def _network(seed: int, n_classes: int) -> nn.Module:
    torch.manual_seed(seed)
    return build_network(NetworkConfig(weights="random", recipe=None), n_classes)


def fast(data: Data, recipe: TrainConfig, seed: int, device: torch.device) -> nn.Module:
    """The network trained as a trial trains it."""
    training = Training(
        place(_network(seed, data.n_classes), device),
        data.train,
        recipe,
        precision=resolve_precision(FAST, device),
        compile=resolve_compile(FAST, device),
    )
    for epoch in range(recipe.epochs):
        training.epoch(torch.Generator().manual_seed(100 * seed + epoch))
    return training.network


def plain(data: Data, recipe: TrainConfig, seed: int, device: torch.device) -> nn.Module:
    """The network trained by a loop with nothing in it."""
    network = _network(seed, data.n_classes).to(device).train()
    optimizer = torch.optim.AdamW(network.parameters(), recipe.lr, weight_decay=recipe.weight_decay)
    step, steps_per_epoch = 0, math.ceil(len(data.train) / recipe.batch_size)
    for epoch in range(recipe.epochs):
        draw = torch.Generator().manual_seed(100 * seed + epoch)
        order = torch.randperm(len(data.train), generator=draw)
        for _, pixels, labels in data.train.batches(order, recipe.batch_size, augment=draw):
            optimizer.param_groups[0]["lr"] = learning_rate(recipe, step, steps_per_epoch)
            logits, _ = logits_of(network(normalise(pixels.to(device)).contiguous()))
            optimizer.zero_grad()
            F.cross_entropy(logits, labels.to(device)).backward()
            optimizer.step()
            step += 1
    return network


def compare(seeds: int, recipe: TrainConfig, pixels: int, n_images: int) -> str:
    """One paragraph of what came out."""
    prepare_process(FAST)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    found: dict[str, list[dict[str, float]]] = {"fast": [], "plain": []}
    spent = dict.fromkeys(found, 0.0)
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        side = evaluation_side(pixels)
        write_folder(root / "images", side, {"train": n_images, "val": n_images})
        every = {"train_images": None, "val_images": None, "probe_images": None}
        config = DataConfig(name="image_folder", path=str(root / "images"), pixels=pixels, **every)
        sets = {
            "fast": load_data(replace(config, packed=side), root / "cache"),
            "plain": load_data(config, root / "cache"),
        }
        for seed in range(seeds):
            for name, train in (("fast", fast), ("plain", plain)):
                start = time.process_time()
                network = train(sets[name], recipe, seed, device)
                spent[name] += time.process_time() - start
                logits = predict(network, sets["plain"].val, device, "fp32", 64)
                found[name].append(accuracy_metrics(logits, sets["plain"].val.labels))
    return _report(found, spent, describe(device, resolve_precision(FAST, device)))


def _report(
    found: dict[str, list[dict[str, float]]], spent: dict[str, float], made_on: dict[str, str]
) -> str:
    lines = [", ".join(f"{name} {value}" for name, value in made_on.items())]
    for metric in ("val/top1", "val/loss"):
        columns = {name: [each[metric] for each in runs] for name, runs in found.items()}
        means = {name: statistics.fmean(values) for name, values in columns.items()}
        noise = {name: statistics.stdev(values) for name, values in columns.items()}
        n = len(columns["fast"])
        error = math.sqrt(sum(sd**2 for sd in noise.values()) / n)
        apart = means["fast"] - means["plain"]
        for name, values in columns.items():
            shown = " ".join(f"{value:.3f}" for value in values)
            lines.append(f"{metric} {name}: {shown}; mean {means[name]:.3f}, sd {noise[name]:.3f}")
        lines.append(f"{metric} fast - plain: {apart:+.3f}, its standard error {error:.3f}")
    lines.append(f"CPU seconds: fast {spent['fast']:.0f}, plain {spent['plain']:.0f}")
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> None:
    """Run it and print what came out."""
    parser = argparse.ArgumentParser(
        prog="benchmarks harmless", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--pixels", type=int, default=64)
    parser.add_argument("--images", type=int, default=1_200)
    asked = parser.parse_args(arguments)
    base = load_study("demo").base
    recipe = base.replace({"network.recipe.epochs": asked.epochs}).network.recipe
    console = Console(width=110)
    console.print(compare(asked.seeds, recipe, asked.pixels, asked.images), soft_wrap=True)

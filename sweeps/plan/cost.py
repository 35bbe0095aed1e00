"""What a sweep would cost: a few steps measured on this machine, or numbers that are given."""

import copy
import dataclasses
import heapq
import os
import statistics
import time
from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from sweeps.plan.sweep import Sweep
from trainables.config import TrainConfig, TrialConfig
from trainables.datasets.images import ArrayImages
from trainables.networks import build_network, n_parameters
from trainables.rounds.outlined import n_layers
from trainables.scores.same import MOST
from trainables.training.compute import place, prepare_process, resolve_device, resolve_precision
from trainables.training.evaluate import predict
from trainables.training.finetune import Training

_STEPS = 3  # measured, after one to warm up
# An image takes a CPU as long in a small batch as in a large one, and a batch can take minutes.
_BATCH_ON_A_CPU, _NO_LIMIT = 32, 10**9
_IMAGENET = {"train_images": 1_281_167, "val_images": 50_000, "probe_images": 1_281_167}
_CLASSES = 1_000  # where it is not known, and of the network that is timed
# What a trial leaves: a checkpoint and the smaller network, a mask; tables and pictures.
_TRIAL_BYTES, _TABLES = 8, 5e6  # per parameter; whatever the network
_STATE_BYTES = 12  # per parameter while it runs: weights, and two moments of each
_WEIGHT_BYTES, _VECTOR_BYTES = 4, 8_192  # per parameter; per image, in the perceptual space
_ASPECT = 4 / 3  # of pictures, whose shorter side is as long as a pack says
# In plain forward passes, on a CPU: one in which every unit is read; at 64 pixels, what each score
# beside MIS takes, and of larger images less (benchmarks/RESULTS.md).
_READ, _BESIDE, _BESIDE_PIXELS, _BESIDE_POWER = 2.0, 1.0, 64, 1.5
_REPORT = 1.0  # seconds a trial, on one core of the machine that the sweep is started on


@dataclass(frozen=True)
class Speed:
    """Images a second of one trial on its share of the machine.

    alone: of training where nothing else runs, as dense networks are trained; 0: as `train`.
    """

    train: float
    evaluate: float
    alone: float = 0.0


@dataclass(frozen=True)
class Estimate:
    """seconds: of one trial after the other; finish: with as many at a time as there are slots."""

    seconds: float
    finish: float


@dataclass(frozen=True)
class Disk:
    """Bytes. images: decoded or drawn once, for all trials; weights: of dense networks, and vectors
    of images, likewise; trials: what they leave in MLflow; running: states of those under way."""

    images: float
    weights: float
    vectors: float
    trials: float
    running: float

    @property
    def of_trials(self) -> float:
        return self.trials + self.running

    @property
    def bytes(self) -> float:
        return sum(dataclasses.astuple(self))


def measure_speed(sweep: Sweep, config: TrialConfig) -> Speed:
    """Train and evaluate the network of `config` on a few batches of noise, on this machine.

    On so many threads as a trial has CPUs; trials that share a GPU share its speed. What decoding
    costs is not in it: generated images are not decoded, and a folder's by others of its CPUs.
    """
    device = resolve_device(config.compute)
    prepare_process(config.compute)
    share, most = sweep.gpus_per_trial, _NO_LIMIT
    n_all = torch.get_num_threads()
    if device.type == "cpu":
        cpus = min(int(sweep.cpus_per_trial), os.cpu_count() or 1)  # a trial has no more of them
        torch.set_num_threads(config.compute.threads or max(1, cpus))
        share, most = 1.0, _BATCH_ON_A_CPU
    precision = resolve_precision(config.compute, device)
    network = build_network(config.network.untrained, _CLASSES)
    network = place(network, device)
    recipe = config.retrain or config.network.recipe or TrainConfig()
    recipe = dataclasses.replace(recipe, head_epochs=0)  # of most epochs it is the whole network
    batch = min(recipe.batch_size, most)
    teacher = copy.deepcopy(network) if recipe.distill else None  # it answers in every step
    noise = _noise(config, max(2, batch))  # fewer are refused, since BatchNorm takes its statistics
    training = Training(network, noise, recipe, precision=precision, teacher=teacher)
    generator = torch.Generator().manual_seed(0)
    train = _rate(lambda: training.epoch(generator), len(noise))
    batch = min(config.compute.eval_batch_size, most)
    images = _noise(config, batch)
    evaluate = _rate(lambda: predict(network, images, device, precision, batch), batch)
    alone = train
    if device.type == "cpu":
        torch.set_num_threads(config.compute.threads or n_all)
        own = config.network.recipe or recipe
        # No teacher stands behind a dense network.
        plain = dataclasses.replace(own, head_epochs=0, batch_size=recipe.batch_size, distill=0.0)
        training = Training(network, noise, plain, precision=precision)
        alone = _rate(lambda: training.epoch(generator), len(noise))
    return Speed(train * share, evaluate * share, alone)


def gpus_here(sweep: Sweep) -> int | None:
    """How many GPUs of this machine the trials may use; None where they run on CPUs."""
    if resolve_device(sweep.base.compute).type == "cpu":
        return None
    return torch.cuda.device_count()


def measured_here(sweep: Sweep, configs: Sequence[TrialConfig], gpus: float | None) -> Speed:
    """The speed of the study's trials on this machine: of the first of these that prunes, which may
    have another network and other images than the study by itself.

    Raises ValueError where it says nothing of the machine that is planned for.
    """
    if gpus and gpus_here(sweep) is None:
        raise ValueError(
            f"the speed of trials on {gpus:g} GPUs cannot be measured on a machine without one: "
            "give --speed TRAIN,EVALUATE in images per second of one trial on its share of a GPU"
        )
    return measure_speed(sweep, next((c for c in configs if c.prune is not None), sweep.base))


def _noise(config: TrialConfig, n_images: int) -> ArrayImages:
    shape = (n_images, config.data.pixels, config.data.pixels, 3)
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    return ArrayImages(pixels, torch.zeros(n_images, dtype=torch.int64), digest="noise")


def _rate(batch: Callable[[], object], n_images: int) -> float:
    """Images a second; each call handles n_images and ends on the host."""
    batch()
    seconds = []
    for _ in range(_STEPS):
        start = time.perf_counter()
        batch()
        seconds.append(time.perf_counter() - start)
    return n_images / statistics.median(seconds)


def dense_of(config: TrialConfig) -> Hashable:
    """What trials of one dense network share."""
    return config.network, config.data, config.seed


def estimate(
    configs: Sequence[TrialConfig],
    speed: Speed,
    slots: int,
    trained: Collection[Hashable] = (),
    n_classes: Callable[[TrialConfig], int | None] = lambda _: None,
) -> Estimate:
    """What the trials take at that speed, dense networks that have to be trained included: all but
    those that are `trained`, see `dense_of`. n_classes: of a trial's images, None where that is not
    known.

    They start in their order, each where a slot is free, as Ray starts them, after the dense
    networks, and the report after them. A folder of unknown size is counted as ImageNet. A pruned
    network that is compacted is counted as the dense one, and a stopped trial as a whole one: both
    take less.
    """
    seconds = [
        _trial_seconds(config, speed) + _ranked(config, n_classes(config)) / speed.train
        for config in configs
    ]
    dense = {
        dense_of(config): _dense_seconds(config, speed)
        for config in configs
        if dense_of(config) not in trained
    }
    free = [sum(dense.values())] * max(1, min(slots, len(seconds)))
    for each in seconds:
        heapq.heapreplace(free, free[0] + each)
    report = _REPORT * len(seconds)
    return Estimate(sum(seconds) + sum(dense.values()), max(free) + report)


def disk(configs: Sequence[TrialConfig], slots: int) -> Disk:
    """What the trials fill, with `slots` of them under way."""
    size = {network: n_parameters(network) for network in {config.network for config in configs}}
    sizes = [size[config.network] for config in configs]
    sets = {config.data: _image_bytes(config) for config in configs}
    dense = {(config.network, config.data, config.seed) for config in configs}
    probes = {(config.data, config.score.similarity): config for config in configs}
    return Disk(
        images=sum(sets.values()),
        weights=sum(_WEIGHT_BYTES * size[network] for network, _, _ in dense),
        vectors=_VECTOR_BYTES * sum(_images(c, "probe_images") for c in probes.values()),
        trials=_TRIAL_BYTES * sum(sizes) + _TABLES * len(sizes),
        running=slots * _STATE_BYTES * max(sizes, default=0),
    )


def _image_bytes(config: TrialConfig) -> float:
    """Of images that are decoded once, or drawn; none where they are decoded each time."""
    data, names = config.data, ("train_images", "val_images", "probe_images")
    n_images = sum(_images(config, name) for name in names)
    if data.name == "concepts":
        return n_images * 3.0 * data.pixels**2
    if data.packed is None:
        return 0.0
    if data.train_images is None:  # among which the probe images are
        n_images -= _images(config, "probe_images")
    return n_images * 3.0 * data.packed**2 * _ASPECT


def _images(config: TrialConfig, name: str) -> int:
    count = getattr(config.data, name)
    return _IMAGENET[name] if count is None else count


def _looked_at(config: TrialConfig) -> int:
    """Validation images after an epoch that is not a trial's last."""
    return config.data.val_images_per_epoch or _images(config, "val_images")


def _trial_seconds(config: TrialConfig, speed: Speed) -> float:
    val, train = _images(config, "val_images"), _images(config, "train_images")
    passes = _score_passes(config)
    if config.sensitivity is not None:
        n_points = n_layers(config.network, config.sensitivity.prune)
        n_points *= len(config.sensitivity.rates)
        # On average half of a network lies behind a layer, and is all that runs again.
        passes += n_points / 2 * min(config.sensitivity.n_images or val, val)
    # Where nothing is trained each round is looked at instead of each epoch.
    epochs_between = max(config.n_epochs, config.n_scores, config.rounds) - config.n_scores
    seen = epochs_between * _looked_at(config) + config.n_scores * (val + passes)
    seen += max(config.n_epochs, config.rounds) * min(config.recalibrate_images, train)
    return config.n_epochs * train / speed.train + seen / speed.evaluate


def _ranked(config: TrialConfig, n_classes: int | None) -> float:
    """Images whose gradients a criterion asks for, in all rounds but the first, whose answer is
    kept for all trials."""
    prune = config.prune
    if prune is not None and prune.counts_of is not None:  # goes the way of the criterion's trial
        prune = None if config.n_epochs else config.of_masks.prune  # trained, its numbers are kept
    if prune is None or not prune.by.looks_at_images:
        return 0.0
    images = prune.samples_per_class * (n_classes or _CLASSES)
    return (prune.rounds - 1) * min(images, _images(config, "train_images"))


def _score_passes(config: TrialConfig) -> float:
    """Forward passes, in images, that a network is scored in."""
    probe, val = _images(config, "probe_images"), _images(config, "val_images")
    beside = _BESIDE * min(1.0, (_BESIDE_PIXELS / config.data.pixels) ** _BESIDE_POWER)
    passes = probe * (_READ + beside * len(config.beside))
    if config.dissection is not None:
        passes += 2 * (config.dissection.n_images or probe)
    if config.leaves_dense:  # whether its units are still the same ones
        passes += _READ * min(MOST, val)
    return passes


def _dense_seconds(config: TrialConfig, speed: Speed) -> float:
    recipe = config.network.recipe
    if recipe is None or not config.network.is_trained:
        return 0.0
    faster = speed.alone / speed.train if speed.alone else 1.0
    epoch = _images(config, "train_images") / speed.train
    return recipe.epochs * (epoch + _looked_at(config) / speed.evaluate) / faster


def duration(seconds: float) -> str:
    """For people: "12 min", "3.4 h", "5 d"."""
    if seconds < 5_400:
        return f"{max(1, round(seconds / 60))} min"
    hours = seconds / 3_600
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:,.0f} d"

"""What removing filters saves: GoogLeNet without them against the dense one.

On a CPU by one thread, as the trials of a sweep run: a layer that has become small is not worth
dividing among several.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import nn
from torchvision.models import googlenet

from benchmarks.timing import ratio
from pruning import (
    Held,
    choose_groups,
    compact,
    importance_of_groups,
    masks_of,
    structure_of,
    survivors_of,
)

BATCH, PIXELS, CLASSES = 64, 64, 20


def _network(device: torch.device) -> nn.Module:
    torch.manual_seed(0)
    network = googlenet(weights=None, init_weights=False, aux_logits=False, num_classes=CLASSES)
    return network.to(device, memory_format=torch.channels_last)


def _compacted(device: torch.device, granularity: str, rate: float) -> nn.Module:
    network = _network(device)
    scores = importance_of_groups(network, "l1", granularity, generator=torch.Generator())
    structure = structure_of(network)
    groups = choose_groups(scores, rate, granularity=granularity, scope="layer")
    keep = masks_of(network, groups, granularity, structure)
    Held(network, keep).apply()
    return compact(network, survivors_of(network, keep, structure))


def _images(device: torch.device) -> torch.Tensor:
    images = torch.randn(BATCH, 3, PIXELS, PIXELS, device=device)
    return images.to(memory_format=torch.channels_last)


def _inference(network: nn.Module, images: torch.Tensor) -> Callable[[], None]:
    network.eval()

    def forward() -> None:
        with torch.inference_mode():
            network(images)

    return forward


def _step(network: nn.Module, images: torch.Tensor) -> Callable[[], None]:
    network.train()
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3, fused=True)
    labels = torch.randint(CLASSES, (BATCH,), device=images.device)

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()

    return step


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def inference(device: torch.device, *, granularity: str = "filter", rate: float) -> float:
    """A forward pass of the compacted network against one of the dense."""
    images = _images(device)
    smaller = _compacted(device, granularity, rate)
    with _one_thread():
        return ratio(_inference(smaller, images), _inference(_network(device), images), rounds=15)


def training(device: torch.device, *, granularity: str = "filter", rate: float) -> float:
    """A training step of the compacted network against one of the dense."""
    images = _images(device)
    smaller = _compacted(device, granularity, rate)
    with _one_thread():
        return ratio(_step(smaller, images), _step(_network(device), images))


BENCHMARKS = {
    "inference, 50 % of filters removed / dense": (partial(inference, rate=0.5), 0.4),
    "training step, 50 % of filters removed / dense": (partial(training, rate=0.5), 0.4),
    "inference, 75 % of filters removed / dense": (partial(inference, rate=0.75), None),
    "training step, 75 % of filters removed / dense": (partial(training, rate=0.75), None),
    "inference, 50 % of input channels pruned / dense": (
        partial(inference, granularity="input_channel", rate=0.5),
        None,
    ),
    "training step, 50 % of input channels pruned / dense": (
        partial(training, granularity="input_channel", rate=0.5),
        None,
    ),
}

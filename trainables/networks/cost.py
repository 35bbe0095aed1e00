"""What it takes to run a network: parameters, multiply-adds, milliseconds."""

import copy
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Cost:
    """Of a network, and of one image: parameters and multiply-adds (of convolutions and linear
    layers). The nonzero ones leave out weights that are zero, as no machine does that convolves."""

    params: int
    macs: int
    nonzero_params: int
    nonzero_macs: int


@torch.no_grad()
def count_cost(network: nn.Module, pixels: int) -> Cost:
    """What a network costs in evaluation; on the meta device, so it takes a moment."""
    positions = positions_of(network, pixels)
    weights = {name: network.get_parameter(f"{name}.weight") for name in positions}
    parameters = list(network.parameters())
    return Cost(
        params=sum(p.numel() for p in parameters),
        macs=sum(n * weights[name].numel() for name, n in positions.items()),
        nonzero_params=sum(int(p.count_nonzero()) for p in parameters),
        nonzero_macs=sum(n * int(weights[name].count_nonzero()) for name, n in positions.items()),
    )


def positions_of(network: nn.Module, pixels: int) -> dict[str, int]:
    """Convolution or linear layer -> how often its weight is used on an image of so many pixels a
    side; of those that run in evaluation, on the meta device."""
    positions: dict[str, int] = {}

    def note(name: str):  # type: ignore[no-untyped-def]
        def hook(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            positions[name] = output[0, 0].numel() if output.dim() == 4 else 1

        return hook

    on_meta = copy.deepcopy(network).to("meta").eval()
    for name, module in on_meta.named_modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.register_forward_hook(note(name))
    on_meta(torch.empty(1, 3, pixels, pixels, device="meta"))
    return positions


@dataclass(frozen=True)
class Latency:
    """Milliseconds per image of `n` batches of one size, after some to warm up: their median and
    quartiles. A wide spread says that the machine was not quiet."""

    batch_size: int
    median: float
    lower: float
    upper: float
    n: int


_WARM_UP, _LEAST, _MOST = 2, 5, 50  # batches


@torch.inference_mode()
def measure_latencies(
    networks: Mapping[str, nn.Module], pixels: int, batch_size: int, seconds: float = 10.0
) -> dict[str, Latency]:
    """What each network takes in evaluation. They take turns, so that others on the machine hit
    all alike; for about so many seconds, but at least 5 batches of each.

    On the networks' device, with the process's threads, in their own number format, channels last.
    """
    images = _blank_images(next(iter(networks.values())), pixels, batch_size)
    taken: dict[str, list[float]] = {name: [] for name in networks}
    start = time.perf_counter()
    for round_ in range(_WARM_UP + _MOST):
        if round_ >= _WARM_UP + _LEAST and time.perf_counter() - start > seconds:
            break
        for name, network in networks.items():
            taken[name].append(_seconds(network, images))
    found = {}
    for name, each in taken.items():
        per_image = [s / batch_size * 1_000 for s in each[_WARM_UP:]]
        lower, median, upper = statistics.quantiles(per_image, method="inclusive")
        found[name] = Latency(batch_size, median, lower, upper, len(per_image))
    return found


@torch.inference_mode()
def measure_latency(
    network: nn.Module, pixels: int, *, batch_size: int = 8, repeats: int = 5
) -> float:
    """Milliseconds an image, in evaluation: the median of `repeats` batches, after one to warm up.

    On the network's device, with the process's threads, in the network's own number format.
    """
    images = _blank_images(network, pixels, batch_size)
    seconds = [_seconds(network, images) for _ in range(repeats + 1)]
    return statistics.median(seconds[1:]) / batch_size * 1_000


def _blank_images(network: nn.Module, pixels: int, batch_size: int) -> Tensor:
    """On the network's device, in its number format, channels last."""
    parameter = next(network.parameters())
    images = torch.zeros(batch_size, 3, pixels, pixels, device=parameter.device)
    return images.to(parameter.dtype, memory_format=torch.channels_last)


def _seconds(network: nn.Module, images: Tensor) -> float:
    _wait(images.device)
    start = time.perf_counter()
    network(images)
    _wait(images.device)
    return time.perf_counter() - start


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)

"""The training step: against torch as it comes, and against what its work takes at the least."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import googlenet

from benchmarks.timing import Measured, median_seconds, ratio
from trainables.config import ComputeConfig, TrainConfig
from trainables.datasets.images import ArrayImages, normalise
from trainables.training.compute import place, resolve_compile, resolve_precision
from trainables.training.finetune import Training

CLASSES = 1000
RECIPE = TrainConfig(optimizer="sgd", lr=0.01, momentum=0.9, weight_decay=1e-4, epochs=10**6)
# Of a CPU small, since its images per second hardly depend on it and a step takes seconds.
BATCH, BATCH_ON_A_CPU = 128, 16
ROUNDS = 5


def batch_size(device: torch.device) -> int:
    return BATCH if device.type == "cuda" else BATCH_ON_A_CPU


def network() -> nn.Module:
    """GoogLeNet as the paper's study trains it, but for the auxiliary heads."""
    torch.manual_seed(0)
    return googlenet(weights=None, init_weights=False, aux_logits=False, num_classes=CLASSES)


def _batch(device: torch.device, pixels: int) -> tuple[Tensor, Tensor]:
    n = batch_size(device)
    drawn = np.random.default_rng(0).integers(0, 256, (n, pixels, pixels, 3), dtype=np.uint8)
    images = torch.from_numpy(drawn).permute(0, 3, 1, 2).to(device)
    return images, torch.arange(n, device=device)


def step_of_ours(
    device: torch.device, pixels: int, compute: ComputeConfig | None = None
) -> Callable[[], object]:
    """A step as a trial makes it: `compute` says in which precision, and whether compiled."""
    compute = compute or ComputeConfig()
    images, labels = _batch(device, pixels)
    training = Training(
        place(network(), device),
        ArrayImages(np.zeros((len(labels), 1, 1, 3), np.uint8), labels.cpu(), "noise"),
        RECIPE,
        precision=resolve_precision(compute, device),
        compile=resolve_compile(compute, device),
    )
    training.network.train()
    return lambda: training._step(images, labels)


def _plain_step(device: torch.device, pixels: int) -> Callable[[], object]:
    """torch's defaults: float32, NCHW, eager, its default SGD."""
    ours, (images, labels) = network().to(device).train(), _batch(device, pixels)
    inputs = normalise(images).contiguous()
    optimizer = torch.optim.SGD(ours.parameters(), 0.01, momentum=0.9, weight_decay=1e-4)

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(ours(inputs), labels).backward()
        optimizer.step()

    return step


def against_plain(
    device: torch.device, *, pixels: int, compute: ComputeConfig | None = None
) -> float:
    """A step of ours against torch's defaults."""
    return ratio(step_of_ours(device, pixels, compute), _plain_step(device, pixels), ROUNDS)


def peak_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Multiplications and additions a second of a large matrix product: the most one sees here."""
    n = 8192 if device.type == "cuda" else 1536
    a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
    return 2 * n**3 / median_seconds(lambda: a @ b, rounds=5)


def peak_bytes(device: torch.device) -> float:
    """Bytes a second, read and written, of a copy too large for any cache."""
    a = torch.zeros(2**28 if device.type == "cuda" else 2**26, device=device)
    b = torch.empty_like(a)
    return 2 * a.nbytes / median_seconds(lambda: b.copy_(a), rounds=5)


def _work(device: torch.device, pixels: int, width: int) -> tuple[float, float]:
    """Floating point operations and bytes of a step.

    Bytes as if every layer read its input and wrote its output once in the forward pass, and in
    the backward pass read both gradient and input and wrote a gradient: a ReLU or a BatchNorm that
    is fused with its neighbour needs fewer. width: bytes of an activation.
    """
    ours, (images, labels) = network().to(device).train(), _batch(device, pixels)
    moved = 0

    def count(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal moved
        moved += (3 * inputs[0].numel() + 2 * output.numel()) * width

    leaves = [m for m in ours.modules() if not list(m.children())]
    hooks = [m.register_forward_hook(count) for m in leaves]
    with FlopCounterMode(display=False) as counter:
        nn.functional.cross_entropy(ours(normalise(images)), labels).backward()
    for hook in hooks:
        hook.remove()
    weights = sum(p.nbytes for p in ours.parameters())
    return counter.get_total_flops(), moved + 6 * weights  # read, gradient, momentum, written


def against_floor(device: torch.device, *, pixels: int, compute: ComputeConfig) -> Measured:
    """A step of ours against the time its operations or its bytes take, whichever is longer."""
    precision = resolve_precision(compute, device)
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    flops, moved = _work(device, pixels, dtype.itemsize)
    by_flops, by_bytes = flops / peak_flops(device, dtype), moved / peak_bytes(device)
    taken = median_seconds(step_of_ours(device, pixels, compute), ROUNDS)
    bound = "operations" if by_flops > by_bytes else "bytes"
    note = (
        f"{precision}, bound by {bound}; operations {by_flops / taken:.0%}, bytes "
        f"{by_bytes / taken:.0%} of {1e3 * taken:,.0f} ms for {batch_size(device)} images"
    )
    return Measured(taken / max(by_flops, by_bytes), note)


PIXELS = (64, 224)
COMPILED = ComputeConfig(compile="auto")  # on a GPU alone
BENCHMARKS = {
    f"training step, {px} px / plain fp32, NCHW, eager": (
        partial(against_plain, pixels=px, compute=COMPILED),
        {"cuda": 0.33, "cpu": 0.67},
    )
    for px in PIXELS
} | {
    f"training step, {px} px / what its operations and bytes take": (
        partial(against_floor, pixels=px, compute=COMPILED),
        None,
    )
    for px in PIXELS
}
ON_A_GPU = {  # beside them: what each choice is worth
    f"training step, 224 px, compile={mode!r}, {precision} / plain fp32, NCHW, eager": (
        partial(
            against_plain,
            pixels=224,
            compute=ComputeConfig(compile=mode, precision=precision),  # type: ignore[arg-type]
        ),
        None,
    )
    for mode in ("off", "default", "graphs")
    for precision in ("fp32", "bf16")
}

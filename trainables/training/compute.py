"""The device and the number format of a trial."""

import hashlib
import importlib.metadata
import os
import platform
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path
from typing import ParamSpec, TypeVar

import torch
from torch import nn

from trainables.config import ComputeConfig
from trainables.workspace import node_cache

P = ParamSpec("P")
R = TypeVar("R")

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def resolve_device(config: ComputeConfig) -> torch.device:
    """The device that "auto" means here; a GPU that is asked for must be there."""
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("compute.device='cuda' needs a CUDA GPU and torch sees none; use 'cpu'")
    if config.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(config.device)


def resolve_precision(config: ComputeConfig, device: torch.device) -> str:
    """The precision that "auto" means here.

    A CPU without AVX512-BF16 computes in bf16 at half the speed of fp32 (measured: 42 against 86
    images/s training GoogLeNet at 64 px on one Ice Lake core), so there "auto" is fp32.
    """
    if config.precision != "auto":
        return config.precision
    if device.type == "cuda":
        # Older GPUs only emulate bf16, slower than fp32.
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return "bf16" if native else "fp16"
    return "bf16" if torch.cpu._is_avx512_bf16_supported() else "fp32"


def resolve_compile(config: ComputeConfig, device: torch.device) -> str:
    """ "off", "default" or "graphs"; CUDA graphs that are asked for need a GPU.

    "auto" is "off" on a CPU, where compiling takes minutes and gains nothing (benchmarks/RESULTS).
    """
    if config.compile == "graphs" and device.type != "cuda":
        raise ValueError(
            "compute.compile='graphs' needs a CUDA GPU, this trial runs on a CPU; use 'auto'"
        )
    if config.compile == "auto":
        return "default" if device.type == "cuda" else "off"
    return config.compile


def compiled(function: Callable[P, R], mode: str, *, whole: bool = True) -> Callable[P, R]:
    """`function` through torch.compile, once for each shape of its tensors; "off": as it is.

    A function, not a module: what is saved, pruned and counted stays the plain network. What an
    earlier call compiled in this process is let go: torch would keep its network, and after eight
    of them would no longer compile, without a word. whole: fail where a part cannot be compiled.
    """
    if mode == "off":
        return function
    torch.compiler.reset()
    chosen = "reduce-overhead" if mode == "graphs" else "default"
    return torch.compile(function, mode=chosen, fullgraph=whole, dynamic=False)


def share_compiled(cache: Path) -> None:
    """Keep what is compiled under `cache`, where all trials of the machine find it."""
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(node_cache(cache) / "compiled"))


def place(network: nn.Module, device: torch.device) -> nn.Module:
    """The network on the device, channels last: the order in which its images come."""
    return network.to(device).to(memory_format=torch.channels_last)


def autocast(precision: str, device: torch.device) -> AbstractContextManager:
    """A context in which the network computes in `precision`."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, _DTYPES[precision])


def describe(device: torch.device, precision: str) -> dict[str, str]:
    """What a result was computed on: it belongs beside every number."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    return {
        "device": name,
        "precision": precision,
        "threads": str(torch.get_num_threads()),
        "torch": torch.__version__,
        "versions": _versions(device),
        "host": platform.node(),
        "code": code_version(),
    }


@cache
def _versions(device: torch.device) -> str:
    """Of what else computes."""
    names = [name for name in ("torchvision", "numpy", "timm", "pillow") if _version(name)]
    said = [f"python {platform.python_version()}", *(f"{name} {_version(name)}" for name in names)]
    if device.type == "cuda":
        said += [f"CUDA {torch.version.cuda}", f"cuDNN {torch.backends.cudnn.version()}"]
    return ", ".join(said)


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


@cache
def code_version() -> str:
    """12 hex digits of the sources that numbers depend on: `pruning`, `mis`, `trainables`."""
    root, found = Path(__file__).parents[1], hashlib.sha256()
    for package in ("mis", "pruning", "trainables"):
        for path in sorted((root / package).rglob("*.py")):
            found.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return found.hexdigest()[:12]


def _processor() -> str:
    """The CPU's name, where the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def prepare_process(config: ComputeConfig) -> None:
    """Settings of the whole process: threads; denormals (which pruned networks breed) off; and on
    a GPU fp32 that is fp32: torch's default is TF32, of 10 bits of mantissa, in convolutions.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    torch.set_flush_denormal(True)
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False

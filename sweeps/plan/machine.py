"""What a machine has for trials, what a trial asks for, and so how many of them run at once."""

import contextlib
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sweeps.plan.sweep import Sweep
from trainables.workspace import size_shown

TRIAL_BYTES = 1_500_000_000  # of memory: torch, a GoogLeNet in training, a batch of 224 px
OBJECT_STORE_BYTES = 300_000_000  # images are memory-mapped files and do not travel through Ray
_PARTS = 10_000  # of one CPU or GPU: Ray counts no finer
_MEMINFO = Path("/proc/meminfo")
_CGROUPS = (  # version 1, then 2: where, and what its files and numbers are called
    (
        Path("/sys/fs/cgroup/memory"),
        *("memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
    ),
    (Path("/sys/fs/cgroup"), "memory.max", "memory.current", ""),
)


@dataclass(frozen=True)
class Machine:
    """What there is: CPUs, GPUs and bytes of memory; None where nothing is known of it."""

    cpus: float | None = None
    gpus: float = 0.0
    memory: float | None = None

    @property
    def resources(self) -> dict[str, float]:
        """As Ray names them; what is not known is enough for anything."""
        known = {"CPU": self.cpus, "GPU": self.gpus, "memory": self.memory}
        return {name: math.inf if there is None else there for name, there in known.items()}


def this_machine(gpus: float | None = None) -> Machine:
    """This one, with what Ray would find of it now. gpus: None where trials run on CPUs."""
    return Machine(float(os.cpu_count() or 1), gpus or 0.0, free_memory() - OBJECT_STORE_BYTES)


def free_memory() -> float:
    """Bytes of memory that nobody uses, counted as Ray counts them: of the machine, or of a
    container that may use less of it. Where the system does not tell, half of what there is."""
    try:
        there = _numbers(_MEMINFO.read_text())
        total = there["MemTotal"]
        caches = sum(there.get(name, 0.0) for name in ("Cached", "SReclaimable", "Buffers"))
        used = total - there["MemFree"] - caches
    except (OSError, KeyError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2
    for folder, limit, usage, prefix in _CGROUPS:
        with contextlib.suppress(OSError, ValueError, KeyError):
            files = _numbers((folder / "memory.stat").read_text())
            kept = sum(files[f"{prefix}{name}_file"] for name in ("inactive", "active"))
            used = float((folder / usage).read_text()) - kept
            total = min(total, float((folder / limit).read_text()))
    return total - used


def _numbers(text: str) -> dict[str, float]:
    """Lines such as "MemFree: 3 kB" or "active_file 4096", in bytes."""
    words = [line.replace(":", "").split() for line in text.splitlines()]
    return {w[0]: float(w[1]) * (1024 if w[-1] == "kB" else 1) for w in words if len(w) > 1}


def trial_resources(
    sweep: Sweep, cluster: Mapping[str, float], *, may_grow: bool = False
) -> dict[str, float]:
    """CPUs, GPUs and memory of a trial: a share of a GPU where the cluster has one.

    may_grow: the cluster may get nodes when trials wait for them. One without any CPU is a head
    whose workers are still to come, and is asked for all that the study says.

    Raises ValueError when no trial would ever fit: Ray would wait for ever.
    """
    wanted, share = sweep.base.compute.device, sweep.gpus_per_trial
    resources = {"cpu": sweep.cpus_per_trial, "gpu": share, "memory": float(TRIAL_BYTES)}
    if wanted == "cpu":
        resources["gpu"] = 0.0
    if may_grow and not cluster.get("CPU"):
        return resources
    resources["cpu"] = min(sweep.cpus_per_trial, cluster.get("CPU", 0.0))
    there = cluster.get("GPU", 0.0)
    if not there and not (may_grow and wanted == "cuda"):
        if wanted == "cuda":
            raise ValueError("compute.device='cuda' needs a GPU and this Ray has none; use 'auto'")
        resources["gpu"] = 0.0
    if resources["gpu"] > there and not may_grow:
        raise ValueError(f"a trial needs {share:g} GPUs, the cluster has {there:g}")
    memory = cluster.get("memory", 0.0)
    if memory < TRIAL_BYTES:
        raise ValueError(f"a trial needs 1.5 GB of memory, Ray has {size_shown(memory)} to give")
    return resources


def at_once(resources: Mapping[str, float], cluster: Mapping[str, float]) -> int:
    """How many trials Ray runs at once on one machine: whatever of CPUs, GPUs and memory is used up
    first. A share of a GPU lies on one GPU.

    resources: of a trial, as `trial_resources` gives them.
    """
    gpus, share = cluster.get("GPU", 0.0), resources["gpu"]
    on_gpus = gpus * _fit(1.0, share) if 0 < share < 1 else _fit(gpus, share)
    on_cpus = _fit(cluster.get("CPU", 0.0), resources["cpu"])
    found = min(on_cpus, on_gpus, _fit(cluster.get("memory", 0.0), resources["memory"]))
    return max(1, int(min(found, 1e9)))


def slots(sweep: Sweep, machine: Machine) -> int:
    """How many trials of a study run at once. Raises ValueError where none would fit."""
    cluster = machine.resources
    return at_once(trial_resources(sweep, cluster), cluster)


def _fit(there: float, wanted: float) -> float:
    if not wanted or math.isinf(there):
        return math.inf
    return math.floor(round(there * _PARTS) / max(1, round(wanted * _PARTS)))

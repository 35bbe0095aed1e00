"""make bench: a table of ratios. Lower is better; the goal stands beside it."""

import copy
import platform

import torch
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.nn.utils import prune
from torchvision.models import googlenet

from benchmarks.timing import ratio
from mis import collect_extremes
from pruning import Held, choose_keep, prunable_weights
from trainables.networks import unit_layers

BATCH, PIXELS, CLASSES = 64, 64, 20


def _network(device: torch.device) -> nn.Module:
    torch.manual_seed(0)
    network = googlenet(weights=None, init_weights=False, aux_logits=False, num_classes=CLASSES)
    return network.to(device, memory_format=torch.channels_last)


def _keep(network: nn.Module) -> dict[str, torch.Tensor]:
    return choose_keep(
        network,
        0.5,
        granularity="weight",
        scope="global",
        criterion="l1",
        generator=torch.Generator(),
    )


def masks_held(device: torch.device) -> float:
    """A training step with held masks against the same step without."""
    network = _network(device).train()
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3, fused=True)
    held = Held(network, _keep(network))
    images = torch.randn(BATCH, 3, PIXELS, PIXELS, device=device)
    images = images.to(memory_format=torch.channels_last)
    labels = torch.randint(CLASSES, (BATCH,), device=device)

    def step(hold: bool) -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()
        if hold:
            held.apply()

    return ratio(lambda: step(True), lambda: step(False))


def global_mask(device: torch.device) -> float:
    """Choosing a global mask against torch.nn.utils.prune.global_unstructured."""
    # Torch's own cannot take weights in channels-last order.
    network = _network(device).to(memory_format=torch.contiguous_format)

    def theirs() -> None:
        other = copy.deepcopy(network)
        layers = [other.get_submodule(n.removesuffix(".weight")) for n in prunable_weights(other)]
        prune.global_unstructured([(m, "weight") for m in layers], prune.L1Unstructured, amount=0.5)

    return ratio(lambda: _keep(copy.deepcopy(network)), theirs)


@torch.inference_mode()
def score_pass(device: torch.device) -> float:
    """The pass that collects every unit's extreme images against the plain forward pass."""
    network = _network(device).eval()
    ids = torch.arange(6 * BATCH).split(BATCH)
    images = torch.randn(BATCH, 3, PIXELS, PIXELS, device=device)
    images = images.to(memory_format=torch.channels_last)

    def ours() -> None:
        collect_extremes(
            network,
            unit_layers(network),
            ((i.to(device), images) for i in ids),
            depth=100,
            priority=torch.randperm(6 * BATCH),
        )

    return ratio(ours, lambda: [network(images) for _ in ids], rounds=3)


BENCHMARKS = {
    "training step, masks held / not held": (masks_held, 1.03),
    "global mask / torch.nn.utils.prune.global_unstructured": (global_mask, 0.5),
    "score pass / forward pass": (score_pass, 1.5),
}


def main() -> None:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    where = torch.cuda.get_device_name() if device.type == "cuda" else platform.processor() or "CPU"
    table = Table(
        title=f"GoogLeNet, {PIXELS} px, batches of {BATCH}; {where}, torch {torch.__version__}, "
        f"{torch.get_num_threads()} threads"
    )
    for heading in ("what", "ratio", "goal"):
        table.add_column(heading)
    for name, (benchmark, goal) in BENCHMARKS.items():
        table.add_row(name, f"{benchmark(device):.2f}", f"<= {goal}")
    Console(width=110).print(table)


if __name__ == "__main__":
    main()

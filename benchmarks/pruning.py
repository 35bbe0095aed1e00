"""What pruning costs: holding masks, choosing them, scoring with images."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune
from torchvision.models import googlenet

from benchmarks.timing import ratio
from pruning import (
    Held,
    KeepMask,
    choose_groups,
    gradient_importance,
    importance_of_groups,
    masks_of,
    prunable_weights,
    structure_of,
)

BATCH, PIXELS, CLASSES = 64, 64, 20


def _network(device: torch.device) -> nn.Module:
    torch.manual_seed(0)
    network = googlenet(weights=None, init_weights=False, aux_logits=False, num_classes=CLASSES)
    return network.to(device, memory_format=torch.channels_last)


def _batch(device: torch.device) -> tuple[Tensor, Tensor]:
    images = torch.randn(BATCH, 3, PIXELS, PIXELS, device=device)
    labels = torch.randint(CLASSES, (BATCH,), device=device)
    return images.to(memory_format=torch.channels_last), labels


def _scores(network: nn.Module) -> dict[str, Tensor]:
    return importance_of_groups(network, "l1", "weight", generator=torch.Generator())


def _keep(network: nn.Module, scores: dict[str, Tensor]) -> KeepMask:
    groups = choose_groups(scores, 0.5, granularity="weight", scope="global")
    return masks_of(network, groups, "weight", structure_of(network))


def _weights_alone(network: nn.Module) -> list[tuple[nn.Module, Tensor]]:
    """Each prunable convolution with its mask; torch's own has no word on BatchNorms."""
    keep = _keep(network, _scores(network))
    names = prunable_weights(network)
    return [(network.get_submodule(n.removesuffix(".weight")), keep[n]) for n in names]


def _step(network: nn.Module, held: Held | None = None) -> Callable[[], None]:
    device = next(network.parameters()).device
    optimizer = torch.optim.AdamW(network.train().parameters(), 1e-3, fused=True)
    images, labels = _batch(device)

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()
        if held is not None:
            held.apply()

    return step


def step_held(device: torch.device) -> float:
    """A training step with held masks against the step of the dense network."""
    network = _network(device)
    held = Held(network, _keep(network, _scores(network)))
    return ratio(_step(network, held), _step(_network(device)), rounds=15)


def step_torch_prune(device: torch.device) -> float:
    """The same with the masks of torch.nn.utils.prune."""
    network = _network(device)
    for module, mask in _weights_alone(network):
        prune.custom_from_mask(module, "weight", mask)
    return ratio(_step(network), _step(_network(device)), rounds=15)


class _Masked(nn.Module):
    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.mask


def step_parametrize(device: torch.device) -> float:
    """The same with masks in torch.nn.utils.parametrize."""
    network = _network(device)
    for module, mask in _weights_alone(network):
        parametrize.register_parametrization(module, "weight", _Masked(mask.float()))
    return ratio(_step(network), _step(_network(device)), rounds=15)


def _against_torch(choose: Callable[[nn.Module], object], device: torch.device) -> float:
    """`choose` against torch.nn.utils.prune.global_unstructured on fresh copies of a network."""
    # Torch's own cannot take weights in channels-last order.
    network = _network(device).to(memory_format=torch.contiguous_format)
    rounds = 7
    copies = iter([copy.deepcopy(network) for _ in range(rounds + 1)])

    def theirs() -> None:
        other = next(copies)
        layers = [other.get_submodule(n.removesuffix(".weight")) for n in prunable_weights(other)]
        prune.global_unstructured([(m, "weight") for m in layers], prune.L1Unstructured, amount=0.5)

    return ratio(lambda: choose(network), theirs, rounds)


def mask_from_weights(device: torch.device) -> float:
    """A global mask by magnitude, scoring included."""
    return _against_torch(lambda network: _keep(network, _scores(network)), device)


def mask_from_scores(device: torch.device) -> float:
    """A global mask when the scores are there: what a further rate costs."""
    scores = _scores(_network(device).to(memory_format=torch.contiguous_format))
    return _against_torch(lambda network: _keep(network, scores), device)


def taylor_pass(device: torch.device) -> float:
    """Taylor scores of all filters against the plain gradient of the weights."""
    network = _network(device).eval()
    images, labels = _batch(device)
    names = list(prunable_weights(network))
    parameters = list(network.parameters())

    def plain() -> None:
        torch.autograd.grad(nn.functional.cross_entropy(network(images), labels), parameters)

    return ratio(
        lambda: gradient_importance(network, [(images, labels)], "taylor", "filter", names), plain
    )


BENCHMARKS = {
    "training step, masks held / dense": (step_held, 1.02),
    "training step, masks of torch.nn.utils.prune / dense": (step_torch_prune, None),
    "training step, masks in parametrizations / dense": (step_parametrize, None),
    "global mask / torch.nn.utils.prune.global_unstructured": (mask_from_weights, 0.1),
    "global mask from scores / global_unstructured": (mask_from_scores, 0.1),
    "Taylor scores of filters / gradient of the weights": (taylor_pass, 1.0),
}

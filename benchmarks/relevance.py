"""What relevance costs: LRP scores against a plain gradient."""

import torch
from torch import Tensor, nn
from torchvision.models import googlenet

from benchmarks.timing import ratio
from pruning import LrpRules, lrp_importance, prunable_weights

BATCH, PIXELS, CLASSES = 64, 64, 20


def _network(device: torch.device) -> nn.Module:
    torch.manual_seed(0)
    network = googlenet(weights=None, init_weights=False, aux_logits=False, num_classes=CLASSES)
    return network.to(device, memory_format=torch.channels_last).eval()


def _batch(device: torch.device, size: int, pixels: int) -> tuple[Tensor, Tensor]:
    images = torch.randn(size, 3, pixels, pixels, device=device)
    labels = torch.randint(CLASSES, (size,), device=device)
    return images.to(memory_format=torch.channels_last), labels


def lrp_pass(
    device: torch.device,
    *,
    granularity: str = "filter",
    rules: LrpRules | None = None,
    size: int = BATCH,
    pixels: int = PIXELS,
) -> float:
    """Relevance of all filters by z+ against the gradient of the labels' logits by the images."""
    network = _network(device)
    images, labels = _batch(device, size, pixels)
    names = list(prunable_weights(network))

    def plain() -> None:
        inputs = images.detach().requires_grad_()
        logits = network(inputs)
        torch.autograd.grad(logits.gather(1, labels[:, None]).sum(), inputs)

    return ratio(
        lambda: lrp_importance(
            network, [(images, labels)], granularity, names, rules or LrpRules()
        ),
        plain,
    )


def weights_pass(device: torch.device) -> float:
    """Relevance of every weight by alpha2beta1, against the same."""
    return lrp_pass(device, granularity="weight", rules=LrpRules(rule="alpha2beta1"))


BENCHMARKS = {
    "LRP z+ scores of filters / gradient of the images": (lrp_pass, 1.5),
    "LRP alpha2beta1 scores of weights / gradient of the images": (weights_pass, None),
}

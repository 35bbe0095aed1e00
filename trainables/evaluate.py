"""What a network gets right: accuracy, loss and calibration on an image set."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainables.compute import autocast
from trainables.datasets.images import ImageSet, normalise

N_BINS = 15  # of the calibration error, as Guo et al. 2017


def network_inputs(
    images: ImageSet, order: Tensor, batch_size: int, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """(ids int64 [batch], normalised images float32 [batch, 3, h, w]), both on the device."""
    for ids, pixels, _ in images.batches(order, batch_size):
        yield ids.to(device), normalise(pixels.to(device, non_blocking=True))


@torch.inference_mode()
def predict(
    network: nn.Module, images: ImageSet, device: torch.device, precision: str, batch_size: int
) -> Tensor:
    """Logits float32 [image, class] on the CPU; the network is left in evaluation mode."""
    network.eval()
    everything = torch.arange(len(images))
    logits = []
    for _, x in network_inputs(images, everything, batch_size, device):
        with autocast(precision, device):
            logits.append(network(x).float())
    return torch.cat(logits).cpu()


def accuracy_metrics(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """val/top1, val/top5 (fractions), val/loss (mean cross entropy, nats), val/ece.

    logits float [image, class]; labels int64 [image]. val/ece is the expected calibration error
    (Guo et al. 2017, eq. 3) over 15 equal bins of confidence. With fewer than six classes
    val/top5 would always be 1 and is left out.
    Raises FloatingPointError when a logit is not finite.
    """
    if not torch.isfinite(logits).all():
        bad = int((~torch.isfinite(logits).all(1)).sum())
        raise FloatingPointError(
            f"logits must be finite, those of {bad} of {len(logits)} images are not"
        )
    confidence, predicted = F.softmax(logits.double(), 1).max(1)
    right = predicted == labels
    metrics = {
        "val/top1": right.double().mean().item(),
        "val/loss": F.cross_entropy(logits.double(), labels).item(),
        "val/ece": _calibration_error(confidence, right),
    }
    if logits.shape[1] > 5:
        in_top5 = (logits.topk(5).indices == labels[:, None]).any(1)
        metrics["val/top5"] = in_top5.double().mean().item()
    return metrics


def _calibration_error(confidence: Tensor, right: Tensor) -> float:
    bins = (confidence * N_BINS).ceil().clamp(1, N_BINS).long() - 1
    gap = torch.zeros(N_BINS, dtype=torch.float64)
    gap.index_add_(0, bins, confidence - right.double())
    return gap.abs().sum().item() / len(confidence)

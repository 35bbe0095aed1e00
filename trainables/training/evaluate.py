"""What a network gets right: accuracy, loss and calibration on an image set."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainables.config import TrialConfig
from trainables.datasets.ahead import network_inputs
from trainables.datasets.images import Data, ImageSet
from trainables.training.compute import autocast

N_BINS = 15  # of the calibration error, as Guo et al. 2017
_AT_ONCE = 4096  # images: ImageNet's in float64 would take a gigabyte


@torch.inference_mode()
def predict(
    network: nn.Module,
    images: ImageSet,
    device: torch.device,
    precision: str,
    batch_size: int,
    ids: Tensor | None = None,
) -> Tensor:
    """Logits float32 [image, class] on the CPU; the network is left in evaluation mode.

    ids: int64, of the images in question; None: of all.
    """
    network.eval()
    ids = torch.arange(len(images)) if ids is None else ids
    logits = []
    for _, x, _ in network_inputs(images, ids, batch_size, device):
        with autocast(precision, device):
            logits.append(network(x).float())
    return torch.cat(logits).cpu()


def accuracy_metrics(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """val/top1, val/top5 (fractions), val/loss (mean cross entropy, nats), val/ece.

    val/top1_error is the standard error of val/top1 over images, sqrt(p (1 - p) / n). val/top1_a
    and val/top1_b are the accuracies on two halves of the images (see `halves`), left out where
    there is one image: what is chosen on one half is reported on the other.
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
    parts = zip(logits.split(_AT_ONCE), labels.split(_AT_ONCE), strict=True)
    columns = zip(*(_of_each(*part) for part in parts), strict=True)
    confidence, right, loss, in_top5 = (torch.cat(column) for column in columns)
    top1 = right.double().mean().item()
    metrics = {
        "val/top1": top1,
        "val/top1_error": math.sqrt(top1 * (1 - top1) / len(right)),
        "val/loss": loss.mean().item(),
        "val/ece": _calibration_error(confidence, right),
    }
    if len(right) > 1:
        first, second = (right[half].double().mean().item() for half in halves(labels))
        metrics |= {"val/top1_a": first, "val/top1_b": second}
    if logits.shape[1] > 5:
        metrics["val/top5"] = in_top5.double().mean().item()
    return metrics


def halves(labels: Tensor) -> tuple[Tensor, Tensor]:
    """int64 ids of two halves of the images, each with its share of every class.

    The same for all networks: the images of a class, in their order, go to the halves in turn.
    labels: int64 [image].
    """
    by_class = labels.argsort(stable=True)
    return by_class[0::2], by_class[1::2]


def ids_per_epoch(labels: Tensor, count: int | None) -> Tensor:
    """int64 ids, ascending, of the `count` images that are looked at after an epoch, None of all:
    of every class its share to within one, the same for all networks.

    labels: int64 [image].
    """
    if count is None:
        return torch.arange(len(labels))
    by_class = labels.argsort(stable=True)
    evenly = torch.arange(count, dtype=torch.float64) * (len(labels) / count)
    return by_class[evenly.floor().long()].sort().values


def accuracy_after_epoch(
    network: nn.Module, config: TrialConfig, data: Data, device: torch.device, precision: str
) -> dict[str, float]:
    """See `accuracy_metrics`: of as many validation images as `data.val_images_per_epoch` says."""
    ids = ids_per_epoch(data.val.labels, config.data.val_images_per_epoch)
    batch_size = config.compute.eval_batch_size
    logits = predict(network, data.val, device, precision, batch_size, ids)
    return accuracy_metrics(logits, data.val.labels[ids])


def _of_each(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of each image: confidence, whether it is right, loss, whether the label is in the top 5."""
    exact = logits.double()
    confidence, predicted = F.softmax(exact, 1).max(1)
    loss = F.cross_entropy(exact, labels, reduction="none")
    in_top5 = (logits.topk(min(5, logits.shape[1])).indices == labels[:, None]).any(1)
    return confidence, predicted == labels, loss, in_top5


def _calibration_error(confidence: Tensor, right: Tensor) -> float:
    bins = (confidence * N_BINS).ceil().clamp(1, N_BINS).long() - 1
    gap = torch.zeros(N_BINS, dtype=torch.float64)
    gap.index_add_(0, bins, confidence - right.double())
    return gap.abs().sum().item() / len(confidence)

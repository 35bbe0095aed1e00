"""Which class a network answers for each image, and how that differs from the dense network."""

import math
from pathlib import Path

from torch import Tensor

from trainables.config import TrialConfig
from trainables.datasets.images import Data
from trainables.memo import Memo
from trainables.training.compute import place, resolve_device, resolve_precision
from trainables.training.dense import dense_key, load_dense
from trainables.training.evaluate import predict


def dense_answers(config: TrialConfig, data: Data, cache: Path) -> Tensor:
    """int64 [image]: the class that the dense network of `config` answers for each validation
    image; computed once, then shared.

    Raises ValueError when the dense network has to be trained first.
    """
    device, batch_size = resolve_device(config.compute), config.compute.eval_batch_size
    precision = resolve_precision(config.compute, device)
    depends_on = [dense_key(config, data), data.val.digest, batch_size, precision]

    def compute() -> Tensor:
        network = place(load_dense(config, data, cache), device)
        return predict(network, data.val, device, precision, batch_size).argmax(1)

    return Memo(cache).of("dense-answers", depends_on, compute)


def change_of_answers(answers: Tensor, dense: Tensor, labels: Tensor) -> dict[str, float]:
    """val/top1_change: top-1 minus the dense network's on the same images, -1 to 1;
    val/top1_change_error: its standard error over images, paired (of two networks that agree on
    most images it is far below that of either top-1), left out for a single image;
    val/agreement: the fraction of images for which both answer the same class.

    answers, dense, labels: int64 [image].
    """
    change = (answers == labels).double() - (dense == labels).double()
    metrics = {
        "val/top1_change": change.mean().item(),
        "val/agreement": (answers == dense).double().mean().item(),
    }
    if len(change) > 1:
        metrics["val/top1_change_error"] = change.std().item() / math.sqrt(len(change))
    return metrics

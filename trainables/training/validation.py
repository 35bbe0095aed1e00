"""What a network answers to the validation images, beside the dense network."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from trainables.config import TrialConfig
from trainables.datasets.images import Data
from trainables.memo import Memo
from trainables.training.answers import answers_table
from trainables.training.compute import place
from trainables.training.dense import dense_key, load_dense
from trainables.training.evaluate import accuracy_after_epoch, accuracy_metrics, predict

if TYPE_CHECKING:
    import pandas as pd


@dataclass
class Validation:
    """What the networks of a trial are measured on. device, precision: as they are resolved.

    answers: what the last network of `of_all` answers, see `answers_table`; None before.
    """

    config: TrialConfig
    data: Data
    cache: Path
    device: torch.device
    precision: str
    answers: "pd.DataFrame | None" = None

    def of_all(self, network: nn.Module) -> dict[str, float]:
        """See `accuracy_metrics`, and of one that is not the dense network `change_of_answers`.

        Raises ValueError when the dense network has to be trained first.
        """
        labels = self.data.val.labels
        logits = self._logits(network)
        metrics = accuracy_metrics(logits, labels)
        dense = self.dense_answers() if self.config.leaves_dense else None
        names, digest = self.data.class_names, self.data.val.digest
        self.answers = answers_table(logits, labels, names, digest, dense)
        if dense is None:
            return metrics
        return metrics | change_of_answers(logits.argmax(1), dense, labels)

    def after_epoch(self, network: nn.Module) -> dict[str, float]:
        """See `accuracy_after_epoch`."""
        return accuracy_after_epoch(network, self.config, self.data, self.device, self.precision)

    def dense_answers(self) -> Tensor:
        """int64 [image]: the class that the dense network answers for each; computed once."""
        depends_on = [dense_key(self.config, self.data), self.data.val.digest, self.precision]

        def compute() -> Tensor:
            network = place(load_dense(self.config, self.data, self.cache), self.device)
            return self._logits(network).argmax(1)

        return Memo(self.cache).of("dense-answers", depends_on, compute)

    def _logits(self, network: nn.Module) -> Tensor:
        batch_size = self.config.compute.eval_batch_size
        return predict(network, self.data.val, self.device, self.precision, batch_size)


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

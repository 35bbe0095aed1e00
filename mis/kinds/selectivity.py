"""Does a unit tell one class from all others? Correlation and average precision with its best.

Oikarinen, Yan, Weng, ICML 2025 (NeuronEval, arXiv 2506.05774): of the measures by which a unit is
compared with a concept, F1, IoU, correlation, cosine and the area under the precision-recall curve
alone notice when labels of the concept are taken away or added.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mis.kinds.score import Need, OfMeans, Probe

LEAST_PER_CLASS = 20
"""With one image per class the best area is always 1."""


@dataclass(frozen=True, kw_only=True)
class Selectivity(OfMeans):
    """How closely a unit goes with the class that it goes with best, by image.

    selectivity: the highest correlation (Pearson) of its activations with belonging to a class, in
    [-1, 1]; best_class: that class. auprc: the highest average precision over classes, in (0, 1],
    equal activations being one threshold. The best of many classes is a maximum: what chance gives
    is that of shuffled activations. Without a score: a unit that is the same on all images.
    """

    name: ClassVar[str] = "selectivity"
    values: ClassVar[tuple[str, ...]] = ("selectivity", "auprc")
    needs: ClassVar[frozenset[Need]] = frozenset({"labels"})

    def require(self, per_class: Sequence[int]) -> None:
        there = [(count, label) for label, count in enumerate(per_class) if count]
        fewest, label = min(there, default=(0, 0))
        if fewest < LEAST_PER_CLASS:
            raise ValueError(
                f"the score selectivity needs at least {LEAST_PER_CLASS} probe images of each "
                f"class, class {label} has {fewest}: take more by SET=data.probe_images=…, or "
                "leave it out of scores"
            )

    def of(self, activations: Tensor, probe: Probe) -> dict[str, Tensor]:
        _, labels = probe.labels.unique(return_inverse=True)
        constant = activations.amax(0) == activations.amin(0)
        correlation, best = correlations(activations, labels).max(dim=0)
        classes = probe.labels.unique()
        found = {
            "selectivity": correlation,
            "auprc": precisions(activations, labels).amax(0),
            "best_class": classes[best].double(),
        }
        return {name: values.masked_fill(constant, torch.nan) for name, values in found.items()}


def correlations(activations: Tensor, labels: Tensor) -> Tensor:
    """Pearson's, of each unit with belonging to each class: float64 [class, unit].

    activations: [image, unit]. labels: int64 [image], 0 … class - 1, of each class at least one.
    """
    of_class = F.one_hot(labels).double()
    share = of_class.mean(0).unsqueeze(1)
    values = activations.double()
    values = values - values.mean(0)
    deviation = values.square().mean(0).sqrt()
    means = of_class.T @ values / of_class.sum(0).unsqueeze(1)
    return means / deviation * (share / (1 - share)).sqrt()


def precisions(activations: Tensor, labels: Tensor) -> Tensor:
    """The average precision with which each unit finds each class: float64 [class, unit].

    The sum over thresholds of the rise in recall times the precision there; a threshold lets all
    equal activations through at once. Arguments: see `correlations`.
    """
    values = np.ascontiguousarray(activations.numpy().T)
    n_units, n_images = values.shape
    order = np.argsort(-values, axis=1)
    ranked = np.take_along_axis(values, order, axis=1)
    ends = _ends(ranked[:, 1:] != ranked[:, :-1])
    # Numpy sorts 16 bits far quicker than 32.
    of_rank = labels.numpy().astype(np.int16 if labels.max() < 2**15 else np.int32)[order]
    # The images of each class side by side, within a class the most activating first.
    by_class = np.argsort(of_rank, axis=1, kind="stable")
    ends = np.take_along_axis(ends, by_class, axis=1)
    sizes = np.bincount(labels.numpy())
    first = np.concatenate([[0], sizes.cumsum()[:-1]])
    changes = ends[:, 1:] != ends[:, :-1]
    changes[:, first[1:] - 1] = True
    found = (_ends(changes) + 1 - first.repeat(sizes)) / (ends + 1)
    areas = np.add.reduceat(found, first, axis=1) / sizes
    return torch.from_numpy(areas.T.copy())


def _ends(changes: np.ndarray) -> np.ndarray:
    """int32 [row, place]: the last place of the run of equals that each is in.

    changes: bool [row, place - 1], whether the next is another.
    """
    n_rows, n = changes.shape[0], changes.shape[1] + 1
    places = np.arange(n, dtype=np.int32)
    last = np.full((n_rows, n), n - 1, dtype=np.int32)
    last[:, :-1] = np.where(changes, places[:-1], n - 1)
    return np.minimum.accumulate(last[:, ::-1], axis=1)[:, ::-1]

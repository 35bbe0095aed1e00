"""How clear a task is: the difference between two differences of similarity.

Zimmermann, Klindt, Brendel 2024 (arXiv 2402.14859), Sec. 3.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from mis.tasks import Tasks

Metric = Literal["cosine", "neg_sq_distance"]
# Both similarities are this many dot products, plus terms that cancel in D+ - D-: with explanations
# averaged to e+ and e-, -|q - e|^2 leaves 2 q.e, for |q|^2 cancels between e+ and e-, |e|^2 between
# the queries.
METRICS: dict[Metric, float] = {"cosine": 1.0, "neg_sq_distance": 2.0}

# The matrix of all similarities costs images^2 dot products; without it a task costs 2k + 2 rows
# of vectors read from memory. Measured: a row read takes as long as about ROW_COST dot products.
ROW_COST = 16
MATRIX_IMAGES = 10_000  # above, the matrix would take more than 400 MB


def task_margins(
    tasks: Tasks, vectors: Tensor, *, metric: Metric = "cosine", unit_block: int = 512
) -> Tensor:
    """D+ - D- of every task: [unit, task], in the dtype and on the device of the vectors.

    D+ = s(q+, E+) - s(q+, E-), D- = s(q-, E+) - s(q-, E-), s = mean similarity to the k
    explanations (paper, Sec. 3). For the cosine of unit vectors it is (q+ - q-).(e+ - e-), with
    e+ and e- the mean explanations; for -|q - e|^2 twice that.

    vectors: float32 or float64 [image, dim], finite; of unit length if metric is "cosine".
    unit_block: units scored at a time; bounds memory, does not change the result.
    Raises ValueError for an unknown metric, other vectors, and tasks about images they lack.
    """
    _check_vectors(vectors, metric)
    images = (tasks.plus, tasks.minus, tasks.plus_query, tasks.minus_query)
    lowest, highest = (min(int(t.min()) for t in images), max(int(t.max()) for t in images))
    if lowest < 0 or highest >= len(vectors):
        raise ValueError(
            f"tasks must ask about images 0 … {len(vectors) - 1}, those with a vector; "
            f"they ask about {lowest} … {highest}"
        )
    reads = 2 * tasks.plus.numel() + 2 * tasks.plus_query.numel()
    with_matrix = len(vectors) ** 2 <= ROW_COST * reads and len(vectors) <= MATRIX_IMAGES
    similarity = vectors @ vectors.T if with_matrix else None
    blocks = zip(*(t.to(vectors.device).split(unit_block) for t in images), strict=True)
    margins = [
        _margins_of_vectors(vectors, *block)
        if similarity is None
        else _margins_of_matrix(similarity, *block)
        for block in blocks
    ]
    return METRICS[metric] * torch.cat(margins)


def _margins_of_vectors(
    vectors: Tensor, plus: Tensor, minus: Tensor, plus_query: Tensor, minus_query: Tensor
) -> Tensor:
    explanations = _mean_rows(vectors, plus).sub_(_mean_rows(vectors, minus))
    queries = vectors[plus_query.flatten()].sub_(vectors[minus_query.flatten()])
    return (queries * explanations).sum(dim=1).view_as(plus_query)


def _mean_rows(vectors: Tensor, images: Tensor) -> Tensor:
    return F.embedding_bag(images.flatten(0, 1), vectors, mode="mean")


def _margins_of_matrix(
    similarity: Tensor, plus: Tensor, minus: Tensor, plus_query: Tensor, minus_query: Tensor
) -> Tensor:
    def s(query: Tensor, explanations: Tensor) -> Tensor:
        return similarity[query.unsqueeze(-1), explanations].mean(dim=-1)

    d_plus = s(plus_query, plus) - s(plus_query, minus)
    return d_plus - (s(minus_query, plus) - s(minus_query, minus))


def _check_vectors(vectors: Tensor, metric: Metric) -> None:
    if metric not in METRICS:
        raise ValueError(f"metric must be one of {', '.join(METRICS)}, got {metric!r}")
    if vectors.ndim != 2 or vectors.dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"vectors must be float32 or float64 [image, dim], "
            f"got {vectors.dtype} {tuple(vectors.shape)}"
        )
    if not vectors.isfinite().all():
        raise ValueError("vectors must be finite, but some hold NaN or infinity")
    if metric == "cosine":
        lengths = vectors.norm(dim=1)
        if (lengths - 1).abs().max() > 1e-3:
            raise ValueError(
                f"vectors compared by cosine must have unit length, "
                f"got lengths {float(lengths.min()):.4g} … {float(lengths.max()):.4g}"
            )

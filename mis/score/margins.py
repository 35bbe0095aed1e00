"""How clear a task is: the difference between two differences of similarity.

Zimmermann, Klindt, Brendel 2024 (arXiv 2402.14859), Sec. 3.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from mis.score.tasks import Tasks

Metric = Literal["cosine", "neg_sq_distance"]
# Both similarities are this many dot products, plus terms that cancel in D+ - D-: with explanations
# averaged to e+ and e-, -|q - e|^2 leaves 2 q.e, for |q|^2 cancels between e+ and e-, |e|^2 between
# the queries.
METRICS: dict[Metric, float] = {"cosine": 1.0, "neg_sq_distance": 2.0}

# The matrix of all similarities costs images^2 dot products; without it a task costs 2k + 2 rows
# of vectors read from memory. Measured: a row read takes as long as about ROW_COST dot products.
ROW_COST = 64
MATRIX_IMAGES = 10_000  # above, the matrix would take more than 400 MB
# Tasks about one unit ask about the same few hundred images: where a unit has many tasks, its
# vectors stay in the processor's cache (two to three times as fast as 128 units at a time).
TASKS_AT_ONCE = 512
ROWS = 1024  # of the matrix or of the vectors, at a time: half of the matrix is its mirror image


class Margins:
    """D+ - D- of tasks about one set of vectors; what several calls can share is computed once.

    vectors: float32 or float64 [image, dim], finite; of unit length if metric is "cosine".
    n_reads: image ids in all the tasks to come; decides whether a matrix of all similarities pays.
    Raises ValueError for an unknown metric and other vectors.
    """

    def __init__(self, vectors: Tensor, *, metric: Metric = "cosine", n_reads: int) -> None:
        _check_vectors(vectors, metric)
        self.vectors, self.scale = vectors, METRICS[metric]
        with_matrix = len(vectors) ** 2 <= ROW_COST * n_reads and len(vectors) <= MATRIX_IMAGES
        self.matrix = _products(vectors) if with_matrix else None

    def __call__(self, tasks: Tasks, unit_block: int = 128) -> Tensor:
        """[unit, task], in the dtype and on the device of the vectors.

        unit_block: units at a time, at most; bounds memory, does not change the result.
        Raises ValueError for tasks about images that have no vector.
        """
        images = (tasks.plus, tasks.minus, tasks.plus_query, tasks.minus_query)
        lowest, highest = (min(int(t.min()) for t in images), max(int(t.max()) for t in images))
        if lowest < 0 or highest >= len(self.vectors):
            raise ValueError(
                f"tasks must ask about images 0 … {len(self.vectors) - 1}, those with a vector; "
                f"they ask about {lowest} … {highest}"
            )
        if self.matrix is None:
            unit_block = min(unit_block, max(1, TASKS_AT_ONCE // tasks.plus.shape[1]))
        blocks = zip(*(t.to(self.vectors.device).split(unit_block) for t in images), strict=True)
        margins = [
            _margins_of_vectors(self.vectors, *block)
            if self.matrix is None
            else _margins_of_matrix(self.matrix, *block)
            for block in blocks
        ]
        return self.scale * torch.cat(margins)


def task_margins(
    tasks: Tasks, vectors: Tensor, *, metric: Metric = "cosine", unit_block: int = 128
) -> Tensor:
    """D+ - D- of every task: [unit, task], in the dtype and on the device of the vectors.

    D+ = s(q+, E+) - s(q+, E-), D- = s(q-, E+) - s(q-, E-), s = mean similarity to the k
    explanations (paper, Sec. 3). For the cosine of unit vectors it is (q+ - q-).(e+ - e-), with
    e+ and e- the mean explanations; for -|q - e|^2 twice that.
    Arguments and errors: see `Margins`.
    """
    margins = Margins(vectors, metric=metric, n_reads=count_reads(tasks))
    return margins(tasks, unit_block)


def count_reads(tasks: Tasks) -> int:
    """Image ids in the tasks."""
    return 2 * tasks.plus.numel() + 2 * tasks.plus_query.numel()


def _products(vectors: Tensor) -> Tensor:
    """vectors @ vectors.T, each product computed once."""
    matrix = vectors.new_empty(len(vectors), len(vectors))
    for begin in range(0, len(vectors), ROWS):
        rows = slice(begin, begin + ROWS)
        matrix[rows, begin:] = vectors[rows] @ vectors[begin:].T
        matrix[begin + ROWS :, rows] = matrix[rows, begin + ROWS :].T
    return matrix


def _margins_of_vectors(
    vectors: Tensor, plus: Tensor, minus: Tensor, plus_query: Tensor, minus_query: Tensor
) -> Tensor:
    explanations = _mean_rows(vectors, plus).sub_(_mean_rows(vectors, minus))
    queries = vectors[plus_query.flatten()].sub_(vectors[minus_query.flatten()])
    return (queries * explanations).sum(dim=1).view_as(plus_query)


def _mean_rows(vectors: Tensor, images: Tensor) -> Tensor:
    return F.embedding_bag(images.flatten(0, 1), vectors, mode="mean")


def _margins_of_matrix(
    matrix: Tensor, plus: Tensor, minus: Tensor, plus_query: Tensor, minus_query: Tensor
) -> Tensor:
    explanations = torch.cat([plus, minus], dim=2)
    places = torch.stack([plus_query, minus_query]).mul_(len(matrix)).unsqueeze(3) + explanations
    # One flat read: a pair of indices for each product takes three times as long.
    products = matrix.view(-1).index_select(0, places.view(-1)).view(places.shape)
    to_plus_query, to_minus_query = products
    difference = to_plus_query.sub_(to_minus_query)
    k = plus.shape[2]
    return difference[..., :k].mean(dim=2) - difference[..., k:].mean(dim=2)


def _check_vectors(vectors: Tensor, metric: Metric) -> None:
    if metric not in METRICS:
        raise ValueError(f"metric must be one of {', '.join(METRICS)}, got {metric!r}")
    if vectors.ndim != 2 or vectors.dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"vectors must be float32 or float64 [image, dim], "
            f"got {vectors.dtype} {tuple(vectors.shape)}"
        )
    # Some rows at a time: vectors may lie in a file that is larger than the memory.
    for rows in vectors.split(ROWS):
        if not rows.isfinite().all():
            raise ValueError("vectors must be finite, but some hold NaN or infinity")
        lengths = rows.norm(dim=1)
        if metric == "cosine" and (lengths - 1).abs().max() > 1e-3:
            raise ValueError(
                f"vectors compared by cosine must have unit length, "
                f"got lengths {float(lengths.min()):.4g} … {float(lengths.max()):.4g}"
            )

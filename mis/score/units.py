"""Tasks and vectors in, one score per unit out: the Machine Interpretability Score.

Zimmermann, Klindt, Brendel 2024 (arXiv 2402.14859), Sec. 3: a task is solved when the query of a
side is more similar to the explanations of its own side than the other query is.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mis.score.extremes import Extremes
from mis.score.margins import Margins, Metric, count_reads
from mis.score.tasks import Tasks, build_tasks, images_needed

UNIT_STATES = ("alive", "unread", "constant", "dead")
# Zimmermann, Klindt, Brendel 2024, Sec. 4: units of a smaller range have no extremes.
CONSTANT_RANGE = 1e-8
_ALIVE, _UNREAD, _CONSTANT, _DEAD = range(4)


@dataclass(frozen=True)
class Scores:
    """Scores of units, in the dtype of the vectors, on the CPU."""

    mis: Tensor  # [unit], in [0, 1]: mean confidence over tasks; chance is 0.5
    task_accuracy: Tensor  # [unit], in [0, 1]: tasks solved; a tie (D+ = D-) counts half


@dataclass(frozen=True)
class UnitScores:
    """Scores and states of a network's units, in the order of the `Extremes` they come from."""

    layers: tuple[str, ...]
    layer_of: Tensor  # int64 [unit], index into layers
    mis: Tensor  # [unit], NaN for constant and dead units
    task_accuracy: Tensor  # [unit], NaN for constant and dead units
    state: Tensor  # int8 [unit], index into UNIT_STATES


def score_tasks(
    tasks: Tasks,
    vectors: Tensor | Margins,
    *,
    slope: float,
    metric: Metric = "cosine",
    unit_block: int = 128,
) -> Scores:
    """MIS = mean over tasks of sigmoid(slope x (D+ - D-)), and the fraction of tasks solved.

    vectors: or the `Margins` made of them, which then know the metric.
    slope: positive; 1 / 0.16 for DreamSim (the paper prints 0.16 as a factor, which its own
    numbers rule out), else from `calibrate_slope`. Other arguments, errors: see `task_margins`.
    """
    if not 0 < slope < math.inf:
        raise ValueError(f"slope must be positive and finite, got {slope}")
    if isinstance(vectors, Tensor):
        vectors = Margins(vectors, metric=metric, n_reads=count_reads(tasks))
    margins = vectors(tasks, unit_block).cpu()
    solved = torch.heaviside(margins, margins.new_tensor(0.5))
    return Scores((slope * margins).sigmoid().mean(dim=1), solved.mean(dim=1))


def unit_states(extremes: Extremes, *, unread: Tensor | None = None) -> Tensor:
    """The state of every unit: int8 [unit], index into UNIT_STATES.

    dead: zero on every image, or read before a ReLU and above 0 nowhere, so that it passes nothing
    on. constant: of a range below CONSTANT_RANGE, but not dead. unread:
    marked in `unread` (bool [unit], True where nothing downstream reads the unit; None: all are
    read), and neither dead nor constant. alive: all others.
    Raises ValueError for an `unread` of another shape or dtype.
    """
    minimum, maximum = extremes.minimum, extremes.maximum
    state = torch.full(minimum.shape, _ALIVE, dtype=torch.int8)
    if unread is not None:
        if unread.dtype != torch.bool or unread.shape != minimum.shape:
            raise ValueError(
                f"unread must be bool [{len(minimum)}], got {unread.dtype} {tuple(unread.shape)}"
            )
        state[unread.cpu()] = _UNREAD
    state[maximum - minimum < CONSTANT_RANGE] = _CONSTANT
    state[(minimum == 0) & (maximum == 0)] = _DEAD
    if extremes.silent is not None:
        state[extremes.silent] = _DEAD
    return state


def score_units(
    extremes: Extremes,
    vectors: Tensor,
    *,
    slope: float,
    metric: Metric = "cosine",
    n_tasks: int,
    k: int,
    generator: torch.Generator,
    query_rank: int | None = None,
    unread: Tensor | None = None,
) -> UnitScores:
    """Deal tasks to every unit and score them; constant and dead units get NaN.

    extremes: of the depth that `images_needed` is twice of, or deeper. vectors: [image, dim],
    indexed by image id. generator: deals images to tasks. Other arguments and errors: see
    `build_tasks`, `score_tasks` and `unit_states`. A unit's tasks do not depend on the other
    units' states. To score the same tasks by several vectors, see `unit_scores`.
    """
    tasks = build_tasks(
        extremes.top,
        extremes.bottom,
        n_tasks=n_tasks,
        k=k,
        generator=generator,
        query_rank=query_rank,
    )
    return unit_scores(extremes, tasks, vectors, slope=slope, metric=metric, unread=unread)


def unit_scores(
    extremes: Extremes,
    tasks: Tasks,
    vectors: Tensor | Margins,
    *,
    slope: float,
    metric: Metric = "cosine",
    unread: Tensor | None = None,
    state: Tensor | None = None,
) -> UnitScores:
    """As `score_units`, of tasks that are built already: the same can be asked of many vectors.

    state: int8 [unit], instead of `unit_states`.
    """
    if state is None:
        state = unit_states(extremes, unread=unread)
    scores = score_tasks(tasks, vectors, slope=slope, metric=metric)
    meaningless = (state == _CONSTANT) | (state == _DEAD)
    return UnitScores(
        layers=extremes.layers,
        layer_of=extremes.layer_of,
        mis=scores.mis.masked_fill(meaningless, math.nan),
        task_accuracy=scores.task_accuracy.masked_fill(meaningless, math.nan),
        state=state,
    )


def summarize(scores: UnitScores) -> dict[str, float]:
    """Metrics of a network, by their MLflow names.

    mis/mean, mis/median, mis/task_accuracy: over alive units (NaN when none is).
    mis/n_units: how many those are; mis/n_unread, mis/n_constant, mis/n_dead: the others.
    mis/mean_dead_as_half: over all units, constant and dead ones at 0.5 and unread ones at their
    own score: a fixed denominator, to see what leaving units out does.
    mis/<layer>/mean: over the layer's alive units; absent when it has none.
    """
    alive = scores.state == _ALIVE
    mis = scores.mis.double()
    metrics = {
        "mis/mean": float(mis[alive].mean()),
        "mis/median": float(mis[alive].quantile(0.5)) if alive.any() else math.nan,
        "mis/task_accuracy": float(scores.task_accuracy[alive].double().mean()),
        "mis/n_units": float(alive.sum()),
        "mis/n_unread": float((scores.state == _UNREAD).sum()),
        "mis/n_constant": float((scores.state == _CONSTANT).sum()),
        "mis/n_dead": float((scores.state == _DEAD).sum()),
        "mis/mean_dead_as_half": float(mis.nan_to_num(nan=0.5).mean()),
    }
    for index, layer in enumerate(scores.layers):
        of_layer = alive & (scores.layer_of == index)
        if of_layer.any():
            metrics[f"mis/{layer}/mean"] = float(mis[of_layer].mean())
    return metrics


def shuffle_control(
    vectors: Tensor,
    *,
    n_units: int = 1000,
    slope: float,
    metric: Metric = "cosine",
    n_tasks: int,
    k: int,
    generator: torch.Generator,
) -> tuple[float, float]:
    """Mean MIS of n_units units whose activations are shuffled over the images, and its error.

    Such a unit's extremes are random images, so its expected MIS is exactly 0.5: swapping its sides
    turns every margin's sign. Returns (mean, standard error over units); a mean further than a few
    errors from 0.5 means that tasks or vectors are wrong.
    Raises ValueError for fewer than 2 units or too few images; else see `score_tasks`.
    """
    needed = images_needed(n_tasks, k)
    if n_units < 2 or len(vectors) < needed:
        raise ValueError(
            f"a control needs 2 units and {needed} images, got {n_units} and {len(vectors)}"
        )
    random_images = torch.stack(
        [
            torch.randperm(len(vectors), generator=generator, device=generator.device)[:needed]
            for _ in range(n_units)
        ]
    )
    top, bottom = random_images.chunk(2, dim=1)
    tasks = build_tasks(top, bottom, n_tasks=n_tasks, k=k, generator=generator)
    mis = score_tasks(tasks, vectors, slope=slope, metric=metric).mis.double()
    return float(mis.mean()), float(mis.std() / math.sqrt(n_units))

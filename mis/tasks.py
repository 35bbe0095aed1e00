"""Which images are asked about: the rank blocks of the two-alternative task.

A task shows k explanation images of a unit's either side (plus: strongly activating, minus:
weakly) and two queries, and asks which query belongs to which side.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Tasks:
    """The images of every unit's tasks; all int64 image ids."""

    plus: Tensor  # [unit, task, k], explanations that activate strongly
    minus: Tensor  # [unit, task, k], explanations that activate weakly
    plus_query: Tensor  # [unit, task], strongly, but less so than every plus explanation
    minus_query: Tensor  # [unit, task], weakly, but more so than every minus explanation


def images_needed(n_tasks: int, k: int) -> int:
    """The smallest image set: 2 x n_tasks x (k + 1), no image being used twice.

    Raises ValueError unless n_tasks and k are at least 1.
    """
    if n_tasks < 1 or k < 1:
        raise ValueError(f"n_tasks and k must be at least 1, got {n_tasks} and {k}")
    return 2 * n_tasks * (k + 1)


def build_tasks(
    top: Tensor, bottom: Tensor, *, n_tasks: int, k: int, generator: torch.Generator
) -> Tasks:
    """Deal each unit's extreme images to its tasks.

    top, bottom: int64 [unit, >= n_tasks x (k + 1)], image ids, the most extreme first.
    generator: on any device; its state moves on.

    The n_tasks x k most extreme images of a side are explanations, the next n_tasks are queries.
    Explanations are cut into k bins of n_tasks consecutive ranks and each task gets one of each
    bin, so that tasks are alike in strength (Zimmermann, Klindt, Brendel 2024, App. A.2; the paper
    uses n_tasks 20 and k 9). Raises ValueError when there are fewer ranks than that.
    """
    depth = images_needed(n_tasks, k) // 2
    if top.shape != bottom.shape or top.ndim != 2 or top.shape[1] < depth:
        raise ValueError(
            f"{n_tasks} tasks of {k} + 1 images need [unit, >= {depth}] ranks on both sides, "
            f"got {tuple(top.shape)} and {tuple(bottom.shape)}"
        )
    plus, plus_query = _deal(top[:, :depth], n_tasks, generator)
    minus, minus_query = _deal(bottom[:, :depth], n_tasks, generator)
    return Tasks(plus, minus, plus_query, minus_query)


def _deal(ranked: Tensor, n_tasks: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """[unit, n_tasks x (k + 1)] -> explanations [unit, task, k] and queries [unit, task]."""
    blocks = ranked.unflatten(1, (-1, n_tasks))  # k bins of explanations, then one of queries
    draws = torch.rand(blocks.shape, generator=generator, device=generator.device)
    shuffled = blocks.gather(2, draws.argsort(dim=2).to(ranked.device))
    return shuffled[:, :-1].transpose(1, 2).contiguous(), shuffled[:, -1]

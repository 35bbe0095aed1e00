"""Which images are asked about: the rank blocks of the two-alternative task.

A task shows k explanation images of a unit's either side (plus: strongly activating, minus:
weakly) and two queries, and asks which query belongs to which side.
"""

from collections.abc import Sequence
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


@dataclass(frozen=True)
class Deal:
    """Who goes to which task: a permutation of the tasks for each unit, bin and side.

    plus, minus: int64 [unit, k + 1, task]; the last bin is that of the queries.
    """

    plus: Tensor
    minus: Tensor

    def of_units(self, units: slice) -> "Deal":
        """The deal of some of the units."""
        return Deal(self.plus[units], self.minus[units])


def images_needed(n_tasks: int, k: int, query_rank: int | None = None) -> int:
    """The smallest image set, no image being used twice: 2 x (query_rank + n_tasks).

    query_rank: see `build_tasks`. Half of it is the depth of the extremes that tasks are built of.
    Raises ValueError unless n_tasks and k are at least 1 and query_rank at least n_tasks x k.
    """
    if n_tasks < 1 or k < 1:
        raise ValueError(f"n_tasks and k must be at least 1, got {n_tasks} and {k}")
    explained = n_tasks * k
    if query_rank is not None and query_rank < explained:
        raise ValueError(
            f"queries must rank below the {explained} explanations, got query_rank {query_rank}"
        )
    return 2 * ((query_rank or explained) + n_tasks)


def build_tasks(
    top: Tensor,
    bottom: Tensor,
    *,
    n_tasks: int,
    k: int,
    generator: torch.Generator,
    query_rank: int | None = None,
) -> Tasks:
    """Deal each unit's extreme images to its tasks.

    top, bottom: int64 [unit, >= query_rank + n_tasks], image ids, the most extreme first.
    generator: on any device; its state moves on.
    query_rank: of the most extreme query, counted from 0; None: n_tasks x k, just below the
        explanations (see `mis.score.protocols` for others).

    The n_tasks x k most extreme images of a side are explanations, the n_tasks from query_rank on
    are queries. Explanations are cut into k bins of n_tasks consecutive ranks and each task gets
    one of each bin, so that tasks are alike in strength (Zimmermann, Klindt, Brendel 2024, App.
    A.2; the paper uses n_tasks 20 and k 9). Raises ValueError when there are fewer ranks than that.
    """
    deal = draw_deal(len(top), n_tasks=n_tasks, k=k, generator=generator)
    return deal_tasks(top, bottom, deal, query_rank=query_rank)


def draw_deal(n_units: int, *, n_tasks: int, k: int, generator: torch.Generator) -> Deal:
    """Every permutation is equally likely, and drawn alone."""
    images_needed(n_tasks, k)
    plus, minus = (
        torch.rand((n_units, k + 1, n_tasks), generator=generator, device=generator.device)
        .argsort(dim=2)
        .cpu()
        for _ in range(2)
    )
    return Deal(plus, minus)


def deal_tasks(top: Tensor, bottom: Tensor, deal: Deal, *, query_rank: int | None = None) -> Tasks:
    """The tasks of a deal that is drawn already: one deal makes tasks of other rankings alike."""
    n_tasks, k = deal.plus.shape[2], deal.plus.shape[1] - 1
    depth = images_needed(n_tasks, k, query_rank) // 2
    if top.shape != bottom.shape or top.ndim != 2 or top.shape[1] < depth:
        raise ValueError(
            f"{n_tasks} tasks of {k} + 1 images need [unit, >= {depth}] ranks on both sides, "
            f"got {tuple(top.shape)} and {tuple(bottom.shape)}"
        )
    first_query = depth - n_tasks
    plus, plus_query = _deal(top, deal.plus.to(top.device), first_query)
    minus, minus_query = _deal(bottom, deal.minus.to(bottom.device), first_query)
    return Tasks(plus, minus, plus_query, minus_query)


def join_tasks(parts: Sequence[Tasks]) -> Tasks:
    """All parts' tasks about the same units, one after another."""
    names = ("plus", "minus", "plus_query", "minus_query")
    return Tasks(**{n: torch.cat([getattr(part, n) for part in parts], dim=1) for n in names})


def _deal(ranked: Tensor, deal: Tensor, query_rank: int) -> tuple[Tensor, Tensor]:
    """[unit, rank] -> explanations [unit, task, k] and queries [unit, task]."""
    n_units, bins, n_tasks = deal.shape
    explained = ranked[:, : (bins - 1) * n_tasks].unflatten(1, (bins - 1, n_tasks))
    queries = ranked[:, query_rank : query_rank + n_tasks]
    explanations = explained.gather(2, deal[:, :-1]).transpose(1, 2).contiguous()
    return explanations, queries.gather(1, deal[:, -1])

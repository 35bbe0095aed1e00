"""Against the public code of MIS (klindtlab/MachInterp), where a checkout of it is at hand:

    git clone https://github.com/klindtlab/MachInterp /some/where
    MACHINTERP=/some/where make bench NAME=mis

Nothing of it is part of this project. It draws tasks otherwise (from a pool, with images that
recur) and multiplies by its slope; given the same tasks and vectors the scores are the same.
"""

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import torch.nn.functional as F
from torch import Tensor

from mis.score.tasks import Tasks
from mis.score.units import Scores, score_tasks

VARIABLE = "MACHINTERP"


def is_there() -> bool:
    """Whether the environment names a checkout. Raises ValueError where it names none."""
    named = os.environ.get(VARIABLE)
    if named and not Path(named, "mis.py").is_file():
        raise ValueError(f"{VARIABLE} must be a checkout of klindtlab/MachInterp, got {named!r}")
    return bool(named)


def load() -> ModuleType:
    """Its mis.py, which shares its name with our package."""
    folder = os.environ[VARIABLE]
    spec = importlib.util.spec_from_file_location("machinterp", Path(folder, "mis.py"))
    if spec is None or spec.loader is None:
        raise ValueError(f"{VARIABLE} must hold a mis.py, got {folder!r}")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, folder)  # for its sibling metric.py
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(folder)
    return module


def score(
    theirs: ModuleType, activations: Tensor, order: Tensor, vectors: Tensor, **settings: float
) -> Tensor:
    """Its drawing, gathering and scoring: float32 [unit].

    activations: float32 [unit, image]; order: their argsort, which it keeps from run to run.
    settings: n_tasks, k, slope, pool (images at either end that it draws from).
    """
    queries, explanations = theirs.query_explanation_generation(
        0,
        vectors,
        activations,
        K=int(settings["k"]),
        N=int(settings["n_tasks"]),
        quantile=settings["pool"] / activations.shape[1],
        device=vectors.device,
        activations_sort_id=order,
    )
    found: Tensor = theirs.calc_MIS_set(queries, explanations, _cosine, alpha=settings["slope"])
    return found


def difference(theirs: ModuleType, activations: Tensor, vectors: Tensor, slope: float) -> float:
    """The largest difference of a unit's score and task accuracy, of tasks that it drew.

    activations: float32 [unit, image]. Its tasks hold images more than once, and those of constant
    units are of any images: to a score both are tasks like others.
    """
    n_tasks, k = 20, 9
    ids = theirs.subset_sampling(0, activations, K=k, N=n_tasks, quantile=0.25, device="cpu")
    top, bottom = theirs.sort_subset_id(*ids, activations)
    tasks = Tasks(top[..., :k], bottom[..., :k], top[..., k], bottom[..., k])
    queries = (vectors[tasks.plus_query], vectors[tasks.minus_query])
    explanations = (vectors[tasks.plus], vectors[tasks.minus])
    ours = score_tasks(tasks, vectors, slope=slope)
    soft, hard = (
        theirs.calc_MIS_set(queries, explanations, _cosine, alpha=alpha) for alpha in (slope, None)
    )
    return _largest_difference(ours, soft, hard)


def _largest_difference(ours: Scores, soft: Tensor, hard: Tensor) -> float:
    return max(float((ours.mis - soft).abs().max()), float((ours.task_accuracy - hard).abs().max()))


def _cosine(query: Tensor, explanations: Tensor) -> Tensor:
    """[1, k], as it expects of a similarity, of one query."""
    return F.cosine_similarity(query.unsqueeze(0), explanations, dim=-1).unsqueeze(0)

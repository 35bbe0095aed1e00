"""How interpretable is each unit of a network? Images and activations in, one score a unit out.

The Machine Interpretability Score of Zimmermann, Klindt, Brendel 2024 (arXiv 2402.14859):
`collect_extremes` finds each unit's extreme images, `Similarity.embed` turns images into vectors,
`score_units` asks the paper's two-alternative tasks and `summarize` averages. Nothing here knows
of pruning, of trials, of Ray or MLflow.
"""

from mis.activations import Extremes, collect_extremes
from mis.margins import METRICS, Metric, task_margins
from mis.score import (
    CONSTANT_RANGE,
    UNIT_STATES,
    Scores,
    UnitScores,
    score_tasks,
    score_units,
    shuffle_control,
    summarize,
    unit_states,
)
from mis.similarity import SIMILARITIES, Similarity, calibrate_slope, load_similarity
from mis.tasks import Tasks, build_tasks, images_needed

__all__ = [
    "CONSTANT_RANGE",
    "METRICS",
    "SIMILARITIES",
    "UNIT_STATES",
    "Extremes",
    "Metric",
    "Scores",
    "Similarity",
    "Tasks",
    "UnitScores",
    "build_tasks",
    "calibrate_slope",
    "collect_extremes",
    "images_needed",
    "load_similarity",
    "score_tasks",
    "score_units",
    "shuffle_control",
    "summarize",
    "task_margins",
    "unit_states",
]

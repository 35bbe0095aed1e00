"""How interpretable is each unit of a network? Images and activations in, one score a unit out.

The Machine Interpretability Score of Zimmermann, Klindt, Brendel 2024 (arXiv 2402.14859):
`collect_extremes` finds each unit's extreme images, `Similarity.embed` turns images into vectors,
`score_units` asks the paper's two-alternative tasks and `summarize` averages. Nothing here knows
of pruning, of trials, of Ray or MLflow.
"""

from mis.activations import collect_extremes
from mis.concepts import ConceptBatch, ConceptSpec
from mis.dissection import Dissection, dissect
from mis.dissection import summarize as summarize_dissection
from mis.extremes import Extremes, ExtremesCollector
from mis.gallery import Panel, choose_units, draw_unit, panel_of
from mis.maps import watching
from mis.margins import METRICS, Margins, Metric, task_margins
from mis.places import Place
from mis.protocols import PROTOCOLS, Protocol, query_rank
from mis.ranges import require_images
from mis.score import (
    CONSTANT_RANGE,
    UNIT_STATES,
    Scores,
    UnitScores,
    score_tasks,
    score_units,
    shuffle_control,
    summarize,
    unit_scores,
    unit_states,
)
from mis.similarity import SIMILARITIES, Similarity, calibrate_slope, load_similarity
from mis.tasks import Tasks, build_tasks, images_needed
from mis.uncertainty import (
    Change,
    can_leave_out,
    deeper,
    draw_groups,
    image_error,
    paired_change,
    replicate_mis,
    unit_error,
)

__all__ = [
    "CONSTANT_RANGE",
    "METRICS",
    "PROTOCOLS",
    "SIMILARITIES",
    "UNIT_STATES",
    "Change",
    "ConceptBatch",
    "ConceptSpec",
    "Dissection",
    "Extremes",
    "ExtremesCollector",
    "Margins",
    "Metric",
    "Panel",
    "Place",
    "Protocol",
    "Scores",
    "Similarity",
    "Tasks",
    "UnitScores",
    "build_tasks",
    "calibrate_slope",
    "can_leave_out",
    "choose_units",
    "collect_extremes",
    "deeper",
    "dissect",
    "draw_groups",
    "draw_unit",
    "image_error",
    "images_needed",
    "load_similarity",
    "paired_change",
    "panel_of",
    "query_rank",
    "replicate_mis",
    "require_images",
    "score_tasks",
    "score_units",
    "shuffle_control",
    "summarize",
    "summarize_dissection",
    "task_margins",
    "unit_error",
    "unit_scores",
    "unit_states",
    "watching",
]

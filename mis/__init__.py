"""How interpretable is each unit of a network? Images and activations in, one score per unit out.

The Machine Interpretability Score of Zimmermann, Klindt, Brendel 2024 (arXiv 2402.14859):
`collect_extremes` finds each unit's extreme images, `Similarity.embed` turns images into vectors,
`score_units` asks the paper's two-alternative tasks and `summarize` averages. Nothing here knows
of pruning, of trials, of Ray or MLflow. `UNIT_SCORES` are other scores, `OfMeans` and `OfMaps` what
one more derives from.
"""

from mis.dissection.concepts import ConceptBatch, ConceptSpec
from mis.dissection.detectors import Dissection, dissect
from mis.dissection.detectors import summarize as summarize_dissection
from mis.dissection.places import Place
from mis.dissection.ranges import require_images
from mis.kinds import UNIT_SCORES
from mis.kinds.above_zero import AboveZero
from mis.kinds.locality import Locality
from mis.kinds.monosemanticity import Monosemanticity
from mis.kinds.score import (
    SHUFFLED,
    OfMaps,
    OfMeans,
    Probe,
    UnitScore,
    mean_and_error,
    sample_size,
)
from mis.kinds.selectivity import Selectivity
from mis.reading import watching
from mis.score.collect import collect_extremes
from mis.score.extremes import Extremes, ExtremesCollector
from mis.score.gallery import Panel, choose_units, draw_unit, panel_of
from mis.score.margins import METRICS, Margins, Metric, task_margins
from mis.score.protocols import PROTOCOLS, Protocol, query_rank
from mis.score.similarity import (
    SIMILARITIES,
    Similarity,
    calibrate_slope,
    load_similarity,
    require_similarity,
)
from mis.score.tasks import Tasks, build_tasks, images_needed
from mis.score.uncertainty import (
    Change,
    can_leave_out,
    deeper,
    draw_groups,
    image_error,
    paired_change,
    replicate_mis,
    unit_error,
)
from mis.score.units import (
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
from mis.twins import Twins, twins

__all__ = [
    "CONSTANT_RANGE",
    "METRICS",
    "PROTOCOLS",
    "SHUFFLED",
    "SIMILARITIES",
    "UNIT_SCORES",
    "UNIT_STATES",
    "AboveZero",
    "Change",
    "ConceptBatch",
    "ConceptSpec",
    "Dissection",
    "Extremes",
    "ExtremesCollector",
    "Locality",
    "Margins",
    "Metric",
    "Monosemanticity",
    "OfMaps",
    "OfMeans",
    "Panel",
    "Place",
    "Probe",
    "Protocol",
    "Scores",
    "Selectivity",
    "Similarity",
    "Tasks",
    "Twins",
    "UnitScore",
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
    "mean_and_error",
    "paired_change",
    "panel_of",
    "query_rank",
    "replicate_mis",
    "require_images",
    "require_similarity",
    "sample_size",
    "score_tasks",
    "score_units",
    "shuffle_control",
    "summarize",
    "summarize_dissection",
    "task_margins",
    "twins",
    "unit_error",
    "unit_scores",
    "unit_states",
    "watching",
]

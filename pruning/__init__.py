"""Scores in, masks out: which weights of a network stay, and how they are held at zero.

Nothing here knows of files, of Ray, of MLflow or of the interpretability scores.
"""

from pruning.compaction import Kept, compact, copy_back, kept_entries
from pruning.criteria import CRITERIA, score_weights
from pruning.granularity import GRANULARITIES, expand_groups, group_scores
from pruning.masks import Held, KeepMask, Sparsity, measure_sparsity, prunable_weights
from pruning.prune import choose_keep
from pruning.schedules import SCHEDULES, cumulative_rates
from pruning.selection import SCOPES, keep_top, n_pruned

__all__ = [
    "CRITERIA",
    "GRANULARITIES",
    "SCHEDULES",
    "SCOPES",
    "Held",
    "Kept",
    "KeepMask",
    "Sparsity",
    "choose_keep",
    "compact",
    "copy_back",
    "cumulative_rates",
    "expand_groups",
    "group_scores",
    "keep_top",
    "kept_entries",
    "measure_sparsity",
    "n_pruned",
    "prunable_weights",
    "score_weights",
]

"""Scores in, masks out: which weights of a network stay, and how they are held at zero.

Nothing here knows of files, of Ray, of MLflow or of the interpretability scores.
"""

from pruning.compaction import Kept, compact, compact_keep, copy_back, kept_entries
from pruning.criteria import CRITERIA, score_weights
from pruning.following import with_followers
from pruning.gradients import TARGETS, gradient_scores
from pruning.granularity import GRANULARITIES, expand_groups, group_scores
from pruning.liveness import read_filters
from pruning.masks import Held, KeepMask, Sparsity, batchnorm_of, measure_sparsity, prunable_weights
from pruning.prune import choose_by_chance, choose_keep, kept_numbers, require_rate
from pruning.relevance import LrpRules, lrp_scores, require_rules
from pruning.schedules import SCHEDULES, cumulative_rates
from pruning.scores import DATA_CRITERIA, NORMS, normalise_scores, score_groups
from pruning.selection import SCOPES, keep_numbers, keep_top, n_pruned
from pruning.structure import End, Structure, structure_of, what_is_lost

__all__ = [
    "CRITERIA",
    "DATA_CRITERIA",
    "GRANULARITIES",
    "NORMS",
    "SCHEDULES",
    "SCOPES",
    "TARGETS",
    "End",
    "Held",
    "Kept",
    "KeepMask",
    "LrpRules",
    "Sparsity",
    "Structure",
    "batchnorm_of",
    "choose_by_chance",
    "choose_keep",
    "compact",
    "compact_keep",
    "copy_back",
    "cumulative_rates",
    "expand_groups",
    "gradient_scores",
    "group_scores",
    "keep_numbers",
    "keep_top",
    "kept_entries",
    "kept_numbers",
    "lrp_scores",
    "measure_sparsity",
    "n_pruned",
    "normalise_scores",
    "prunable_weights",
    "read_filters",
    "require_rate",
    "require_rules",
    "score_groups",
    "score_weights",
    "structure_of",
    "what_is_lost",
    "with_followers",
]

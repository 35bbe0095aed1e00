"""Importance in, masks out: which weights of a network stay, and how they are held at zero.

Nothing here knows of files, of Ray, of MLflow or of the interpretability scores.
"""

from pruning.budget import Budget, OutOfReach, budget_of, choose_within, counts
from pruning.compaction import Survivors, compact, compact_keep, copy_back, survivors_of
from pruning.criteria import (
    CRITERIA,
    NORMS,
    Criterion,
    OfImages,
    OfWeights,
    Scaled,
    Subject,
    criterion_class,
)
from pruning.following import with_followers
from pruning.gradients import TARGETS, gradient_importance
from pruning.granularity import GRANULARITIES, Granularity, granularity_of
from pruning.importance import importance_of_groups, normalised, require_importance
from pruning.liveness import read_filters
from pruning.lrp.relevance import lrp_importance, require_rules
from pruning.lrp.rules import LrpRules
from pruning.masks import Held, KeepMask
from pruning.prunable import NeedsExclusion, left_alone, prunable_weights
from pruning.prune import (
    Groups,
    choose_by_chance,
    choose_by_rates,
    choose_groups,
    groups_of,
    kept_numbers,
    masks_of,
    require_rate,
)
from pruning.rounding import rounded_up
from pruning.schedules import SCHEDULES, Schedule, cumulative_rates
from pruning.selection import SCOPES, keep_numbers, keep_top, n_pruned
from pruning.sparsity import Sparsity, measure_sparsity
from pruning.structure import End, Structure, structure_of, what_is_lost

__all__ = [
    "CRITERIA",
    "GRANULARITIES",
    "Groups",
    "NORMS",
    "OutOfReach",
    "SCHEDULES",
    "Schedule",
    "SCOPES",
    "TARGETS",
    "Budget",
    "Criterion",
    "OfImages",
    "OfWeights",
    "Scaled",
    "Subject",
    "End",
    "Granularity",
    "Held",
    "KeepMask",
    "Survivors",
    "LrpRules",
    "NeedsExclusion",
    "Sparsity",
    "Structure",
    "budget_of",
    "choose_by_chance",
    "choose_by_rates",
    "choose_groups",
    "choose_within",
    "compact",
    "compact_keep",
    "copy_back",
    "counts",
    "criterion_class",
    "cumulative_rates",
    "gradient_importance",
    "granularity_of",
    "groups_of",
    "masks_of",
    "importance_of_groups",
    "keep_numbers",
    "keep_top",
    "survivors_of",
    "kept_numbers",
    "left_alone",
    "lrp_importance",
    "measure_sparsity",
    "n_pruned",
    "normalised",
    "prunable_weights",
    "read_filters",
    "require_importance",
    "require_rate",
    "require_rules",
    "rounded_up",
    "structure_of",
    "what_is_lost",
    "with_followers",
]

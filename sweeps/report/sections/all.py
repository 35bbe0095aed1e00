"""The sections of every report, in their order; a study may add its own (`Sweep.sections`)."""

from collections.abc import Sequence

from sweeps.plan.section import Section
from sweeps.report.sections import (
    answers,
    class_units,
    classes,
    controls,
    cost,
    criteria,
    density,
    dissection,
    few_images,
    layers,
    rounds,
    same_unit,
    scores,
    searched,
    sensitivity,
    sparsity,
    stopped,
    training,
    units,
)

SECTIONS = (
    sparsity.WITHOUT_FINETUNING,
    training.OVER_EPOCHS,
    training.ROUNDS_AGAINST_ONCE,
    rounds.ROUNDS,
    sparsity.ALL_METHODS,
    sparsity.INTERPRETABILITY,
    sparsity.CHANGE,
    sparsity.ACCURACY_AND_MIS,
    answers.ANSWERS,
    classes.CLASSES,
    class_units.CLASS_UNITS,
    layers.BY_LAYER,
    layers.BY_BRANCH,
    units.DISTRIBUTION,
    units.AGAINST_DENSE,
    same_unit.SAME_UNIT,
    units.STATES,
    dissection.DISSECTION,
    density.OVER_DENSITY,
    dissection.DETECTORS,
    controls.CRITERION_CONTROLS,
    criteria.BESIDE_CONTROLS,
    few_images.FEW_IMAGES,
    layers.SHARE_KEPT,
    sensitivity.SENSITIVITY,
    controls.SCORE_CONTROLS,
    scores.SCORES,
    scores.AGREEMENT,
    cost.COST,
    stopped.STOPPED,
    searched.SEARCHED,
)


def with_own(own: Sequence[Section]) -> tuple[Section, ...]:
    """Those, and a study's own after them; one that has the name of ours stands in its place."""
    by_name = {section.name: section for section in (*SECTIONS, *own)}
    return tuple(by_name.values())

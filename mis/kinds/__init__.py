"""Scores of units beside MIS and dissection: an object each, fed on one pass over the images."""

from mis.kinds.locality import Locality
from mis.kinds.monosemanticity import Monosemanticity
from mis.kinds.score import UnitScore
from mis.kinds.selectivity import Selectivity

UNIT_SCORES: dict[str, type[UnitScore]] = {
    each.name: each for each in (Monosemanticity, Selectivity, Locality)
}

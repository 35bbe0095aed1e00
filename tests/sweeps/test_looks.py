"""Every method and criterion has a look of its own on the report's page, in the dark, too."""

from itertools import combinations

import pytest

from pruning import CRITERIA
from sweeps.report.page.render import _DARK
from sweeps.report.sections.style import COLOURS, MARKERS, PALETTE, named
from trainables.methods import METHODS


@pytest.mark.parametrize("names", [METHODS, CRITERIA], ids=["methods", "criteria"])
def test_no_two_look_alike_or_have_one_name(names):
    for one, other in combinations(names, 2):
        assert COLOURS[one] != COLOURS[other] and MARKERS[one] != MARKERS[other], (one, other)
        assert named(one) != named(other)


def test_every_colour_is_there_on_dark_paper():
    assert len(set(PALETTE)) == len(PALETTE)
    assert set(PALETTE) <= set(_DARK) and len({_DARK[c] for c in PALETTE}) == len(PALETTE)

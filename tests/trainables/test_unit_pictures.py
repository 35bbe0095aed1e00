"""What the pictures of units say."""

import pytest

from trainables.scores.pictures import _said


@pytest.mark.parametrize("kind", ["best", "worst", "clearer", "less_clear"])
def test_a_unit_that_was_picked_for_being_extreme_says_so(kind):
    """Such units regress to the mean: asked again, they would be less extreme."""
    assert _said(kind) == f"{kind.replace('_', ' ')} (the most extreme of many: partly by chance)"


def test_a_median_unit_was_not_picked_for_being_extreme():
    assert _said("median") == "median"

"""Names in one array of bytes are read as the tuple that they stand for."""

import numpy as np
import pytest

from trainables.datasets.many_names import Names

ODD = ("train/é 猫.png", "a", "", "new\nline", "not\udcfftext", "b" * 300)


@pytest.mark.parametrize("names", [(), ("",), ("", ""), ("a",), ODD, ODD * 2_000])
def test_they_are_the_tuple(names):
    found = Names.of(names)
    assert len(found) == len(names) and tuple(found) == names and found == names
    for i in {0, 1, len(names) // 2, len(names) - 1, -1, -len(names)}:
        if -len(names) <= i < len(names):
            assert found[i] == names[i] and found[np.int64(i)] == names[i]
    for part in (slice(2), slice(1, 4), slice(None), slice(-2, None), slice(4, 1), slice(0, 9, 2)):
        assert found[part] == names[part]
    for wrong in (len(names), -len(names) - 1):
        with pytest.raises(IndexError):
            found[wrong]
    places = np.arange(len(names))[::-2]
    assert found.at(places) == tuple(names[i] for i in places)
    assert Names.of(found) == found and (found != (*names, "x"))


def test_a_name_costs_its_bytes_and_eight_more():
    """As strings in a tuple a million of them took 105 bytes each."""
    names = Names.of(f"train/n{i % 1000:08}/n{i % 1000:08}_{i}.JPEG" for i in range(20_000))
    per_name = (names.text.nbytes + names._ends.nbytes) / len(names)
    assert per_name < 36 + 1 + 8

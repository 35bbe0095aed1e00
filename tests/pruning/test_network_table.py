"""docs/networks.md: every network is in the table, and a sample of it is as the table says."""

import re
from pathlib import Path

import pytest

from benchmarks.coverage_page import page
from benchmarks.networks import coverage, names

pytestmark = pytest.mark.slow

PAGE = (Path(__file__).parents[2] / "docs" / "networks.md").read_text()
ROW = re.compile(r"^\| ([\w:.]+) \| \d+ of \d+ \|.*$", re.MULTILINE)
NARROW = re.findall(r"[\w:.]+", re.search(r"float64(?: \((.*): float32\))?", PAGE)[1] or "")


def test_every_network_is_in_the_table():
    missing = re.search(r"^Not measured with all three kinds of masks: (.*)\.$", PAGE, re.MULTILINE)
    left_out = missing[1].split(", ") if missing else []
    rows = [match[1] for match in ROW.finditer(PAGE)]
    assert rows == [name for name in names() if name not in left_out]
    assert len(names()) == 68 + 12 and set(left_out) < set(names())


def test_all_but_convnext_prune_for_real_and_are_equal():
    for line in (match[0] for match in ROW.finditer(PAGE)):
        name, layers, emptied, could, gone, _, apart, units, _ = line.strip("| ").split(" | ")
        followed, there = layers.split(" of ")
        assert followed == there and units != "no", line
        bound = 1e-5 if name in NARROW else 1e-13
        assert all(float(x) < bound for x in apart.split(", ")), line
        number = {k: int(v.replace(",", "")) for k, v in (("could", could), ("gone", gone))}
        assert (number["gone"] == 0) == name.startswith("convnext"), line
        assert number["could"] <= int(emptied.replace(",", ""))


@pytest.mark.parametrize("name", ["squeezenet1_1", "shufflenet_v2_x0_5", "convnext_tiny"])
def test_a_sample_is_as_the_table_says(name):
    """But for the differences, which are of rounding."""
    row = next(match[0] for match in ROW.finditer(page([coverage(name)])))
    there = next(match[0] for match in ROW.finditer(PAGE) if match[1] == name)
    for line in (row, there):
        assert line.count(" | ") == 8
    without = [re.sub(r"\d+e[+-]\d+", "…", line) for line in (row, there)]
    assert without[0] == without[1]

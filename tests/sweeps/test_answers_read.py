"""Answers of trials are read once for all sections that ask, and not all are kept for ever."""

import pandas as pd
import pytest

from sweeps.report.read import answers
from sweeps.report.read.answers import COLUMNS, RunTables, of_each
from sweeps.report.read.artifacts import Source


@pytest.fixture
def tables(monkeypatch):
    """Of three trials with four images each, the last without answers; and what was read."""
    asked = []

    def read_tables(_, sources, name):
        asked.append([source.key for source in sources])
        there = [s for s in sources if s.key != "c"]
        frames = [
            pd.DataFrame(
                {"images": "d", "class": list("xyxy"), "truth": range(4), "answer_1": range(4)}
            ).assign(answer_2=7, dense=n, key=s.key, label=s.key)
            for n, s in enumerate(there)
        ]
        return pd.concat(frames) if frames else pd.DataFrame({"key": [], "label": []}), []

    monkeypatch.setattr(answers, "read_tables", read_tables)
    return RunTables(None, [Source(f"run {key}", "", key, key) for key in "abc"]), asked


def test_the_answers_of_a_trial_are_read_once(tables):
    runs, asked = tables
    first = of_each(runs, ["a"])
    both = of_each(runs, ["b", "a"])
    assert list(both) == ["a", "b"] and both["a"].equals(first["a"])
    assert asked == [["a"], ["b"]] and both["b"]["answer_1"].tolist() == [0, 1, 2, 3]
    assert set(runs.read(["a"], COLUMNS)) == {*COLUMNS, "key", "label"}
    assert "answer_2" in runs.read(["a"])  # all columns: of the run


def test_trials_without_answers_have_none(tables):
    runs, _ = tables
    assert of_each(runs, ["c"]) == {} and set(of_each(runs, ["c", "a"])) == {"a"}


def test_what_is_kept_has_a_limit(tables, monkeypatch):
    runs, asked = tables
    monkeypatch.setattr(answers, "_ROWS", 5)
    assert set(of_each(runs, ["a", "b"])) == {"a", "b"}  # more than are kept
    of_each(runs, ["b"])
    of_each(runs, ["a"])
    assert asked == [["a", "b"], [], ["a"]]

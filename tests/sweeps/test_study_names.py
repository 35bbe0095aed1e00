"""What a study is called, and which of its trials are done."""

import dataclasses
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from small_studies import small_sweep

import sweeps.studies
from sweeps.plan.planner import make_plan
from sweeps.plan.rungs import Stopping
from sweeps.studies import load_study, study_names
from sweeps.tracking.tracker import done


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "/etc",
        "a\\b",
        "a b",
        "-rf",
        ".hidden",
        "a\n",
        "a\0b",
        "é",
        "a" * 101,
    ],
)
def test_a_name_that_is_no_name_of_a_file_is_refused(name):
    with pytest.raises(ValueError, match="the name of a study must be letters, digits, .*; got "):
        small_sweep(name)


@pytest.mark.parametrize("name", ["a", "demo-2", "2_rounds", "v1.2", "a" * 100])
def test_a_name_that_is_one_is_taken(name):
    assert small_sweep(name).name == name


def test_a_copy_of_a_study_runs_under_the_name_of_its_file(tmp_path, monkeypatch):
    source = Path(next(iter(sweeps.studies.__path__))) / "demo.py"
    (tmp_path / "mine.py").write_text(source.read_text())
    monkeypatch.setattr(sweeps.studies, "__path__", [*sweeps.studies.__path__, str(tmp_path)])
    assert "mine" in study_names()
    try:
        assert load_study("mine").name == "mine"
        assert make_plan(load_study("mine")).key != make_plan(load_study("demo")).key
    finally:
        sys.modules.pop("sweeps.studies.mine", None)
    assert all(load_study(name).name == name for name in study_names() if name != "mine")


def run(**tags):
    return SimpleNamespace(data=SimpleNamespace(tags=tags))


def test_a_trial_that_was_stopped_and_has_collapsed_is_not_done_where_none_is_stopped():
    plan = make_plan(small_sweep())
    stopping = Stopping(metric="val/loss", reduction=2, min_peers=2)
    stops = make_plan(dataclasses.replace(small_sweep(), stopping=stopping))
    early = {"stopped": "val/loss was too high", "stopped_by": stops.stopped_by}
    finished = {
        "a": run(outcome="completed"),
        "b": run(outcome="stopped", **early),
        "c": run(outcome="collapsed", **early),
        "d": run(outcome="collapsed"),
    }
    assert done(plan, finished) == {"a", "d"}
    assert done(stops, finished) == set("abcd")
    # By another rule its peers were others: methods, say, whose comparison it would be missing in.
    assert done(make_plan(stops.sweep, stop="best"), finished) == {"a", "d"}


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (
            "import torch\ntorch.set_default_dtype(torch.float64)",
            r"mine.py' must leave torch's default dtype as it was, torch.float32: its code makes",
        ),
        (
            "import torch\ntorch.set_grad_enabled(False)\n1 / 0",
            "leave torch's gradients as it",
        ),
        ("\n1 / 0", "mine.py must be a study, it fails: line 2: ZeroDivisionError: division by ze"),
        ("raise SystemExit(0)", "must be a study, it fails: line 1: SystemExit: 0"),
        ("STUDY = 5", r"must hold STUDY = Sweep\(…\), it has a int"),
    ],
)
def test_what_a_study_of_the_users_does_wrong_is_one_sentence(
    tmp_path, monkeypatch, code, sentence
):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr("trainables.own_code._ALSO", [])
    (tmp_path / "mine.py").write_text(code)
    with pytest.raises(ValueError, match=sentence) as refused:
        load_study(str(tmp_path / "mine.py"))
    assert "\n" not in str(refused.value)
    assert torch.get_default_dtype() == torch.float32 and torch.is_grad_enabled()

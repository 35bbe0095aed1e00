"""Files that a sweep goes on from, with anything in them: what makes no sense is passed over."""

import json
import os

import pytest
from optuna.distributions import FloatDistribution
from report_frames import log_sweep, synthetic
from small_studies import small_base

from sweeps.plan.rungs import Rungs, Stopping, recall
from sweeps.plan.space import Search
from sweeps.report.read.runs import read_runs
from sweeps.searching.proposals import Proposals

DEEP = "[" * 100_000
ODD = [
    *("", "{", "null", "5", "[]", "[1]", '"text"', "{}", DEEP, "\x00", "ÿ"),
    *('{"key": "a"}', '{"key": "a", "point": 5}', '{"key": "a", "point": null}'),
    *('{"key": "a", "point": {"prune.rate": "half"}}', '{"key": [], "point": {"prune.rate": 0.5}}'),
    *('{"key": "a", "point": {"no.such": 1}}', '{"key": "a", "point": {"prune.rate": {"a": 1}}}'),
    *('["s", "k", 1]', '["s", "k", "one", 0.5]', '["s", "k", 1, "high"]', '["s", [], 1, {}]'),
    *('["s", "k", 1e999, 0.5]', '["s", "k", null, null]', '[["s"], {"k": 1}, true, [0.5]]'),
]


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: odd[:30])
def test_a_line_of_proposals_that_makes_no_sense_is_passed_over(odd, tmp_path):
    search = Search({"prune.rate": FloatDistribution(0.1, 0.9)}, {"val/top1": "max"}, n_trials=5)
    path = tmp_path / "s.jsonl"
    first = Proposals(search, small_base(), path)
    wanted = [first.next(), first.next()]
    path.write_text("\n".join([odd, *path.read_text().splitlines(), odd, ""]), encoding="utf-8")
    again = Proposals(search, small_base(), path)
    assert [config.key for config in again.configs] == [config.key for config in wanted]
    path.write_text(path.read_text() * 2)  # as of a copied file: each counts once
    assert Proposals(search, small_base(), path).wanted == 3


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: odd[:30])
def test_a_line_of_rungs_that_makes_no_sense_is_passed_over(odd, tmp_path):
    stopping = Stopping(reduction=2, min_peers=2)
    said = [["s", "a", 1, 0.5], ["s", "b", 1, 0.7], ["s", "c", 1, float("nan")]]
    path = tmp_path / "rungs.jsonl"
    path.write_text("\n".join([odd, *map(json.dumps, said), odd, ""]), encoding="utf-8")
    expected, found = Rungs(stopping), recall(stopping, path)
    for line in said:
        expected.decide(*line)
    assert {k: v for k, v in found.stopped.items() if k in "abc"} == expected.stopped
    assert {k: v for k, v in found.epochs.items() if k in "abc"} == expected.epochs


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", ["pipe", "folder", "endless", "link"])
def test_what_stands_in_the_place_of_such_a_file_is_refused_by_name(kind, tmp_path):
    """A plan that reads it would never end."""
    (tmp_path / "other").write_text("{}")
    path = tmp_path / "s.jsonl"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero" if kind == "endless" else tmp_path / "other")
    search = Search({"prune.rate": FloatDistribution(0.1, 0.9)}, {"val/top1": "max"}, n_trials=5)
    for read in (
        lambda: Proposals(search, small_base(), path),
        lambda: recall(Stopping(reduction=2, min_peers=2), path),
    ):
        with pytest.raises(
            OSError, match=r"s.jsonl must be a file of its own, it is (none|a link)"
        ):
            read()


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    frames = synthetic(methods=("structured",), rates=(0.5,), channels=1)
    results = tmp_path_factory.mktemp("results")
    return frames, log_sweep(frames, results, tmp_path_factory.mktemp("files"))


def test_runs_of_others_among_those_of_a_sweep_are_no_trials(logged):
    """Tagged by our words, but without a key; or of a key that stands in no question."""
    frames, tracker = logged
    sweep = tracker.sweeps()[0]
    of_sweep = {"mlflow.parentRunId": sweep.info.run_id}
    for tags in (
        {"kind": "trial"},
        {"kind": "trial", **of_sweep},
        {"kind": "sweep", **of_sweep},
        {"kind": "trial", "trial_key": "of nobody", **of_sweep},
        {"kind": "other", "trial_key": frames.trials["key"][0], **of_sweep},
    ):
        run = tracker.client.create_run(tracker.experiment_id, tags=tags).info.run_id
        tracker.client.set_terminated(run, "FINISHED")
    keys = [*frames.trials["key"], "it's", "' or 1=1", "missing", "\x1b[2J"]
    tracker.client.log_text(sweep.info.run_id, "\n".join(keys), "plan/trial_keys.txt")
    gaps = []
    runs, unfinished, n_planned = read_runs(tracker, sweep, gaps)
    assert {run.data.tags["trial_key"] for run in runs} == set(frames.trials["key"])
    assert gaps == [] and unfinished.empty and n_planned == len(" ".join(keys).split())
    assert set(tracker.finished()) == {*frames.trials["key"], "of nobody"}

"""A results folder of an earlier version: it is read, planned, reported and gone on with."""

import io

import kept_results
import pytest
import ray
from rich.console import Console

from sweeps.plan.planner import make_plan
from sweeps.report import load
from sweeps.run import run_sweep
from sweeps.searching.resume import open_proposals, trials_to_run
from sweeps.tracking.sync import deliver, outbox_path
from sweeps.tracking.tracker import Tracker
from trainables.datasets.loading import load_data
from trainables.training.dense import train_dense
from trainables.trial import Trial
from trainables.workspace import Workspace

KEYS = {
    "finished": {
        "dense": "42a39ce49ce4",
        "untrained": "2ababf4a7437",
        "structured 0.5 one_shot, recalibrated": "e1424c82c092",
    },
    "interrupted": {
        "dense": "7a65e13410a6",
        "dense retrained": "d4fc6bbd4db6",
        "untrained": "e61f6be28227",
        "structured 0.5 iterative": "ad29184c4bb8",
    },
    "searched": {
        "dense": "7a65e13410a6",
        "untrained": "e61f6be28227",
        "structured 0.5 one_shot, recalibrated": "739276e45500",
    },
}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Unpacked once, 300 MB: each test finds what those before it have left."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.delenv("RAY_ADDRESS", raising=False)
        yield kept_results.unpack(tmp_path_factory.mktemp("kept"))


def plan_of(study):
    return make_plan(getattr(kept_results, study)())


@pytest.mark.parametrize("study", ["finished", "interrupted", "searched"])
def test_keys_are_what_they_were(study):
    assert {c.label: c.key for c in plan_of(study).configs} == KEYS[study]


def test_finished_trials_are_done_and_not_run_again(results):
    for study in ("finished", "searched"):
        plan, tracker = plan_of(study), Tracker(study, results)
        assert plan.remaining(tracker.done(plan)) == []
    proposals = open_proposals(plan, results, tracker)
    assert proposals.wanted == 0 and len(proposals.configs) == 2
    assert len(proposals.finished()) == 3  # of the grid one lies in the space
    assert trials_to_run(plan, proposals, tracker.done(plan)) == []
    more = make_plan(kept_results.searched(3))
    assert open_proposals(more, results, tracker).wanted == 1


@pytest.mark.slow
def test_a_sweep_with_nothing_to_do_reports(results):
    text = io.StringIO()
    assert run_sweep(plan_of("finished"), results, Console(file=text, width=120)) == 0
    assert "3 trials, 3 done, 0 to run" in text.getvalue()
    assert (results / "report" / "finished" / "report.html").exists()


def test_tables_and_search_are_read(results):
    for study, n_trials in (("finished", 3), ("searched", 5)):
        frames = load(study, results)
        assert len(frames.trials) == n_trials and frames.missing == 0 and frames.gaps == ()
        assert set(frames.trials["key"]) >= set(KEYS[study].values())
        # Rounded, but of the same networks.
        mis = frames.units[frames.units["counted"]].groupby("label")["mis"].mean()
        logged = frames.trials.set_index("label")["mis/mean"]
        assert (mis - logged).abs().max() < 0.005
    assert set(load("finished", results).dissected["layer"]) == {
        "inception3a.branch1",
        "inception3b.branch1",
    }


def deliver_what_was_left(results):
    tracker = Tracker("interrupted", results)
    assert deliver(outbox_path(results, "interrupted"), tracker) == (0, [])
    return tracker


def test_what_the_killed_sweep_had_not_delivered_is(results):
    plan, tracker = plan_of("interrupted"), deliver_what_was_left(results)
    assert not outbox_path(results, "interrupted").exists()
    (left,) = plan.remaining(tracker.done(plan))
    assert left.key == KEYS["interrupted"]["structured 0.5 iterative"]
    assert load("interrupted", results).missing == 1
    (run,) = (r for r in tracker.runs("trial") if r.info.status != "FINISHED")
    assert run.info.status == "KILLED"
    points = tracker.client.get_metric_history(run.info.run_id, "train/loss")
    assert [p.step for p in points] == [1, 2, 3]


def test_the_interrupted_trial_goes_on_between_its_rounds(results):
    *_, config = plan_of("interrupted").configs
    workspace = Workspace(results)
    train_dense(config, load_data(config.data, workspace.cache), workspace.cache)
    trial = Trial(config, workspace)
    assert trial.resume() and trial.epochs_done == 2
    kept = {name: mask.clone() for name, mask in trial.pruned.keep.items()}
    assert trial.evaluate()["prune/sparsity"] == trial.history[-1]["prune/sparsity"]
    while not trial.trained:
        trial.epoch()
    assert trial.epochs_done == config.n_epochs == 4
    for name, mask in trial.pruned.keep.items():  # what was pruned stays pruned
        assert not mask[~kept[name]].any()
    assert trial.history[-1]["prune/sparsity"] == pytest.approx(0.5, abs=0.01)


@pytest.mark.slow
@pytest.mark.ray
def test_the_interrupted_sweep_is_finished(results):
    plan = plan_of("interrupted")
    before = {k: r.info.run_id for k, r in Tracker("interrupted", results).finished().items()}
    text = io.StringIO()
    assert run_sweep(plan, results, Console(file=text, width=120)) == 0, text.getvalue()
    assert "4 trials, 3 done, 1 to run; 1 of them go on where they stopped" in text.getvalue()
    tracker = Tracker("interrupted", results)
    after = {k: r.info.run_id for k, r in tracker.finished().items()}
    assert set(after) == set(plan.keys) and before.items() <= after.items()
    run = tracker.finished()[plan.keys[-1]]
    points = tracker.client.get_metric_history(run.info.run_id, "train/loss")
    assert [p.step for p in points] == [1, 2, 3, 4]
    ray.shutdown()

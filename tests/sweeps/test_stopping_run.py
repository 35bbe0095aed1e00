"""Stopping and searching on a real Ray and a real MLflow."""

import dataclasses
import io

import pytest
import ray
from optuna.distributions import FloatDistribution
from rich.console import Console
from small_studies import small_base, small_sweep

from sweeps.plan.machine import Machine
from sweeps.plan.planner import make_plan
from sweeps.plan.preview import plan_table, stopping_summary
from sweeps.plan.rungs import Stopping, recall
from sweeps.plan.space import Choice, Search
from sweeps.plan.sweep import Grid, axis, methods
from sweeps.run import run_sweep
from sweeps.tracking.tracker import Tracker
from trainables.config import TrainConfig

pytestmark = [pytest.mark.ray, pytest.mark.slow]

EPOCHS = 3
# The last one blows the network up; the others leave it as it is, and are its peers.
RATES_OF_LEARNING = (1e-9, 2e-9, 0.1)


@pytest.fixture(scope="module", autouse=True)
def no_server_from_outside():
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS"):
            patch.delenv(name, raising=False)
        # One at a time: who meets whom at a rung depends on it, and of two at once on their speed.
        ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
        yield
    ray.shutdown()


def run(plan, results):
    """The sweep's exit code and what it printed."""
    text = io.StringIO()
    code = run_sweep(plan, results, Console(file=text, width=120))
    return code, text.getvalue()


def stopping_plan(**changes):
    recipe = TrainConfig(epochs=EPOCHS, batch_size=32)
    sweep = small_sweep("stopping", finetune=recipe, **{"data.train_images": 64})
    grids = (
        Grid({"lr": axis("finetune.lr", RATES_OF_LEARNING)}),
        Grid({}, set={"prune.rate": 0.9, "finetune.lr": 0.1}),  # hopeless, but without peers
    )
    stopping = Stopping(metric="val/loss", reduction=2, min_peers=2)
    settings = {"grids": grids, "controls": False, "stopping": stopping, **changes}
    return make_plan(dataclasses.replace(sweep, **settings))


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """(plan, results) of a sweep with early stopping that ran once."""
    results = tmp_path_factory.mktemp("stopping")
    plan = stopping_plan()
    code, text = run(plan, results)
    assert code == 0, text
    return plan, results


def epochs_of(tracker, run_):
    return len(tracker.client.get_metric_history(run_.info.run_id, "train/loss"))


def test_hopeless_trials_stop_with_their_score_and_say_why(stopped):
    plan, results = stopped
    tracker = Tracker("stopping", results)
    runs = tracker.finished()
    assert set(runs) == set(plan.keys)
    for config in plan.configs:
        run_ = runs[config.key]
        assert {"mis/mean", "val/top1", "cost/macs"} <= run_.data.metrics.keys()
        assert {"spent/score_seconds", "spent/memory_host"} <= run_.data.metrics.keys()
        read = {each.tags[0].value for each in run_.inputs.dataset_inputs}
        assert read == {"training", "validation", "probe"}
        assert run_.data.tags["mlflow.source.name"] and "python" in run_.data.tags["versions"]
        n_epochs, tags = epochs_of(tracker, run_), run_.data.tags
        hopeless = (
            config.rate == 0.5 and config.retrain and config.retrain.lr == 0.1 and config.prune
        )
        if hopeless:
            assert tags["outcome"] == "stopped"
        if tags["outcome"] == "stopped":
            assert 1 <= n_epochs < EPOCHS and n_epochs == int(tags["stopped_epoch"])
            assert int(tags["stopped_peers"]) >= 1
            assert float(tags["stopped_value"]) > float(tags["stopped_cutoff"])
            assert tags["stopped_best"].startswith("unstructured 0.5")
            assert "val/loss" in tags["stopped"]
            assert tags["stopped_by"] == plan.stopped_by
            assert run_.data.metrics["stopping/epochs_saved"] == EPOCHS - n_epochs
        else:
            assert n_epochs == config.n_epochs and "stopped" not in tags


def test_every_stratum_keeps_a_trial_and_the_dense_networks_are_left_alone(stopped):
    plan, results = stopped
    runs = Tracker("stopping", results).finished()
    of = plan.sweep.strata().of
    strata = {of(config) for config in plan.configs}
    assert len(strata) == 3
    for stratum in strata:
        peers = [c for c in plan.configs if of(c) == stratum]
        outcomes = [runs[c.key].data.tags["outcome"] for c in peers]
        assert set(outcomes) & {"completed", "collapsed"}
        if stratum is None:
            assert "stopped" not in outcomes


def test_a_new_driver_stops_a_trial_again_where_it_was_stopped(stopped):
    """Its run is lost, and its state: it trains up to the same epoch, and no further."""
    plan, results = stopped
    tracker = Tracker("stopping", results)
    runs = tracker.finished()
    (record,) = (results / "stopping").glob("stopping-*.jsonl")
    key, decision = next(iter(recall(plan.sweep.stopping, record).stopped.items()))
    tracker.client.delete_run(runs[key].info.run_id)
    code, text = run(plan, results)
    assert code == 0 and "1 to run" in text
    again = Tracker("stopping", results).finished()[key]
    assert again.info.run_id != runs[key].info.run_id
    assert again.data.tags["stopped"] == runs[key].data.tags["stopped"]
    assert epochs_of(tracker, again) == decision.epoch
    for name in ("mis/mean", "val/loss"):
        assert again.data.metrics[name] == runs[key].data.metrics[name]


def test_what_was_stopped_is_not_done_for_a_sweep_that_stops_none(stopped):
    plan, results = stopped
    tracker = Tracker("stopping", results)
    n_stopped = sum(r.data.tags["outcome"] == "stopped" for r in tracker.finished().values())
    assert n_stopped >= 1 and tracker.done(plan) == set(plan.keys)
    assert len(stopping_plan(stopping=None).configs) == len(plan.configs)
    assert len(tracker.done(stopping_plan(stopping=None))) == len(plan.keys) - n_stopped


def searching_plan(n_trials):
    base = small_base(finetune=None, recalibrate_images=64)
    search = Search(
        {
            "method": Choice(methods("structured", "unstructured")),
            "prune.rate": FloatDistribution(0.3, 0.8),
        },
        {"val/top1": "max", "prune/sparsity": "max"},
        n_trials,
        constraints={"prune/n_collapsed": (None, 0)},
    )
    grids = (Grid({"method": methods("structured"), "rate": axis("prune.rate", (0.5, 0.7))}),)
    sweep = small_sweep("searching")
    sweep = dataclasses.replace(sweep, base=base, grids=grids, controls=False, search=search)
    return make_plan(sweep)


@pytest.mark.slow
def test_a_search_goes_on_from_the_grid_and_from_itself(tmp_path):
    plan = searching_plan(3)
    code, text = run(plan, tmp_path)
    assert code == 0, text
    tracker = Tracker("searching", tmp_path)
    runs = tracker.finished()
    assert len(plan.keys) == 4 and len(runs) == len(tracker.runs("trial")) == 7
    found = [run_ for key, run_ in runs.items() if key not in plan.keys]
    assert all(0.3 <= float(run_.data.params["prune.rate"]) <= 0.8 for run_ in found)
    (sweep,) = tracker.runs("sweep")
    assert set(tracker.planned_keys(sweep)) == set(runs)
    pictures = {a.path for a in tracker.client.list_artifacts(sweep.info.run_id, "search")}
    names = ("pareto_front", "slices_val_top1", "importances_val_top1", "history_prune_sparsity")
    assert {f"search/search_{name}.png" for name in names} <= pictures

    code, text = run(plan, tmp_path)
    assert code == 0 and "3 trials, 3 proposed, 3 done; it learns from 5 finished" in text
    assert {k: r.info.run_id for k, r in tracker.finished().items()} == {
        k: r.info.run_id for k, r in runs.items()
    }

    # One more is asked for, and a run of one that was proposed is lost.
    tracker.client.delete_run(found[0].info.run_id)
    code, text = run(searching_plan(4), tmp_path)
    assert code == 0, text
    after = tracker.finished()
    assert set(runs) < set(after) and len(after) == len(tracker.runs("trial")) == 8


def test_a_plan_tells_of_both(tmp_path):
    plan = searching_plan(5)
    assert plan_table(plan, ()).title == "study searching: 4 grid trials, then up to 5 searched"
    here = Machine(cpus=2.0)
    assert stopping_summary(plan, (), here) == []  # its trials do not train
    (saved,) = stopping_summary(stopping_plan(), (), here)
    assert saved.startswith("early stopping by val/loss may save 0 to 4 of 21 epochs")
    sweep = stopping_plan().sweep
    with pytest.raises(ValueError, match="finetune.lr is searched by this study"):
        search = Search({"finetune.lr": FloatDistribution(1e-4, 1e-2)}, {"val/top1": "max"}, 3)
        make_plan(dataclasses.replace(sweep, search=search), settings={"finetune.lr": 0.1})
    with pytest.raises(ValueError, match="has no 'finetune.speed'"):
        search = Search({"finetune.speed": FloatDistribution(1e-4, 1e-2)}, {"val/top1": "max"}, 3)
        dataclasses.replace(sweep, search=search)

"""Nothing to do, a report that fails, a disk that is full: what is said, and the exit code."""

import io
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from rich.console import Console
from small_studies import small_base, small_sweep

import sweeps.run
from sweeps.plan.names import Names
from sweeps.plan.planner import make_plan
from sweeps.plan.space import Choice, Search
from sweeps.report.files import PAGE, note_made_of, report_folder
from sweeps.run import run_sweep
from sweeps.tracking.tracker import OUTSIDE, Tracker
from sweeps.tune.events import SweepCallback
from sweeps.tune.progress import SweepProgress
from trainables.workspace import Workspace


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A study of which every trial is finished in MLflow: (plan, results folder)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.delenv("RAY_ADDRESS", raising=False)
        results, plan = tmp_path_factory.mktemp("results"), make_plan(small_sweep("idle"))
        tracker = Tracker("idle", results)
        for config in plan.configs:
            run = tracker.start_run(config.label, kind="trial", key=config.key)
            tracker.end_run(run, "FINISHED")
        yield plan, results


def swept(plan, results):
    text = io.StringIO()
    return run_sweep(plan, results, Console(file=text, width=200)), text.getvalue()


@pytest.fixture
def reports(monkeypatch):
    """How often a report was made; it is a page without anything."""
    made = []

    def write_report(tracker, run, results, console, *_):
        folder = report_folder(results, tracker.study)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / PAGE).touch()
        runs = {key: each.info.run_id for key, each in tracker.finished().items()}
        note_made_of(folder, run.data.tags["sweep_key"], runs)
        made.append(run)

    monkeypatch.setattr(sweeps.run, "write_report", write_report)
    return made


def test_nothing_to_do_is_read_once_and_a_deleted_run_is_noticed(finished, reports, monkeypatch):
    plan, results = finished
    code, text = swept(plan, results)
    assert code == 0 and len(reports) == 1, text
    asked = []
    search = Tracker._search
    monkeypatch.setattr(Tracker, "_search", lambda *a: asked.append(a[1]) or search(*a))
    code, text = swept(plan, results)
    assert code == 0 and len(reports) == 1 and "nothing is new since the report" in text
    assert sum("'trial'" in condition or "trial_key" in condition for condition in asked) == 1
    tracker = Tracker("idle", results)
    gone = next(iter(tracker.finished().values()))
    tracker.client.delete_run(gone.info.run_id)
    worked = []

    def work_off(plan, work, *_):
        worked.extend(config.key for config in work.left)
        return tracker.sweep_run(plan), 0

    monkeypatch.setattr(sweeps.run, "_work_off", work_off)
    assert swept(plan, results)[0] == 0
    assert worked == [gone.data.tags["trial_key"]] and len(reports) == 2
    tracker.client.restore_run(gone.info.run_id)


@pytest.mark.parametrize(
    "error",
    [OSError(28, "No space left on device"), PermissionError("report.html"), KeyError("mis/mean")],
)
def test_a_report_that_cannot_be_made_is_no_refusal(finished, monkeypatch, error):
    """Its trials have finished: 2 would say that nothing ran."""

    def write_report(*_):
        raise error

    monkeypatch.setattr(sweeps.run, "write_report", write_report)
    monkeypatch.setattr(sweeps.run, "up_to_date", lambda *_: None)
    code, text = swept(*finished)
    assert code == 1 and "no report" in text and type(error).__name__ in text
    assert "make report" in text and "Traceback" not in text


class Full:
    """An outbox on a full disk."""

    def start(self, *_, **__):
        raise OSError("the disk of box.jsonl is full")

    metrics = end = start


def test_a_full_disk_is_told_from_a_person_who_breaks_off_and_ray_keeps_nothing(tmp_path):
    config = small_base()
    progress = SweepProgress(Console(file=io.StringIO()), 1, 0, Names([config]))
    search = Search({"prune.rate": Choice([0.5])}, {"mis/mean": "max"}, n_trials=1)
    callback = SweepCallback(Full(), progress, Workspace(tmp_path, "full"), search)
    trial = SimpleNamespace(config={"trial": config}, run_metadata=SimpleNamespace(num_failures=0))
    metrics = {"mis/mean": 0.6, **{f"mis/layer{at}/mean": 0.5 for at in range(57)}}
    result = {
        **{"epoch": 1, "epochs": [{"epoch": 1.0, **metrics}], "key": config.key},
        **{"metrics": metrics, "final": dict(metrics), "made_on": {}, "files": ["a"]},
        **{"outcome": "completed", "done": True},
    }
    for _ in range(2):
        callback.on_trial_result(0, [trial], trial, dict(result))
    assert callback.unwritten == {config.key} and callback.ended == set()
    assert len(callback.problems) == 1 and "is full" in callback.problems[0]
    kept = dict(result)
    callback.on_trial_result(0, [trial], trial, kept)
    assert kept["metrics"] == {"mis/mean": 0.6}  # what the search asks for
    assert not kept.keys() & {"epochs", "final", "made_on", "files"}


def test_constraints_of_a_search_are_asked_of_all_that_a_trial_ended_with(tmp_path):
    """Also of what its last epoch has told: only what that lacks is delivered once more."""
    outbox, config = Mock(), small_base()
    constraints = {"val/top1": (0.5, None)}
    search = Search({"prune.rate": Choice([0.5])}, {"mis/mean": "max"}, 1, constraints)
    progress = Mock(started_keys={config.key})
    callback = SweepCallback(outbox, progress, Workspace(tmp_path), search)
    trial = SimpleNamespace(config={"trial": config}, run_metadata=SimpleNamespace(num_failures=0))
    for top1, fine in ((0.8, True), (0.3, False)):
        result = {
            **{"epoch": 1, "epochs": [], "key": config.key, "outcome": "completed"},
            **{"metrics": {"val/top1": top1, "mis/mean": 0.6}, "final": {"mis/mean": 0.6}},
            **{"made_on": {}, "files": [], "done": True},
        }
        callback.on_trial_result(0, [trial], trial, result)
        assert not callback.problems
        assert (outbox.end.call_args.args[3][OUTSIDE] == "") == fine


def test_what_ray_says_of_nodes_that_die_goes_to_a_file_and_through_no_link(tmp_path, capfd):
    import logging

    from sweeps.tune.launch import _log_to

    log = logging.getLogger("ray.tune")
    before, propagates = list(log.handlers), log.propagate
    try:
        _log_to(tmp_path / "ray" / "tune.log")
        logging.getLogger("ray.tune.execution.tune_controller").error("died\n" * 100)
        assert (tmp_path / "ray" / "tune.log").read_text().count("died") == 100
        assert capfd.readouterr().err == ""
        (tmp_path / "mine").write_text("years")
        (tmp_path / "tune.log").symlink_to(tmp_path / "mine")
        with pytest.raises(OSError, match="must be a file of its own"):
            _log_to(tmp_path / "tune.log")
    finally:
        log.handlers, log.propagate = before, propagates


@pytest.mark.parametrize("linked", ["ray", "study", None])
def test_only_what_ray_made_is_removed_and_nothing_behind_a_link(linked, tmp_path):
    from sweeps.tune.launch import forget_ray

    disk = tmp_path / "disk"
    real = disk / "demo" if linked == "ray" else disk
    target = {"ray": disk, "study": disk, None: None}[linked]
    folder = tmp_path / "results" / "ray" / "demo"
    if target is None:
        folder.mkdir(parents=True)
        real = folder
    else:
        real.mkdir(parents=True)
        link = folder.parent if linked == "ray" else folder
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target)
    (real / "PruningTrial_1_0").mkdir()
    for name in ("thesis.tex", "PruningTrial_1_0/stdout", "tuner.pkl", "experiment_state-1.json"):
        (real / name).write_text("x")
    forget_ray(tmp_path / "results", "demo")
    left = {path.name for path in real.iterdir()}
    assert "thesis.tex" in left
    assert len(left) == (1 if linked is None else 4)

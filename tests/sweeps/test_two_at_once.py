"""Two drivers on one server or in one folder, and a folder that is somewhere else now."""

import shutil
import sqlite3
import threading
import time

import forked
import pytest
from small_studies import small_sweep

import sweeps.tracking.database
import sweeps.tracking.lease
from sweeps.plan.planner import make_plan
from sweeps.tracking.lease import LEASE, only_sweep
from sweeps.tracking.outbox import Outbox
from sweeps.tracking.sync import outbox_path
from sweeps.tracking.tracker import Tracker, experiments


@pytest.fixture
def server(database, monkeypatch):
    """A database that two results folders share stands for a server."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database)
    monkeypatch.setattr(sweeps.tracking.lease, "BEAT_SECONDS", 0.2)


@pytest.fixture
def study(request):
    return request.node.name[-30:]


def hold(results, study, told, release, order, delay=0.0):
    tracker = Tracker(study, results)
    time.sleep(delay)
    try:
        with only_sweep(tracker, results / "demo.lease", told.append):
            order.append("held")
            release.wait(60)
            order.append("left")
    except ValueError as error:
        order.append(str(error))


def test_the_lease_of_a_living_sweep_is_safe_from_a_copy_of_its_folder(server, tmp_path, study):
    """The copy has the file that names the lease, too; only its beat tells whether it lives."""
    (tmp_path / "anna").mkdir()
    told = []
    with only_sweep(Tracker(study, tmp_path / "anna"), tmp_path / "anna" / "x.lease", told.append):
        shutil.copytree(tmp_path / "anna", tmp_path / "copy")
        copy = Tracker(study, tmp_path / "copy")
        with pytest.raises(ValueError, match="one sweep of a study at a time"):  # noqa: SIM117
            with only_sweep(copy, tmp_path / "copy" / "x.lease", told.append):
                pass
        assert len(copy.runs(LEASE)) == 1


@pytest.mark.parametrize("delay", [0.0, 0.05, 0.5])
def test_of_two_that_start_at_once_one_runs_and_the_other_is_refused(
    server, tmp_path, study, delay
):
    Tracker(study, tmp_path)  # the experiment is there
    release, order, told = threading.Event(), [], []
    drivers = [
        threading.Thread(target=hold, args=(tmp_path / name, study, told, release, order, late))
        for name, late in (("anna", 0.0), ("bert", delay))
    ]
    for driver in drivers:
        driver.start()
    deadline = time.monotonic() + 60
    while len(order) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert sorted(word == "held" for word in order) == [False, True]
    (refusal,) = [word for word in order if word != "held"]
    assert "one sweep of a study at a time may run on an MLflow server" in refusal
    assert f"{tmp_path}/" in refusal and "unset MLFLOW_TRACKING_URI" in refusal
    release.set()
    for driver in drivers:
        driver.join()
    assert Tracker(study, tmp_path).runs(LEASE) == []


def test_a_lease_of_a_killed_driver_holds_up_nobody_for_long(server, tmp_path, study):
    tracker = Tracker(study, tmp_path / "anna")
    dead = sweeps.tracking.lease._begin(tracker, tmp_path / "anna.lease")  # and no heartbeat
    other = Tracker(study, tmp_path / "bert")
    begun = time.monotonic()
    with only_sweep(other, tmp_path / "bert.lease", lambda _: None):
        waited = time.monotonic() - begun
        assert waited > sweeps.tracking.lease.DEAD_AFTER_BEATS * sweeps.tracking.lease.BEAT_SECONDS
        assert [r.info.run_id for r in other.runs(LEASE)] != [dead]
    # In its own folder the lock tells at once.
    sweeps.tracking.lease._begin(tracker, tmp_path / "anna.lease")
    begun = time.monotonic()
    with only_sweep(tracker, tmp_path / "anna.lease", lambda _: None):
        assert tracker.runs(LEASE)[0].data.tags["host"]
    assert not (tmp_path / "anna.lease").exists()


def test_a_planted_lease_deletes_no_run(server, tmp_path, study):
    tracker = Tracker(study, tmp_path)
    trial = tracker.start_run("t", kind="trial", key="abc")
    (tmp_path / "x.lease").write_text(trial)
    with only_sweep(tracker, tmp_path / "x.lease", lambda _: None):
        pass
    assert [run.info.run_id for run in tracker.runs("trial")] == [trial]


def test_two_folders_on_one_server_never_touch_each_others_runs(server, tmp_path, study):
    plan = make_plan(small_sweep(study))
    parents = set()
    for name in ("anna", "bert"):
        tracker = Tracker(study, tmp_path / name)
        parents.add(tracker.sweep_run(plan))
        outbox = Outbox(outbox_path(tmp_path / name, study), tracker, None)
        outbox.start("abc", "t", "trial", {"seed": 0})
        outbox.metrics("abc", 1, {"epoch": 1, "val/top1": 0.1 if name == "anna" else 0.2})
        assert outbox.close(60) == 0 and outbox.refused == []
    assert len(parents) == 2
    runs = Tracker(study, tmp_path / "anna").runs("trial")
    assert {run.data.metrics["val/top1"] for run in runs} == {0.1, 0.2}
    assert {run.data.tags["folder"] for run in runs} == {
        str(tmp_path / name) for name in ("anna", "bert")
    }
    outbox = Outbox(outbox_path(tmp_path / "bert", study), Tracker(study, tmp_path / "bert"), None)
    outbox.end("abc", "FINISHED", "completed", {})
    assert outbox.close(60) == 0 and outbox.refused == []
    by_folder = {run.data.tags["folder"]: run for run in tracker.runs("trial")}
    assert by_folder[str(tmp_path / "bert")].info.status == "FINISHED"
    assert by_folder[str(tmp_path / "anna")].info.status == "RUNNING"


def test_an_experiment_that_another_driver_made_meanwhile_is_taken(server, tmp_path, study):
    first = Tracker(study, tmp_path / "anna")
    second = Tracker.__new__(Tracker)
    second.__dict__.update(first.__dict__)
    found = iter([None, first.client.get_experiment_by_name(study)])

    class Late:
        """Its first question came before the experiment was made."""

        def __getattr__(self, name):
            return getattr(first.client, name)

        def get_experiment_by_name(self, _):
            return next(found)

    second.client = Late()
    assert second._experiment(True) == first.experiment_id


def test_two_that_start_in_a_fresh_folder_make_one_database(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    starts = [
        forked.context.Process(target=Tracker, args=(name, tmp_path))
        for name in ("demo", "released", "scarce")
    ]
    for each in starts:
        each.start()
    for each in starts:
        each.join(300)
    assert [each.exitcode for each in starts] == [0, 0, 0]
    assert {"demo", "released", "scarce"} <= experiments(tmp_path).keys()


def test_a_driver_that_waits_for_the_database_says_so_and_gives_up(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sweeps.tracking.database, "_PATIENCE", 0.5)
    monkeypatch.setattr(sweeps.tracking.database, "_SAY_AFTER", 0.1)
    with (
        sweeps.tracking.database.opening(tmp_path),
        pytest.raises(ValueError, match="another process has been at it"),
        sweeps.tracking.database.opening(tmp_path),
    ):
        pass
    assert "waiting for another process" in capsys.readouterr().err


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A results folder with a finished trial and its artifacts, made somewhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        return make(tmp_path_factory.mktemp("made"))


@pytest.fixture
def old(made, tmp_path, monkeypatch):
    """The same, moved."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copytree(made, tmp_path / "old")
    sweeps.tracking.database.move_to(tmp_path / "old")
    return tmp_path / "old"


def make(tmp_path):
    results = tmp_path / "old"
    tracker = Tracker("demo", results)
    run = tracker.start_run("t", kind="trial", key="abc")
    (tmp_path / "units.parquet").write_text("x")
    tracker.client.log_artifact(run, str(tmp_path / "units.parquet"))
    tracker.end_run(run, "FINISHED")
    tracker.client.create_registered_model("demo-dense")
    tracker.client.create_model_version("demo-dense", f"runs:/{run}/", run_id=run)
    return results


@pytest.mark.parametrize("way", ["moved", "copied", "moved to another name", "behind a link"])
def test_a_results_folder_can_be_moved_and_copied(old, tmp_path, way):
    new = tmp_path / ("my results, é" if way == "moved to another name" else "new")
    shutil.copytree(old, new)
    if way != "copied":
        shutil.rmtree(old)
    if way == "behind a link":
        (tmp_path / "link").symlink_to(new)
        new = tmp_path / "link"
    before = {p: p.read_bytes() for p in old.rglob("*") if p.is_file()}
    tracker = Tracker("demo", new)
    run = tracker.finished()["abc"]
    assert [file.path for file in tracker.client.list_artifacts(run.info.run_id)] == [
        "units.parquet"
    ]
    again = tracker.start_run("t", kind="trial", key="later")
    tracker.client.log_text(again, "x", "later.txt")
    assert list(new.resolve().rglob("later.txt"))
    (version,) = tracker.client.search_model_versions("name = 'demo-dense'")
    where = tracker.client.get_model_version_download_uri("demo-dense", version.version)
    assert str(old) not in where
    assert {p: p.read_bytes() for p in old.rglob("*") if p.is_file()} == before


def test_addresses_of_others_in_the_database_stay(old, tmp_path):
    """An experiment that a person made, with its files where that person wanted them."""
    Tracker("demo", old).client.create_experiment("thesis", (tmp_path / "my" / "runs").as_uri())
    new = tmp_path / "new"
    old.rename(new)
    Tracker("demo", new)
    with sqlite3.connect(new / "mlflow.db") as database:
        query = "SELECT artifact_location FROM experiments WHERE name = 'thesis'"
        assert database.execute(query).fetchone() == ((tmp_path / "my" / "runs").as_uri(),)

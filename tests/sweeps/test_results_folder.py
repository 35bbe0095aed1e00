"""What cannot be a results folder is refused by `plan` as by `sweep`; a plan changes nothing."""

import os
import sqlite3
from contextlib import closing

import pytest
from small_studies import small_sweep

from sweeps.__main__ import main
from sweeps.report.read.frames import latest_sweep
from sweeps.results_folder import require_folder
from sweeps.tracking.tracker import Tracker, has_study


@pytest.fixture
def refusal(capsys, monkeypatch, tmp_path):
    """(folder, words) -> what a verb says of the results folder; "" where it is taken."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr("sweeps.studies.load_study", lambda _: small_sweep("small"))
    monkeypatch.setattr("sweeps.run._run", lambda *_: 0)

    def said(verb, results):
        words = ["--speed", "100,100"] if verb == "plan" else []
        code = main([verb, "--results", str(results), *words])
        error = capsys.readouterr().err
        assert code == (2 if error else 0) and error.count("\n") == bool(error)
        return error

    return said


def _file(name):
    def make(results):
        (results / name).parent.mkdir(parents=True, exist_ok=True)
        (results / name).write_text("mine")

    return make


def _folder(name):
    return lambda results: (results / name).mkdir(parents=True)


def _link(name):
    def make(results):
        results.mkdir()
        (results / name).symlink_to(results / "nowhere")

    return make


@pytest.mark.parametrize("verb", ["plan", "sweep"])
@pytest.mark.parametrize(
    ("name", "make", "sentence"),
    [
        ("/dev/null", None, "RESULTS must be a folder or the name of a new one, /dev/null is a d"),
        ("/dev/null/x", None, "/dev/null is a device"),
        ("/proc/x", None, "must be on a disk, nothing can be kept in /proc"),
        ("a", lambda path: path.write_text("x"), "/a is a file"),
        ("b" * 300, None, "must have at most 255 bytes, bbbbbbbbbb"),
        ("/".join(["ä" * 100] * 20), None, "must have at most 3,695 bytes, it has 4,0"),
        ("c", _folder("mlflow.lock"), "mlflow.lock must be a file, it is a folder: move it away"),
        ("d", _folder("mlflow.db"), "mlflow.db must be a file, it is a folder"),
        ("e", _folder("outbox/small.lock"), "small.lock must be a file, it is a folder"),
        ("f", _folder("outbox/small.jsonl"), "small.jsonl must be a file"),
        ("g", _file("outbox"), "outbox must be a folder, it is a file"),
        ("h", _file("report"), "report must be a folder, it is a file"),
        ("i", _file("report/small"), "report/small must be a folder"),
        ("j", _file("states/small"), "states/small must be a folder"),
        ("m", _folder("search/small-abc.jsonl"), "small-abc.jsonl must be a file, it is a folder"),
        ("k", _link("cache"), "cache must be a folder, it is a link that leads nowhere"),
        ("l", lambda path: (path.mkdir(), os.mkfifo(path / "search")), "is a device or a pipe"),
    ],
)
def test_what_cannot_be_a_results_folder_is_refused_before_anything(
    refusal, tmp_path, verb, name, make, sentence
):
    results = tmp_path / name
    if make is not None:
        make(results)
    before = sorted(tmp_path.rglob("*")) if len(name) < 9 else []
    assert sentence in refusal(verb, results)
    assert before == (sorted(tmp_path.rglob("*")) if len(name) < 9 else [])


def test_a_folder_or_a_database_that_may_not_be_written_is_refused(tmp_path, monkeypatch):
    (tmp_path / "mlflow.db").touch()
    for closed, sentence in [
        (tmp_path, "that this user may write to, .* is not: take another"),
        (tmp_path / "mlflow.db", "mlflow.db must be a file that this user reads and writes"),
    ]:
        monkeypatch.setattr(os, "access", lambda path, _, closed=closed: path != closed)
        with pytest.raises(ValueError, match=sentence):
            require_folder(tmp_path, written=True)
        require_folder(tmp_path, written=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    require_folder(tmp_path, written=True)  # that database is not asked


@pytest.mark.parametrize("mask", [0o777, 0o177, 0o400])
def test_a_umask_that_takes_files_from_their_owner_is_refused(tmp_path, mask):
    before = os.umask(mask)
    try:
        with pytest.raises(ValueError, match=f"leave files to their owner, it is {mask:04o}: umas"):
            require_folder(tmp_path, written=True)
        assert os.umask(0o077) == mask
        require_folder(tmp_path, written=True)
    finally:
        os.umask(before)


def _database(results, *statements):
    results.mkdir(exist_ok=True)
    with closing(sqlite3.connect(results / "mlflow.db")) as database, database:
        for statement in statements:
            database.execute(statement)


def _tables(results):
    with closing(sqlite3.connect(results / "mlflow.db")) as database:
        return {name for (name,) in database.execute("SELECT name FROM sqlite_master")}


@pytest.mark.parametrize(
    "tables",
    [("cookies",), ("studies", "trials", "alembic_version"), ("experiments", "subjects")],
    ids=["a browser's", "Optuna's", "a laboratory's"],
)
def test_the_database_of_another_program_is_left_alone(refusal, tmp_path, tables):
    _database(tmp_path, *(f"CREATE TABLE {name} (id INTEGER)" for name in tables))
    assert "mlflow.db must be MLflow's, it is another program's" in refusal("plan", tmp_path)
    with pytest.raises(ValueError, match=r"must be MLflow's, .* take other RESULTS"):
        Tracker("small", tmp_path)
    assert _tables(tmp_path) == set(tables)


def test_a_plan_makes_no_tables_and_no_experiment(refusal, tmp_path):
    (tmp_path / "mlflow.db").touch()
    assert refusal("plan", tmp_path) == "" and _tables(tmp_path) == set()
    tracker = Tracker("another", tmp_path)  # whose tables are made as ever
    before = (tmp_path / "mlflow.db").read_bytes()
    assert refusal("plan", tmp_path) == "" and not has_study("small", tmp_path)
    assert (tmp_path / "mlflow.db").read_bytes() == before
    assert has_study("another", tmp_path)
    tracker.client.delete_experiment(tracker.experiment_id)
    assert "another was deleted" not in refusal("plan", tmp_path)
    assert has_study("another", tmp_path)


def test_the_database_of_an_older_mlflow_is_not_brought_up_to_date_untold(tmp_path):
    """MLflow does it where a table is missing; a database that holds no run may be half made."""
    tracker = Tracker("small", tmp_path)
    tracker.start_run("t", kind="trial", key="k")
    older = "UPDATE alembic_version SET version_num = 'cbc13b556ace'"
    _database(tmp_path, older, "DROP TABLE webhook_events")
    with pytest.raises(ValueError, match="of an older one: copy it, then run"):
        Tracker("small", tmp_path)
    assert "webhook_events" not in _tables(tmp_path)


def test_a_sweep_that_was_deleted_in_the_pages_is_said_and_made_anew(tmp_path):
    class Plan:
        key, keys, purpose, primary, stops = "abc", ("k",), "p", "q", False

    tracker = Tracker("small", tmp_path)
    tracker.client.delete_run(tracker.sweep_run(Plan))
    for key, which in [(None, "the sweep of"), ("abc", "the sweep abc of")]:
        with pytest.raises(ValueError, match=f"{which} the study small was deleted .*: make sweep"):
            latest_sweep(tracker, key)
    with pytest.raises(ValueError, match="holds no sweep ffff"):
        latest_sweep(tracker, "ffff")
    new = tracker.sweep_run(Plan)
    assert latest_sweep(tracker, None).info.run_id == new

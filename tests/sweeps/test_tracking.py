import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest
import requests
from small_studies import small_sweep

from sweeps.outbox import Outbox
from sweeps.plan import make_plan
from sweeps.run import deliver_leftovers
from sweeps.tracking import Tracker, has_store, page_links, serve_command


@pytest.fixture(autouse=True)
def no_server_from_outside(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A results folder with a database: making one takes seconds."""
    folder = tmp_path_factory.mktemp("results")
    Tracker("made", folder)
    return folder


def points(tracker, run, name):
    return [(m.step, m.value) for m in tracker.client.get_metric_history(run.info.run_id, name)]


def send_a_trial(outbox, key, status="FINISHED"):
    outbox.start(key, f"trial {key}", "trial", {"prune.rate": 0.5})
    for step in (1, 2):
        outbox.metrics(key, step, {"val/top1": step / 10, "mis/mean": float("nan")})
    outbox.end(key, status, "completed", {"note": "x"})


def test_what_is_sent_arrives_once_and_in_order(store, tmp_path):
    tracker = Tracker("order", store)
    parent = tracker.sweep_run(make_plan(small_sweep()))
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "a.txt").write_text("hello")
    outbox = Outbox(tmp_path / "box.jsonl", tracker, parent)
    outbox.start("k1", "trial one", "trial", {"prune.rate": 0.5})
    outbox.metrics("k1", 1, {"val/top1": 0.1})
    outbox.metrics("k1", 2, {"val/top1": 0.2})
    outbox.folder("k1", folder)
    outbox.end("k1", "FINISHED", "completed", {})
    assert outbox.close(60) == 0 and outbox.refused == []
    run = tracker.finished()["k1"]
    assert points(tracker, run, "val/top1") == [(1, 0.1), (2, 0.2)]
    assert run.data.params == {"prune.rate": "0.5"}
    assert run.data.tags["mlflow.parentRunId"] == parent
    assert run.data.tags["outcome"] == "completed"
    assert [a.path for a in tracker.client.list_artifacts(run.info.run_id)] == ["a.txt"]
    assert not folder.exists() and list(tmp_path.iterdir()) == []


def test_sending_again_after_a_crash_changes_nothing(store, tmp_path):
    tracker = Tracker("again", store)
    outbox = Outbox(tmp_path / "box.jsonl", tracker, None)
    outbox.start("k1", "t", "trial", {})
    outbox.metrics("k1", 1, {"val/top1": 0.1})
    while not (tmp_path / "box.delivered").exists() or outbox._n_waiting():
        time.sleep(0.05)
    # As if the process had died between delivering the metric and noting it.
    lines = (tmp_path / "box.jsonl").read_text().splitlines(keepends=True)
    saved = json.loads((tmp_path / "box.delivered").read_text())
    (tmp_path / "box.delivered").write_text(json.dumps({**saved, "offset": len(lines[0])}))
    second = Outbox(tmp_path / "box.jsonl", tracker, None)
    second.metrics("k1", 2, {"val/top1": 0.2})
    second.end("k1", "FINISHED", "completed", {})
    assert second.close(60) == 0
    assert points(tracker, tracker.finished()["k1"], "val/top1") == [(1, 0.1), (2, 0.2)]


def test_a_finished_trial_that_waits_in_the_outbox_is_delivered_and_not_run_again(store):
    tracker = Tracker("leftovers", store)
    plan = make_plan(small_sweep("leftovers"))
    key = plan.keys[0]
    path = store / "outbox" / f"{plan.key}.jsonl"
    path.parent.mkdir(exist_ok=True)
    events = [
        {"event": "start", "name": "t", "run_kind": "trial", "params": {}, "parent": None},
        {"event": "metrics", "step": 1, "values": {"val/top1": 0.1}},
        {"event": "end", "status": "FINISHED", "tags": {"outcome": "completed"}},
    ]
    lines = [json.dumps({**event, "key": key, "time_ms": 1_700_000_000_000}) for event in events]
    path.write_text("\n".join(lines) + "\n")
    assert len(plan.remaining(tracker.finished())) == 9
    deliver_leftovers(plan, store, tracker)
    assert len(plan.remaining(tracker.finished())) == 8
    assert not path.exists()


def test_an_unfinished_run_makes_way_and_a_finished_one_stays(store, tmp_path):
    tracker = Tracker("twice", store)
    for attempt, status in enumerate(("FAILED", "FINISHED")):
        outbox = Outbox(tmp_path / f"{attempt}.jsonl", tracker, None)
        send_a_trial(outbox, "k1", status)
        assert outbox.close(60) == 0
    assert [run.info.status for run in tracker.runs("trial")] == ["FINISHED"]


def test_one_refused_event_does_not_hold_up_the_others(store, tmp_path):
    tracker = Tracker("poison", store)
    outbox = Outbox(tmp_path / "box.jsonl", tracker, None)
    outbox.start("k1", "t", "trial", {})
    outbox.metrics("k1", 1, {"no such ( name )": 0.1})
    outbox.metrics("k1", 1, {"val/top1": 0.3})
    outbox.end("k1", "FINISHED", "completed", {})
    assert outbox.close(60) == 0
    assert len(outbox.refused) == 1 and "metrics of k1" in outbox.refused[0]
    assert points(tracker, tracker.finished()["k1"], "val/top1") == [(1, 0.3)]


def test_a_sweep_has_one_parent_run_that_knows_its_trials(store):
    tracker = Tracker("parent", store)
    plan = make_plan(small_sweep())
    first = tracker.sweep_run(plan)
    tracker.end_run(first, "FINISHED")
    assert tracker.sweep_run(plan) == first
    run = tracker.client.get_run(first)
    assert run.info.status == "RUNNING"
    assert tracker.planned_keys(run) == list(plan.keys)
    other = make_plan(small_sweep(), grid={"rate": [0.3]})
    assert tracker.sweep_run(other) != first


def test_a_missing_artifact_is_said_in_a_sentence(store):
    tracker = Tracker("lost", store)
    tracker.start_run("lonely", kind="trial", key="k")
    with pytest.raises(ValueError, match="run lonely must have the artifact units.parquet"):
        tracker.read_units(tracker.runs("trial")[0])


def test_a_server_that_does_not_answer_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(
        ValueError, match=r"must answer, http://127.0.0.1:9 does not .*unset MLFLOW"
    ):
        Tracker("x", tmp_path)
    assert has_store(tmp_path)
    with pytest.raises(ValueError, match="its own server shows the pages"):
        serve_command(tmp_path, 5000)


def test_every_study_has_a_link_to_its_trials(store):
    tracker = Tracker("linked", store)
    link = page_links(store, 5001)["linked"]
    assert link.startswith("http://127.0.0.1:5001/")
    assert f"/experiments/{tracker.experiment_id}/runs?" in link
    assert "searchFilter=tags.kind%20%3D%20%27trial%27" in link
    assert "Default" not in page_links(store, 5001)


def test_there_is_nothing_to_show_before_a_sweep(tmp_path):
    assert not has_store(tmp_path)
    with pytest.raises(ValueError, match="holds no mlflow.db"):
        serve_command(tmp_path, 5000)


def start_server(folder, port):
    server = subprocess.Popen(
        [
            *(sys.executable, "-m", "mlflow", "server", "--workers", "1", "--port", str(port)),
            *("--backend-store-uri", f"sqlite:///{folder}/mlflow.db"),
            *("--artifacts-destination", str(folder / "artifacts")),
        ],
        env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    for _ in range(600):
        try:
            if requests.get(f"http://127.0.0.1:{port}/health", timeout=1).ok:
                return server
        except requests.exceptions.RequestException:
            time.sleep(0.1)
    raise TimeoutError("the MLflow server did not start")


def stop_server(server):
    os.killpg(server.pid, signal.SIGKILL)
    server.wait()


@pytest.mark.ray
def test_a_server_that_goes_away_gets_everything_when_it_is_back(store, tmp_path, monkeypatch):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = start_server(store, port)
    try:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
        tracker = Tracker("away", tmp_path)
        outbox = Outbox(tmp_path / "box.jsonl", tracker, None)
        outbox.start("k1", "t", "trial", {})
        outbox.metrics("k1", 1, {"val/top1": 0.1})
        while outbox._n_waiting():
            time.sleep(0.05)
        stop_server(server)
        for step in range(2, 30):
            outbox.metrics("k1", step, {"val/top1": step / 100})
        outbox.end("k1", "FINISHED", "completed", {})
        time.sleep(2)
        assert outbox._n_waiting() == 29
        server = start_server(store, port)
        assert outbox.close(60) == 0 and outbox.refused == []
        run = tracker.finished()["k1"]
        assert [step for step, _ in points(tracker, run, "val/top1")] == list(range(1, 30))
    finally:
        stop_server(server)

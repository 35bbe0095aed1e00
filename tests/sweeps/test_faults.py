"""Whatever is killed, away or full: every trial ends once, with the numbers of a quiet sweep.

Drivers are processes of their own, on a real Ray and a real MLflow. On a CPU with one thread the
numbers are equal to the last bit; only measured latencies are left out. Starting a sweep takes
longer than its trials, so that some faults share one.
"""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from faults import (
    code_of,
    end,
    finish,
    is_over,
    kill,
    log,
    logged,
    start,
    states,
    wait_for,
    workers,
)
from servers import Postgres, free_port, start_mlflow, stop, why_no_postgres

from sweeps.tracking.sync import outbox_path
from sweeps.tracking.tracker import Tracker

pytestmark = [
    pytest.mark.slow,
    pytest.mark.ray,
    pytest.mark.timeout(1_800),
]  # on a machine that has more to do
TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module", autouse=True)
def no_server_from_outside():
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS", "SECATEUR_NODE_CACHE"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="module")
def quiet(tmp_path_factory):
    """(results folder, metrics) of a sweep that nothing happened to."""
    results = tmp_path_factory.mktemp("quiet")
    assert finish(results) == 0, log(results)
    return results, logged(results)


@pytest.fixture
def results(quiet, tmp_path):
    """A results folder that has the dense network and an empty MLflow."""
    shutil.copytree(quiet[0] / "cache", tmp_path / "cache")
    Tracker("faults", tmp_path)
    return tmp_path


def test_the_quiet_sweep_is_whole(quiet):
    results, metrics = quiet
    assert len(metrics) == 5
    steps = sorted(len({step for _, step in points}) for points in metrics.values())
    assert steps == [1, 1, 4, 4, 4]  # two are not trained
    assert not states(results) and not list((results / "outbox").glob("*.jsonl"))
    assert not any((results / "trials").iterdir())


def started(results):
    """A driver that has said what there is to do; from then on no other may run."""
    n = log(results).count("study faults") if (results / "driver.log").exists() else 0
    driver = start(results)
    wait_for(lambda: log(results).count("study faults") > n, "the driver's first line")
    return driver


def kill_a_driver(results, seconds, *, in_training):
    """Start one, and kill -9 it after its first line, or after its first trial's start."""
    driver = started(results)
    try:
        if in_training:
            wait_for(lambda: is_over(driver) or workers(driver), "a worker")
        time.sleep(seconds)
    finally:
        kill(driver)
    return driver.exitcode == -signal.SIGKILL


def break_off(results):
    """SIGTERM with trials in training; a second driver meanwhile is refused."""
    driver, other = started(results), results / "other.log"
    second = start(results, log=other)
    try:
        assert code_of(second) == 2
        assert f"faults is run in {results} by process {driver.pid}" in other.read_text()
        wait_for(lambda: len(states(results)) >= 2, "trials in training")
        os.kill(driver.pid, signal.SIGTERM)
        assert code_of(driver) == 130
    finally:
        end(driver)
        end(second)
    tracker = Tracker("faults", results)
    open_ = [run for run in tracker.runs("trial") if run.info.status != "FINISHED"]
    assert {run.info.status for run in open_} == {"KILLED"}
    assert [run.info.status for run in tracker.runs("sweep")] == ["KILLED"]
    return {run.info.run_id for run in open_}


def dense_epochs(results):
    """Those that MLflow has of the dense network's training, which has finished."""
    tracker = Tracker("faults", results)
    (dense,) = tracker.runs("dense training")
    assert dense.info.status == "FINISHED"
    history = tracker.client.get_metric_history(dense.info.run_id, "val/loss")
    return [point.step for point in history]


def test_drivers_killed_or_told_to_end_at_any_moment_and_a_state_cut_short(quiet, tmp_path):
    """From nothing on: the dense network's training and Ray's start are among the moments."""
    delays = random.Random(0)
    killed = [kill_a_driver(tmp_path, delays.uniform(0, 6), in_training=False) for _ in range(9)]
    open_ = break_off(tmp_path)
    state = states(tmp_path)[0]
    with state.open("r+b") as file:
        file.truncate(state.stat().st_size // 2)
    killed += [kill_a_driver(tmp_path, delays.uniform(0, 2), in_training=True) for _ in range(2)]
    assert sum(killed) >= 10, log(tmp_path)
    assert finish(tmp_path) == 0, log(tmp_path)
    assert logged(tmp_path) == quiet[1]
    assert not list((tmp_path / "states").glob("*.broken"))
    assert "of them go on where they stopped" in log(tmp_path)
    tracker = Tracker("faults", tmp_path)
    assert open_ <= {run.info.run_id for run in tracker.runs("trial")}
    assert dense_epochs(tmp_path) == [1, 2]


def told(results):
    """All that the driver has written down so far."""
    path = outbox_path(results, "faults")
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def keys(events, what):
    return {event["key"] for event in events if event["event"] == what}


def running(results):
    """Keys of the trials that have started and not ended."""
    trials = [event for event in told(results) if event.get("run_kind") == "trial"]
    return keys(trials, "start") - keys(told(results), "end")


def kill_workers(driver, results, times):
    """All that train, each time after every one of those that run has told of an epoch."""
    killed = set()
    for _ in range(times):
        # What a killed worker had told is heard before another takes its trial on.
        wait_for(
            lambda: (
                is_over(driver) or 0 < len(running(results)) <= len(set(workers(driver)) - killed)
            ),
            "workers for all that run",
        )
        before = len(told(results))

        def all_told(before=before):
            since = keys(told(results)[before:], "metrics")
            return is_over(driver) or (
                running(results) <= since and len(workers(driver)) <= len(running(results))
            )

        wait_for(all_told, "an epoch of every trial")
        for pid in workers(driver):
            killed.add(pid)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def test_a_full_disk_fails_trials_in_a_sentence_and_killed_workers_go_on(quiet, results):
    """Workers are killed more often than a trial survives: an epoch between deaths makes up."""
    folder = results / "states"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("only root can mount a small disk")
    try:
        assert finish(results) == 1, log(results)
    finally:
        subprocess.run(["umount", str(folder)], check=True)
    tracker = Tracker("faults", results)
    failed = [run for run in tracker.runs("trial") if run.info.status == "FAILED"]
    assert len(failed) == 3  # those that train
    for run in failed:
        assert "could not be written, " in run.data.tags["error"]
        assert run.data.params["prune.rate" if "0.5" in run.info.run_name else "seed"]
    assert len(tracker.finished()) == 2

    driver = start(results)
    try:
        kill_workers(driver, results, times=4)
        assert code_of(driver) == 0, log(results)
    finally:
        end(driver)
    assert logged(results) == quiet[1]
    assert not any({"error"} & run.data.tags.keys() for run in tracker.runs("trial"))


def test_mlflow_away_and_its_postgresql_restarted_stop_nothing(quiet, results, monkeypatch):
    """A minute outlasts the trials: the driver waits for the server with all that it has."""
    missing, port = why_no_postgres(), free_port()
    database = None if missing else Postgres(results / "postgres")
    store = database.uri if database else None
    server = start_mlflow(results, port, store)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    driver = start(results)
    try:
        wait_for(lambda: states(results), "a trial in training")
        stop(server)
        time.sleep(60)
        wait_for(lambda: "  1/5  " in log(results), "a trial that ends without MLflow")
        assert not is_over(driver)
        server = start_mlflow(results, port, store)
        if database:
            database.stop()
            time.sleep(5)
            database.start()
        assert code_of(driver) == 0, log(results)
        assert logged(results) == quiet[1]
    finally:
        end(driver)
        stop(server)
        if database:
            database.stop()
    if missing:
        pytest.skip(f"all but the restart of PostgreSQL was done: {missing}")


def test_deaths_in_setting_up_of_memory_and_errors_of_tunes_own_cost_nothing(quiet, results):
    """A worker dies before it has its trial, and one that takes on another's (Ray gives such a
    trial up at once); Ray's memory monitor kills one; Tune gives up."""
    driver = start(results, worker="DiesOfAll")
    try:
        assert code_of(driver) == 0, log(results)
    finally:
        end(driver)
    for what in ("setting up", "of memory", "taking on"):
        assert (results / f"died {what}").exists()
    assert "Ray Tune gave up (RuntimeError: Caught unexpected exception)" in log(results)
    assert logged(results) == quiet[1]
    assert not list((results / "outbox").glob("*.jsonl"))


@pytest.fixture
def nodes(tmp_path):
    """A cluster of three nodes: (its process, what a driver needs to join it)."""
    (tmp_path / "token").write_text("a" * 64)
    token = {"RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")}
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    process = subprocess.Popen(
        [sys.executable, str(TESTS / "nodes.py"), str(tmp_path)],
        env={
            **inherited,
            **token,
            "RAY_AUTH_MODE": "token",
            "RAY_worker_niceness": "0",
            "PYTHONPATH": str(TESTS),  # for faulty_workers.py; the program itself travels
        },
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        address = next(line.split()[1] for line in process.stdout if line.startswith("address"))
        yield process, {"RAY_ADDRESS": address, **token}
        process.stdin.close()
        process.wait(60)
    finally:
        stop(process)


def test_a_node_that_goes_takes_no_epoch_with_it_and_each_has_its_own_images(quiet, results, nodes):
    """The folder of results is what the nodes share, but not the images: those are each node's."""
    cluster, address = nodes
    for folder in (results / "cache").glob("concepts-*"):
        shutil.rmtree(folder)
    for file in (results / "cache").glob("dense-*"):  # is trained on one of the nodes
        file.unlink()
    own = {"SECATEUR_NODE_CACHE": str(results / "driver")}
    driver = start(results, worker="WaitsForAll", **address, **own)
    try:
        wait_for(lambda: is_over(driver) or len(workers(cluster)) == 3, "a trial on each node")
        assert not is_over(driver), log(results)
        for pid in workers(cluster):  # the program has travelled to them
            assert b"/py_modules_files/" in Path(f"/proc/{pid}/environ").read_bytes()
        (results / "go").touch()
        wait_for(lambda: len(states(results)) >= 2, "trials in training")
        print("rm", file=cluster.stdin, flush=True)
        assert code_of(driver) == 0, log(results)
    finally:
        end(driver)
    assert logged(results) == quiet[1]
    assert dense_epochs(results) == [1, 2]
    for place in ("driver", "node0", "node1", "node2"):
        drawn = sorted(folder.name.split("-")[2] for folder in (results / place).iterdir())
        assert drawn == ["probe", "train", "val"]
    assert not list((results / "cache").glob("concepts-*"))

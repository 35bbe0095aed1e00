"""Two different studies at once, with real trials; one of them is killed -9 on the way.

They share every trial's key, the dense network and the folder, or a server.
"""

import io
import time

import pytest
from faults import code_of, end, finish, is_over, kill, log, logged, start, states, wait_for
from rich.console import Console
from servers import free_port, start_mlflow, stop

from sweeps.housekeeping.clean import clean
from sweeps.housekeeping.removable import Wanted
from sweeps.housekeeping.status import status
from sweeps.tracking.tracker import Tracker

pytestmark = [pytest.mark.ray, pytest.mark.long, pytest.mark.timeout(3_600)]
STUDIES = ("one", "two")


@pytest.fixture(autouse=True)
def no_server_from_outside(monkeypatch):
    for name in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS", "SECATEUR_NODE_CACHE"):
        monkeypatch.delenv(name, raising=False)


def both_whole(folders):
    """What each study has in MLFlow, every trial once and with all of its files."""
    found = []
    for study, results in zip(STUDIES, folders, strict=True):
        found.append(logged(results, study))
        tracker = Tracker(study, results)
        for run in tracker.runs("trial"):
            names = {file.path for file in tracker.client.list_artifacts(run.info.run_id)}
            assert {"checkpoint.pt", "units.parquet", "config.json", "network.json"} <= names
            trained = any(step > 0 for _, step in found[-1][run.data.tags["trial_key"]])
            assert not trained or "learning_curve.png" in names
        assert not states(results) and not list((results / "outbox").glob("*.jsonl"))
        assert not any((results / "trials").iterdir())
    assert len(found[0]) == 5
    return found


def run_both(folders, **environment):
    """Start both at once, kill the second in training, and run it once more."""
    drivers = [
        start(results, study, log=results / f"{study}.log", **environment)
        for study, results in zip(STUDIES, folders, strict=True)
    ]
    try:
        own = folders[1] / "states" / STUDIES[1]
        wait_for(lambda: is_over(drivers[1]) or list(own.glob("*.pt")), "a trial of the second")
        assert not is_over(drivers[1]), (folders[1] / "two.log").read_text()
        kill(drivers[1])
        assert finish(folders[1], STUDIES[1], **environment) == 0, log(folders[1])
        assert code_of(drivers[0], 1_800) == 0, (folders[0] / "one.log").read_text()
    finally:
        for driver in drivers:
            end(driver)


def test_two_studies_in_one_fresh_folder(tmp_path):
    run_both([tmp_path, tmp_path])
    one, two = both_whole([tmp_path, tmp_path])
    assert one == two  # on a CPU, to the last bit


def test_two_studies_through_one_server(tmp_path, monkeypatch):
    folders = [tmp_path / study for study in STUDIES]
    for folder in folders:
        folder.mkdir()
    port = free_port()
    server = start_mlflow(tmp_path, port)
    uri = f"http://127.0.0.1:{port}"
    try:
        run_both(folders, MLFLOW_TRACKING_URI=uri)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        one, two = both_whole(folders)
    finally:
        stop(server)
    assert one == two


def test_one_is_looked_at_and_cleaned_while_the_other_runs(tmp_path):
    """`status` and `clean` again and again: the second sweep has all that it needs, and what the
    first has left is gone at the end."""
    assert finish(tmp_path, "one") == 0, log(tmp_path)
    one = logged(tmp_path, "one")
    driver = start(tmp_path, "two")
    told, everything = io.StringIO(), Wanted(caches=True)
    console = Console(file=told, width=160)
    try:
        while not is_over(driver):
            assert status(tmp_path, console) == 0
            assert clean(tmp_path, console, everything, remove=True) == 0
            time.sleep(0.5)
        assert code_of(driver) == 0, log(tmp_path)
    finally:
        end(driver)
    assert "runs: process" in told.getvalue() and "two runs (process" in told.getvalue()
    assert "problem" not in log(tmp_path)
    assert logged(tmp_path, "one") == logged(tmp_path, "two") == one
    assert clean(tmp_path, console, everything, remove=True) == 0
    left = {path.name.partition("-")[0] for path in (tmp_path / "cache").iterdir()}
    assert left == {"dense"}  # from which further trials begin

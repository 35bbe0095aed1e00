"""A sweep of a minute in a process of its own, which can be killed, and what MLflow has of it."""

import contextlib
import dataclasses
import os
import signal
import time
from collections import Counter
from pathlib import Path

import forked
from rich.console import Console
from small_studies import small_sweep

from sweeps.plan.planner import make_plan
from sweeps.plan.sweep import Grid, methods
from sweeps.tracking.tracker import Tracker
from trainables.training.spent import MEASURED

_TESTS = Path(__file__).parent
_SETTINGS = {
    "PYTHONPATH": f"{_TESTS.parent}:{_TESTS}",  # of Ray's workers
    "OMP_NUM_THREADS": "1",
    "RAY_worker_niceness": "0",  # else they wait for all that runs beside them
}
# Of a worker between two steps, and in one, where Tune's wrapper gives the name.
_TITLES = (b"ray::PruningTrial", b"ray::WaitsForAll", b"ray::ResourceTrainable")
ROUNDS = {"prune.schedule": "iterative", "prune.rounds": 2, "finetune.epochs": 2}


def fault_plan(study="faults", **changes):
    """Five trials: dense, retrained, untrained, and two of two rounds of two epochs."""
    sweep = small_sweep(study, **{"data.train_images": 64, **changes})
    grid = Grid({"method": methods("structured", "connection")}, set=ROUNDS)
    return make_plan(dataclasses.replace(sweep, grids=(grid,), controls=False))


def start(results, study="faults", log=None, worker=None, **environment):
    """The driver of the sweep, a process with a session of its own. worker: as in `drive`."""
    # What other tests of this process have set for a Ray of their own is not for this one.
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    return forked.start(
        drive,
        results,
        study,
        worker,
        environment={**inherited, **_SETTINGS, **environment},
        log=log or results / "driver.log",
    )


def is_over(driver):
    return driver.exitcode is not None


def code_of(driver, seconds=600):
    """Its exit code, once it has ended; None if it does not in time."""
    driver.join(seconds)
    return driver.exitcode


def kill(driver):
    """kill -9 of the driver; Ray's own processes follow their parent."""
    driver.kill()
    driver.join()


def end(driver):
    """Whatever a failed test may have left."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(driver.pid, signal.SIGKILL)
    kill(driver)


def finish(results, study="faults", **environment):
    """Run the sweep to its end; its exit code."""
    driver = start(results, study, **environment)
    try:
        return code_of(driver)
    finally:
        end(driver)


def workers(process):
    """Process ids of the workers with a trial that a driver, or a cluster, has started."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            name = (entry / "cmdline").read_bytes()
            if name.startswith(_TITLES) and process.pid in _ancestors(int(entry.name)):
                found.append(int(entry.name))
        except (OSError, ValueError):
            continue  # gone by now
    return found


def _ancestors(pid):
    while pid > 1:
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        yield pid


def wait_for(condition, what, seconds=480):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.05)


def states(results):
    return list((results / "states").rglob("*.pt"))


def log(results):
    return (results / "driver.log").read_text()


def logged(results, study="faults"):
    """Trial key -> {(metric, step): value}; fails where a run or a point is there twice."""
    tracker = Tracker(study, results)
    runs = tracker.runs("trial")
    twice = [key for key, n in Counter(r.data.tags["trial_key"] for r in runs).items() if n > 1]
    assert not twice, f"trials with two runs: {twice}"
    found = {}
    for run in runs:
        assert run.info.status == "FINISHED", f"{run.info.run_name} is {run.info.status}"
        points = {}
        for name in run.data.metrics:
            if name.startswith(MEASURED):
                continue
            for point in tracker.client.get_metric_history(run.info.run_id, name):
                assert (name, point.step) not in points, f"{name} is there twice at {point.step}"
                points[name, point.step] = str(point.value)  # "nan" equals "nan"
        found[run.data.tags["trial_key"]] = points
    return found


def drive(results, study, worker=None):
    """What `make sweep` does, without the report: it has tests of its own, and takes as long as
    all trials together. worker: name of one of faulty_workers.py, in the place of real ones.
    """
    import sweeps.run

    if worker:
        import faulty_workers

        sweeps.tune.fit.PruningTrial = getattr(faulty_workers, worker)
        faulty_workers.fail_around(worker)
    sweeps.run.write_report = lambda *_: None
    try:
        return sweeps.run.run_sweep(fault_plan(study), results, Console(width=110))
    except (ValueError, OSError) as error:
        print("refused:", error)
        return 2
    except KeyboardInterrupt:
        return 130

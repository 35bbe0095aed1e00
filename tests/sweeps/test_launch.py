"""What a trial asks of Ray, and what Ray is asked before it; most of it without a Ray."""

import dataclasses
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from ray.tune.trainable.metadata import _TrainingRunMetadata as RunMetadata
from small_studies import small_base, small_sweep

from sweeps.plan.machine import trial_resources
from sweeps.tune.events import DEATHS, SweepCallback
from sweeps.tune.launch import _run_all, connect
from sweeps.tune.ready import require_ray
from sweeps.tune.searcher import PlannedSearch
from trainables.workspace import Workspace

MACHINE = {"CPU": 8.0, "memory": 16e9}
GPUS = {**MACHINE, "GPU": 2.0}
HEAD = {"memory": 8e9}  # of a cluster whose workers come when trials wait


def asked(cluster, device="auto", may_grow=False, **changes):
    """(CPUs, GPUs) of a trial of the small study."""
    sweep = small_sweep(**{"compute.device": device})
    sweep = dataclasses.replace(sweep, cpus_per_trial=2.0, **changes)
    resources = trial_resources(sweep, cluster, may_grow=may_grow)
    assert resources["memory"] == 1.5e9
    return resources["cpu"], resources["gpu"]


def test_a_trial_takes_its_share_of_what_is_there():
    assert asked(MACHINE) == asked(GPUS, "cpu") == (2, 0)
    assert asked(GPUS) == asked(GPUS, "cuda") == (2, 0.25)
    assert asked({**MACHINE, "CPU": 1.0}) == (1, 0)
    assert asked(GPUS, gpus_per_trial=2.0) == (2, 2)


def test_a_cluster_that_grows_from_nothing_is_asked_for_all_that_the_study_says():
    assert asked(HEAD, may_grow=True) == asked(HEAD, "cuda", may_grow=True) == (2, 0.25)
    assert asked(HEAD, "cpu", may_grow=True) == (2, 0)
    assert asked(MACHINE, may_grow=True) == (2, 0)
    assert asked(MACHINE, "cuda", may_grow=True) == (2, 0.25)


@pytest.mark.parametrize(
    ("cluster", "changes", "sentence"),
    [
        (MACHINE, {"device": "cuda"}, "needs a GPU and this Ray has none; use 'auto'"),
        (GPUS, {"gpus_per_trial": 4.0}, "a trial needs 4 GPUs, the cluster has 2"),
        ({"CPU": 8.0, "memory": 1e9}, {}, "needs 1.5 GB of memory, Ray has 1.0 GB to give"),
    ],
)
def test_what_would_wait_for_ever_is_refused(cluster, changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        asked(cluster, **changes)


@pytest.fixture
def alone(monkeypatch):
    for name in ("RAY_ADDRESS", "RAY_TMPDIR", "TMPDIR"):
        monkeypatch.delenv(name, raising=False)


def test_a_folder_that_ray_cannot_use_is_refused_before_it_starts(alone, monkeypatch, tmp_path):
    require_ray()
    for folder in (f"{tmp_path}/{'x' * 90}", "/" + "ä" * 30):
        monkeypatch.setenv("TMPDIR", folder)
        with pytest.raises(ValueError, match="at most [34]. characters for Ray's sockets, TMPDIR="):
            require_ray()
        assert not Path(folder).exists()
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    require_ray()
    (tmp_path / "file").touch()
    for folder in ("/proc/nowhere", "/dev/null"):
        monkeypatch.setenv("RAY_TMPDIR", folder)
        with pytest.raises(
            ValueError, match=f"must be able to write its files in {folder}, it can"
        ):
            require_ray()
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    monkeypatch.setattr("sweeps.tune.ready._BYTES", 1e18)
    with pytest.raises(
        ValueError, match="needs 1,000,000,000.0 GB of free disk for its files in /tmp"
    ):
        require_ray()


@pytest.fixture
def other_program():
    """Answers every caller by some bytes; None: by nothing, and keeps the connection."""
    held = []

    def serve(answer):
        here = socket.create_server(("127.0.0.1", 0))
        held.append(here)

        def run():
            while True:
                try:
                    caller, _ = here.accept()
                except OSError:
                    return
                held.append(caller)
                if answer is not None:
                    caller.sendall(answer)
                    caller.close()

        threading.Thread(target=run, daemon=True).start()
        return f"127.0.0.1:{here.getsockname()[1]}"

    yield serve
    for each in held:
        each.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2p1\r\n",
        b"-ERR unknown command 'PRI'\r\n",
        b"220 mail ready\r\n",
        b"\x15\x03\x01\x00\x02\x02\x16",
        b"",
        None,
    ],
    ids=["HTTP", "ssh", "Redis", "mail", "TLS", "closes", "silent"],
)
def test_a_port_that_is_not_rays_is_refused_in_seconds(monkeypatch, other_program, answer):
    monkeypatch.setenv("RAY_ADDRESS", other_program(answer))
    monkeypatch.setattr("sweeps.tune.ready._FIRST_WORD", 0.5)
    started = time.monotonic()
    with pytest.raises(ValueError, match=r"RAY_ADDRESS.*unset it to run on this machine"):
        require_ray()
    assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("127.0.0.1:9", "must answer at RAY_ADDRESS=127.0.0.1:9, none does .*refused"),
        ("127.0.0.1:99999", "must answer at"),
        ("nohost.invalid:6379", "must answer at"),
        ("127.0.0.1:６３７９", "must be HOST:PORT of a cluster's head"),
        ("127.0.0.1", "must be HOST:PORT of a cluster's head, got 127.0.0.1"),
        (":6379", "must be HOST:PORT"),
        ("head:port", "must be HOST:PORT"),
        ("http://127.0.0.1:8265", "must be HOST:PORT"),
        ("local", "must be that of a cluster; unset it"),
        ("ada:love@127.0.0.1:9", r"RAY_ADDRESS=\*\*\*@127.0.0.1:9"),
        (
            "redis://:love@127.0.0.1:9",
            r"must be HOST:PORT of a cluster's head, got redis://\*\*\*@",
        ),
    ],
)
def test_addresses_that_no_cluster_can_have_are_refused(monkeypatch, address, sentence):
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(ValueError, match=sentence) as refused:
        require_ray()
    assert "love" not in str(refused.value)


_OWN_RAY = """
import os, subprocess, sys
from pathlib import Path
from sweeps.tune.ready import require_ray
require_ray()
from sweeps.tune.launch import connect
connect()
import ray
print("worker", ray.get(ray.remote(lambda: __import__("sys").executable).remote(), timeout=200))
children = {str(os.getpid())}
parents = {}
for stat in Path("/proc").glob("[0-9]*/stat"):
    try:
        parents[stat.parent.name] = stat.read_text().rpartition(")")[2].split()[1]
    except OSError:
        pass
for _ in parents:
    children |= {pid for pid, parent in parents.items() if parent in children}
inodes = set()
for pid in children:
    for link in Path(f"/proc/{pid}/fd").glob("*"):
        try:
            inodes.add(os.readlink(link))
        except OSError:
            pass
for table in ("tcp", "tcp6"):
    for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
        words = line.split()
        if words[3] == "0A" and f"socket:[{words[9]}]" in inodes:
            print("listens", words[1].rpartition(":")[0])
"""


@pytest.mark.slow
@pytest.mark.ray
def test_a_ray_of_our_own_is_on_loopback_with_a_token_in_no_file_from_any_path(tmp_path):
    """In a clone whose path has blanks, under a home that cannot be written."""
    venv = tmp_path / 'a clone; it\'s "mine"'
    (venv / "bin").mkdir(parents=True)
    python = venv / "bin" / "python"
    python.symlink_to(os.path.realpath(sys.executable))
    home = Path(os.path.realpath(sys.executable)).parent
    (venv / "pyvenv.cfg").write_text(f"home = {home}\n")
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = venv / "lib" / version / "site-packages"
    packages.mkdir(parents=True)
    own = next(path for path in map(Path, sys.path) if path.name == "site-packages")
    (packages / "all.pth").write_text(f"{own}\n{Path(__file__).parents[2]}\n")
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "TMPDIR"))}
    done = subprocess.run(
        [str(python), "-c", _OWN_RAY],
        env={**inherited, "HOME": "/proc/nowhere"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=500,
    )
    said = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    assert ["worker", str(python)] in said, done.stderr[-2_000:]
    listening = {address for what, address in said if what == "listens"}
    assert listening and listening <= {
        "0100007F",
        "0000000000000000FFFF00000100007F",
        "0" * 31 + "1",
    }


def test_sigterm_while_ray_starts_is_broken_off_and_no_failure(monkeypatch):
    """Ray has a handler of its own by then: it raises SystemExit(15)."""

    def ends(**_):
        raise SystemExit(15)

    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray.init", ends)
    with pytest.raises(KeyboardInterrupt):
        connect()


@pytest.mark.parametrize("what", ["_actor_start_failed", "_actor_task_failed"])
def test_a_worker_that_the_memory_monitor_kills_has_died_and_ends_no_sweep(what):
    """Of Ray's own (2.60) the error comes through Tune."""
    from ray.air.execution._internal import TrackedActor
    from ray.air.execution._internal.tracked_actor_task import TrackedActorTask
    from ray.exceptions import GetTimeoutError, OutOfMemoryError, RayActorError
    from ray.tune.execution import tune_controller as controller

    killed = OutOfMemoryError("1 worker(s) were killed due to the node running low on memory.\n…")
    for error, word in [(killed, "the memory of its machine was used up"), (GetTimeoutError(), "")]:
        manager, told = controller.RayActorManager(resource_manager=Mock()), []
        actor = TrackedActor(1, on_error=lambda _, error, told=told: told.append(error))
        manager._live_actors_to_ray_actors_resources[actor] = (Mock(), Mock())
        task = TrackedActorTask(actor, on_error=lambda _, error, told=told: told.append(error))
        getattr(manager, what)(actor if "start" in what else task, error)
        assert told and all(isinstance(e, RayActorError) and word in str(e) for e in told)
        assert "\n" not in str(told[0])


class Runs:
    """Stands for Tune and the callback of a sweep: what each run of Tune does, by turns.

    turns: why Tune gave up ("" where it did not), how many reports came, which trials ended, and
    which were dropped.
    """

    def __init__(self, *turns):
        self.turns, self.ran, self.notes = list(turns), [], []
        self.n_news, self.ended, self.unwritten, self.dropped = 0, set(), set(), []
        self.stopping, self.progress = None, SimpleNamespace(note=self.notes.append)

    def take_dropped(self):
        dropped, self.dropped = self.dropped, []
        return dropped

    def __call__(self, left, search):
        self.ran.append([config.seed for config in left])
        gave_up, n_news, ended, dropped = self.turns.pop(0)
        self.n_news += n_news
        self.ended |= {config.key for config in left if config.seed in ended}
        self.dropped = [config for config in left if config.seed in dropped]
        return gave_up


TRIALS = [small_base(seed=seed) for seed in range(4)]


def test_what_a_trial_survives_is_counted_anew_after_each_epoch(tmp_path):
    """Of deaths that Ray does not repeat: before a trial runs, or while it is taken on."""
    progress = Mock(started_keys={TRIALS[0].key})
    callback = SweepCallback(Mock(), progress, Workspace(tmp_path))
    trial = SimpleNamespace(
        config={"trial": TRIALS[0]}, run_metadata=SimpleNamespace(num_failures=0)
    )
    for n_deaths in (DEATHS, DEATHS):
        for _ in range(n_deaths):
            callback.on_trial_error(0, [], trial)
            assert callback.take_dropped() == [TRIALS[0]]
        callback.on_trial_result(0, [], trial, {"epochs": [], "epoch": 1, "metrics": {}})
    assert not callback.problems and not callback.ended


def test_ray_keeps_no_statistics_of_what_has_ended(tmp_path):
    """Kilobytes of each trial in the driver, and in Ray's state file, to the end of the sweep."""
    callback = SweepCallback(Mock(), Mock(), Workspace(tmp_path))
    kept = RunMetadata(n_steps=[5, 10])
    for step in range(12):
        for number in range(20):
            kept.update_metric(f"number {number}", float(step), step)
    before = len(kept.get_json_state())
    callback.on_trial_complete(0, [], SimpleNamespace(run_metadata=kept))
    assert len(kept.get_json_state()) < before / 10 and not callback.problems
    assert RunMetadata.from_json_state(kept.get_json_state()).metric_analysis == {}


def test_what_had_not_ended_when_tune_gave_up_is_launched_again():
    runs = Runs(("an error", 3, {0}, {2}), ("", 1, {1, 2, 3}, ()))
    assert _run_all(runs, TRIALS, None, runs) == ([], False)
    assert runs.ran == [[0, 1, 2, 3], [2, 1, 3]]
    assert runs.notes == ["Ray Tune gave up (an error): what has not ended is launched again"]


def test_a_tune_that_gives_up_again_and_again_ends_the_sweep_with_its_reason():
    never = ("an error", 0, (), ())
    runs = Runs(("an error", 5, {0}, ()), never, never)
    problems, interrupted = _run_all(runs, TRIALS, None, runs)
    assert problems == ["Ray Tune gave up (an error): make sweep goes on"] and not interrupted
    assert runs.ran == [[0, 1, 2, 3], [1, 2, 3], [1, 2, 3]]


def test_a_sweep_that_is_broken_off_is_not_launched_again():
    runs = Runs(("", 1, {0}, ()))
    assert _run_all(runs, TRIALS, None, runs) == ([], True)


def test_a_search_goes_on_where_tune_gave_up():
    proposals = Mock(wanted=1)
    proposals.next.side_effect = lambda: setattr(proposals, "wanted", 0) or TRIALS[3]
    search = PlannedSearch(TRIALS[:3], proposals)

    class Searched(Runs):
        def __call__(self, left, search):
            n = 2 if self.turns[0][0] else search.n_to_come
            names = [f"{len(self.ran)}-{i}" for i in range(n)]
            return super().__call__([search.suggest(name)["trial"] for name in names], search)

    runs = Searched(("an error", 1, {0}, ()), ("", 1, {1, 2, 3}, ()))
    assert _run_all(runs, TRIALS[:3], search, runs) == ([], False)
    assert runs.ran == [[0, 1], [1, 2, 3]]

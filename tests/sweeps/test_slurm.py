"""deploy/slurm.sh: with stand-ins for Slurm's commands, once with a real sweep on three nodes."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from faults import finish, logged, states, wait_for
from slurm import job, tools

SCRIPT = Path(__file__).parents[2] / "deploy" / "slurm.sh"
TESTS = Path(__file__).parents[1]


def begin(environment, *words, log):
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "SLURM_"))}
    with log.open("a") as file:
        return subprocess.Popen(
            ["bash", str(SCRIPT), *words],
            env=inherited | environment,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def end(process):
    """The node goes down: all that the job has started is gone at once."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if b"SLURM_JOB_ID=4711" in (entry / "environ").read_bytes():
                os.kill(int(entry.name), signal.SIGKILL)
        except OSError:
            continue
    process.wait()


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="shellcheck is not installed")
def test_shellcheck_has_nothing_to_say():
    checked = subprocess.run(["shellcheck", SCRIPT], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


PYTHON = """#!/bin/sh
echo "$* ; $RAY_ADDRESS $RAY_AUTH_MODE" >> {0}/said
case "$*" in
*" start "*)
    [ "$(stat -c %a "$RAY_AUTH_TOKEN_PATH")" = 600 ] || exit
    [ "$(stat -c %a "$(dirname "$RAY_AUTH_TOKEN_PATH")")" = 700 ] || exit
    case "$FAILS $*" in "once "*" --address="*) mkdir {0}/failed && exit 1 ;; esac
    wc -c < "$RAY_AUTH_TOKEN_PATH" >> {0}/token
    exec sleep 600 ;;
*" sweep "*) trap 'echo driver ended >> {0}/said; exit 130' TERM
    until [ "$(cat {0}/token | wc -l)" -ge "$WAITS" ]; do sleep 0.05; done
    [ -z "$ENDS" ] || exit "$ENDS"
    touch {0}/runs; while :; do sleep 0.05; done ;;
esac
"""


@pytest.fixture
def slurm(tmp_path):
    """Starts the script with a stand-in for Python, and says what that was told."""
    (tmp_path / "python").write_text(PYTHON.format(tmp_path))
    (tmp_path / "python").chmod(0o755)
    path = f"{tools(tmp_path / 'tools')}:{os.environ['PATH']}"
    started = []

    def start(n_nodes, **environment):
        told = job(tmp_path, tmp_path, n_nodes=n_nodes) | {"PATH": path, **environment}
        told |= {"PYTHON": str(tmp_path / "python"), "WAITS": str(n_nodes if n_nodes > 1 else 0)}
        (tmp_path / "token").touch()
        words = ("--study", "my study.py")
        started.append(begin(told, *words, log=tmp_path / "log"))
        return started[-1]

    yield start, tmp_path
    for process in started:
        end(process)


def test_on_one_node_ray_is_the_sweeps_own(slurm):
    start, folder = slurm
    assert start(1, ENDS="0").wait(30) == 0
    assert (folder / "said").read_text() == "-m sweeps sweep --study my study.py ;  \n"


def test_on_three_nodes_ray_wants_a_token_and_shows_no_dashboard(slurm):
    start, folder = slurm
    assert start(3, ENDS="1").wait(60) == 1
    said = (folder / "said").read_text().splitlines()
    starts = [line for line in said if " start " in line]
    assert len(starts) == 3 and all(line.endswith(" token") for line in said)
    (head,) = (line for line in starts if "--head" in line)
    assert "--dashboard-host=127.0.0.1" in head and "--include-dashboard=false" in head
    assert "--node-ip-address=127.0.0.1 --port=24711" in head
    assert all("--address=127.0.0.1:24711 " in line for line in starts if line != head)
    assert "-m sweeps sweep --study my study.py ; 127.0.0.1:24711 token" in said
    assert (folder / "token").read_text().split() == ["64"] * 3
    assert not list(folder.glob(".secateur-slurm-*"))  # nor is it left behind
    assert not (folder / "tools" / "requeued").exists()  # what has failed would fail again


def test_a_node_that_is_slow_to_start_tries_again(slurm):
    start, folder = slurm
    assert start(3, ENDS="0", FAILS="once").wait(60) == 0
    starts = [line for line in (folder / "said").read_text().splitlines() if " start " in line]
    assert len(starts) == 4 and len((folder / "token").read_text().split()) == 3


@pytest.mark.parametrize(
    ("number", "requeued"),
    [(signal.SIGUSR1, True), (signal.SIGTERM, False)],
    ids=["time", "cancel"],
)
@pytest.mark.parametrize("n_nodes", [1, 3])
def test_the_driver_ends_well_and_the_job_is_requeued_when_time_is_over(
    slurm, number, requeued, n_nodes
):
    start, folder = slurm
    process = start(n_nodes)
    wait_for((folder / "runs").exists, "the driver", 60)
    process.send_signal(number)
    time.sleep(0.01)
    process.send_signal(signal.SIGTERM)  # and again: of another part of Slurm
    assert process.wait(30) == 130
    assert "driver ended" in (folder / "said").read_text()
    assert (folder / "tools" / "requeued").exists() == requeued


@pytest.mark.parametrize("command", [r"driver=\$! code=0", r"wait \$!"], ids=["start", "wait"])
def test_time_that_is_over_between_two_commands_still_ends_the_driver(slurm, command):
    start, folder = slurm
    (folder / "env").write_text(
        f"""trap '[ "$BASH_COMMAND" != "{command}" ] || [ -e {folder}/sent ] || """
        f"""{{ touch {folder}/sent; kill -USR1 $$; }}' DEBUG"""
    )
    assert start(1, BASH_ENV=str(folder / "env")).wait(60) in (130, 143)  # 143: before its trap
    assert (folder / "sent").exists() and (folder / "tools" / "requeued").exists()


def test_a_sweep_that_is_done_is_not_requeued_however_late(slurm):
    start, folder = slurm
    (folder / "python").write_text(
        "#!/bin/sh\ntrap 'exit 0' TERM\ntouch runs\nwhile :; do :; done\n"
    )
    process = start(1)
    wait_for((folder / "runs").exists, "the driver", 60)
    process.send_signal(signal.SIGUSR1)
    assert process.wait(30) == 0 and not (folder / "tools" / "requeued").exists()


STUDY = """
import dataclasses

from faults import ROUNDS
from small_studies import small_sweep

from sweeps.plan.sweep import Grid, methods

STUDY = dataclasses.replace(
    small_sweep(**{"data.train_images": 64}),
    grids=(Grid({"method": methods("structured", "connection")}, set=ROUNDS),),
    controls=False,
)
"""


@pytest.mark.ray
@pytest.mark.long
@pytest.mark.timeout(3_600)
def test_a_sweep_on_three_nodes_that_is_killed_and_requeued_loses_nothing(tmp_path):
    """Once as by a node that fails, once since its time is over; then it is as if undisturbed."""
    quiet, results = tmp_path / "quiet", tmp_path / "results"
    for folder in (quiet, results, tmp_path / "home"):
        folder.mkdir()
    (tmp_path / "slurmed.py").write_text(STUDY)
    words = ("--study", str(tmp_path / "slurmed.py"), "--results", str(results))
    path = f"{tools(tmp_path / 'tools')}:{os.environ['PATH']}"
    log = tmp_path / "log"

    def run(n):
        told = job(tmp_path / "home", TESTS.parent, n_nodes=3, run=n)
        own = {"PATH": path, "PYTHONPATH": str(TESTS), "OMP_NUM_THREADS": "1"}
        return begin(told | own | {"RAY_worker_niceness": "0"}, *words, log=log)

    process = run(0)
    try:
        wait_for(lambda: process.poll() is not None or states(results), "a trial in training", 900)
        assert process.poll() is None, log.read_text()
        end(process)
        before = {path: path.stat().st_mtime_ns for path in states(results)}
        process = run(1)
        wait_for(
            lambda: (
                process.poll() is not None
                or {p: p.stat().st_mtime_ns for p in states(results)} != before
            ),
            "another epoch",
            900,
        )
        process.send_signal(signal.SIGUSR1)
        code = process.wait(600)
        assert code in (0, 130), log.read_text()
        assert (tmp_path / "tools" / "requeued").exists() == (code == 130)
        process = run(2)
        assert process.wait(1_800) == 0, log.read_text()
    finally:
        end(process)
    assert log.read_text().count("job 4711 on") == 3
    assert finish(quiet) == 0
    assert logged(results, "slurmed") == logged(quiet)
    assert not states(results) and not list((results / "outbox").glob("*.jsonl"))
    assert not list((tmp_path / "home").glob(".secateur*"))
    assert (results / "report" / "slurmed" / "report.html").exists()

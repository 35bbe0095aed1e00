"""What importing this program does to the process of somebody else."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sweeps.tracking.quiet import settled

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SCRIPT = """
import os, matplotlib
before, looks = dict(os.environ), dict(matplotlib.rcParams)
{}
ours = [n for n in os.environ if n.startswith("MLFLOW_") and os.environ[n] != before.get(n)]
print("changed:", sorted(set(ours) - {{"MLFLOW_DISABLE_TELEMETRY"}}))
print("looks:", sorted(n for n, v in looks.items() if matplotlib.rcParams[n] != v))
"""


@pytest.mark.parametrize(
    "line",
    [
        "from sweeps.report import load",
        "import sweeps.tracking.tracker, sweeps.tracking.sync, sweeps.tracking.outbox",
        "from trainables.trial import run_trial; from sweeps.studies import load_study",
    ],
)
def test_a_notebook_keeps_its_looks_and_mlflows_retries(line):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW", "RAY"))}
    said = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(line)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert said.splitlines()[-2:] == ["changed: []", "looks: []"]


@pytest.mark.parametrize(
    ("line", "heavy"),
    [
        ("from sweeps.report import load", {"torch", "ray", "optuna", "matplotlib"}),
        ("import sweeps.tracking.outbox, sweeps.tracking.server", {"torch", "ray", "optuna"}),
        (
            "import sweeps.arguments, sweeps.__main__",
            {"torch", "ray", "optuna", "mlflow", "pandas"},
        ),
        ("import sweeps.plan.planner", {"ray", "mlflow"}),
    ],
)
def test_what_is_imported_brings_nothing_that_it_does_not_need(line, heavy):
    script = f"import sys; {line}; print(*set(sys.modules) & {heavy})"
    said = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert said.stdout.split() == []


def test_a_driver_leaves_the_environment_as_it_was(monkeypatch):
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "300")
    before = dict(os.environ)
    with settled():
        assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "0"
        assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "300"  # its owner knows better
    assert dict(os.environ) == before

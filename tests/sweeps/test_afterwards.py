"""`--then`: run at the end of a sweep, however it ends."""

import os
import subprocess
import sys

import pytest

import sweeps.__main__ as cli
from sweeps.arguments import parser
from sweeps.make import options
from sweeps.report.files import PAGE

TELL = "env | grep ^SECATEUR_ | sort > told; echo $MLFLOW_TRACKING_URI >> told"


@pytest.fixture
def ends(monkeypatch, tmp_path):
    """A sweep that ends as it is told to, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def how(outcome):
        def ended(*_):
            os.environ["MLFLOW_TRACKING_URI"] = "what a sweep has made of it"
            if isinstance(outcome, int):
                return outcome
            raise outcome

        monkeypatch.setattr(cli, "_run", ended)

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@host")
    return how


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (0, 0),
        (1, 1),
        (ValueError("refused"), 2),
        (KeyboardInterrupt(), 130),
        (RuntimeError("what nobody thought of"), 1),
        (SystemExit(0), 1),
    ],
)
def test_it_is_run_however_the_sweep_ends(ends, tmp_path, outcome, code, capfd):
    ends(outcome)
    page = tmp_path / "results" / "report" / "demo" / PAGE
    page.parent.mkdir(parents=True)
    page.touch()
    assert cli.main(["sweep", "--then", TELL]) == code
    assert (tmp_path / "told").read_text().splitlines() == [
        f"SECATEUR_EXIT_CODE={code}",
        f"SECATEUR_REPORT={page}",
        f"SECATEUR_RESULTS={tmp_path / 'results'}",
        "SECATEUR_STUDY=demo",
        "http://user:secret@host",
    ]


def test_without_a_report_it_is_told_so(ends, tmp_path):
    ends(1)
    (tmp_path / "mine.py").touch()
    assert cli.main(["sweep", "--study=mine.py", "--then", TELL]) == 1
    assert "SECATEUR_REPORT=\n" in (tmp_path / "told").read_text()
    assert "SECATEUR_STUDY=mine\n" in (tmp_path / "told").read_text()


@pytest.mark.parametrize("command", ["exit 7", "no-such-program-here", "kill -9 $$"])
def test_its_own_end_is_said_and_changes_nothing(ends, capfd, command):
    ends(0)
    assert cli.main(["sweep", "--then", command]) == 0
    assert f"--then failed: {command} ended with" in capfd.readouterr().err


def test_a_command_that_is_none_is_refused(ends, capsys):
    ends(0)
    with pytest.raises(SystemExit) as refused:
        cli.main(["sweep", "--then", "  "])
    assert refused.value.code == 2 and "must be a command" in capsys.readouterr().err
    assert cli.main(["sweep"]) == 0


def test_make_passes_it_on_as_it_was_typed():
    typed = "mail -s \"$SECATEUR_STUDY: $(date)\" me < /dev/null; echo 'x'"
    words = options("sweep", {"RESULTS": "results", "THEN": typed})
    assert words[-1] == f"--then={typed}"
    assert parser().parse_args(words).then == typed


def test_it_is_run_where_a_scheduler_ends_a_sweep_that_is_still_planned(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import time\nprint('planning', flush=True)\ntime.sleep(60)\n"
    )
    words = [sys.executable, "-m", "sweeps", "sweep", "--study=mine.py", "--then", "touch then"]
    process = subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert "planning" in process.stdout.readline()
    process.terminate()
    assert process.wait(60) == 130 and (tmp_path / "then").exists()

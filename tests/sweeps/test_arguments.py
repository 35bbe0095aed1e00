"""The command line as a user meets it: every answer is a sentence, at once, and steers nothing."""

import io
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sweeps.__main__ import main
from sweeps.plan.planner import make_plan
from sweeps.studies import load_study
from sweeps.terminal import Terminal, printable, word_after
from sweeps.values import value_of


def said(capsys, *words):
    """Exit code and what stands on the standard error; never a traceback."""
    try:
        code = main(list(words))
    except SystemExit as end:
        code = end.code
    error = capsys.readouterr().err
    assert "Traceback" not in error and error.count("\n") <= 1
    return code, error


LOOP = "a link that leads to itself"


@pytest.fixture
def loop(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    return tmp_path / "a"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["ui", "--port", "70000"], "must be a port from 1 to 65535, got '70000'"),
        (["ui", "--port", "0"], "must be a port from 1 to 65535, got '0'"),
        (["ui", "--port", "-1"], "port"),
        (["ui", "--port", "5e3"], "must be a port"),
        (["ui", "--port", "٥٠٠٠"], "must be a port"),
        (["plan", "--speed", "1e-300,1"], "must be a number from 0.001 to 1,000,000,000"),
        (["plan", "--speed", "1,inf"], "got 'inf'"),
        (["plan", "--speed", "1"], "must be TRAIN,EVALUATE in images per second"),
        (["plan", "--speed", "1,2,3"], "must be TRAIN,EVALUATE"),
        (["plan", "--speed", "fast,slow"], "must be a number from .*, got 'fast'"),
        (["plan", "--gpus", "nan"], "must be a number from 0.01 to 100,000, got 'nan'"),
        (["plan", "--gpus", "1e308"], "got '1e308'"),
        (["plan", "--gpus", "0"], "got '0'"),
        (["plan", "--gpus", "-inf"], "gpus"),
        (["plan", "--gpus", "１"], "must be a number from 0.01 to 100,000, got '１'"),
        (["plan", "--gpus", "1_0"], "got '1_0'"),
        (["plan", "--speed", "٣٠,30"], "got '٣٠'"),
        (["plan", "--results", ""], "must name a folder, got ''"),
        (["plan", "--results", "a\0b"], "must name a folder"),
        (
            ["plan", "--results", os.fsdecode(b"/tmp/a\xffb")],
            "must be a folder with a name that is",
        ),
        (
            ["plan", "--results", "~nobody_of_that_name/x"],
            "~ of a path must stand for a user's home",
        ),
        (["sweep", "--results", "s3://bucket/x"], "must be a folder that all nodes see"),
        (["plan", "--set", "seed"], "must be NAME=VALUE, got 'seed'"),
        (["plan", "--set", "=3"], "must be NAME=VALUE"),
        (["plan", "--res", "x"], "unrecognized arguments: --res x"),
        (["fly"], "invalid choice: 'fly'"),
        ([], "VERB"),
    ],
)
def test_wrong_options_are_refused_in_a_sentence(capsys, words, sentence):
    code, error = said(capsys, *words)
    assert code == 2 and error.startswith("refused: ") and re.search(sentence, error)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--set", "seed=" + "-" * 90_000 + "1"], "at most 10,000 characters, got 90,001"),
        (["--set", "seed=" + "-" * 9_000 + "1"], "TrialConfig.seed must be an int, got"),
        (["--set", "seed=" + "(" * 9_000], "must be an int"),
        (["--set", "seed=" + "9" * 9_000], "must be an int"),
        (["--set", "finetune.lr=1e999"], "a value must be finite, got 1e999"),
        (["--set", "finetune.lr=-1e999"], "a value must be finite"),
        (["--set", "prune.exclude=(1e999,)"], "a value must be finite"),
        (["--grid", "rate=0.5,1e400"], "a value must be finite, got 1e400"),
        (["--set", "finetune.lr=nan"], "must be a float, got 'nan'"),
        (["--set", "seed=1", "--set", "seed=2"], "SET must name seed once, got it 2 times"),
        (["--grid", "rate=.1", "--grid", "rate=.2"], "GRID must name rate once"),
        (["--set", "seed=1+1j"], "must be an int"),
        (["--data", " "], "must name a folder of images"),
        (["--data", "~nobody_of_that_name/x"], "must stand for a user's home, got '~nobody"),
        (["--study", "../demo"], "STUDY must be a study.s name, or a Python file, there is no"),
        (["--study", "dem"], "STUDY must be one of"),
        (["--study", "demo\x1b[2Jx"], r"got 'demo\\x1b\[2Jx'"),
    ],
    ids=range(17),
)
def test_wrong_values_are_refused_in_a_sentence(capsys, words, sentence):
    code, error = said(capsys, "plan", *words)
    assert code == 2 and re.search(sentence, error) and len(error) < 4_000


def test_a_results_folder_in_a_loop_of_links_is_refused(capsys, loop):
    for folder in (loop, loop / "results"):
        code, error = said(capsys, "plan", "--results", str(folder))
        assert code == 2 and LOOP in error


def test_a_plan_that_takes_long_says_so_and_ends_at_ctrl_c(capsys, monkeypatch):
    """A function of one's own may never return."""

    def hangs(*_, **__):
        time.sleep(0.5)
        raise KeyboardInterrupt

    monkeypatch.setattr("sweeps.__main__._PLAN_SECONDS", 0.05)
    monkeypatch.setattr("sweeps.plan.planner.make_plan", hangs)
    code, error = said(capsys, "plan")
    assert code == 130 and error.startswith("waiting for a plan: its images and networks are look")


def test_an_errno_of_pythons_names_what_must_hold(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("sweeps.studies.load_study", lambda _: (tmp_path / "gone").read_text())
    code, error = said(capsys, "plan")
    assert code == 2 and "[Errno" not in error
    assert "gone must be there for this user to read and write, it is not (No such file" in error


def test_an_error_that_nobody_foresaw_is_one_sentence_and_keeps_its_traceback(capsys, monkeypatch):
    def fail(_):
        raise TypeError("no such thing\nas http://ada:lovelace@host/x")

    monkeypatch.setattr("sweeps.studies.load_study", fail)
    code, error = said(capsys, "plan")
    assert code == 1 and error.startswith("failed: TypeError: no such thing; where it came from is")
    kept = error.split(" is in ")[1].strip()
    text = Path(kept).read_text()
    os.unlink(kept)
    assert "in fail" in text and "lovelace" not in text


def test_a_users_code_that_ends_the_process_says_so(capsys, monkeypatch):
    """Its 0 would say that all is done."""

    def leave(_):
        raise SystemExit(0)

    monkeypatch.setattr("sweeps.studies.load_study", leave)
    code, error = said(capsys, "plan")
    assert code == 1 and error.startswith("failed: SystemExit: 0; where it came from is in ")
    os.unlink(error.split(" is in ")[1].strip())


def test_who_stops_reading_ends_no_work():
    """`make sweep | head`: rich raises SystemExit."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as file:
        console = Terminal(file=file)
        console.print("one")
        console.print("two")


def test_what_is_not_finite_is_refused_wherever_it_comes_from(capsys, monkeypatch):
    def fail(_):
        raise FloatingPointError("logits must be finite")

    monkeypatch.setattr("sweeps.studies.load_study", fail)
    assert said(capsys, "plan") == (2, "refused: logits must be finite\n")


def test_help_and_refusals_need_no_torch():
    """Else they take seconds."""
    modules = (
        "import sys, sweeps.__main__ as m\ntry: m.main(sys.argv[1:])\nexcept SystemExit: pass\n"
    )
    modules += "print(*sorted({'torch', 'ray', 'mlflow', 'pandas', 'numpy'} & set(sys.modules)))"
    for words in (["--help"], ["plan", "--help"], ["ui", "--port", "x"], ["fly"]):
        done = subprocess.run(
            [sys.executable, "-c", modules, *words], capture_output=True, text=True, check=True
        )
        assert done.stdout.splitlines()[-1] == ""


@pytest.mark.slow
def test_a_terminal_of_ascii_is_answered(tmp_path):
    """As of a machine whose locale is C: what it cannot show is replaced."""
    (tmp_path / "größe").mkdir()
    ascii_ = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C"}
    command = [sys.executable, "-m", "sweeps", "report", "--results", str(tmp_path / "größe")]
    done = subprocess.run(command, capture_output=True, env=ascii_, check=False)
    assert done.returncode == 2 and b"e must hold what a sweep logged" in done.stderr
    assert not any(byte > 127 for byte in done.stderr)


HOSTILE = {
    "colour": ("a\x1b[31mb", r"a\x1b[31mb"),
    "title": ("\x1b]0;x\x07", r"\x1b]0;x\x07"),
    "one byte CSI": ("a\x9b2Jb", r"a\x9b2Jb"),
    "carriage return": ("safe\rgone", r"safe\rgone"),
    "backspace": ("a\x08b", r"a\x08b"),
    "right to left": ("gpj.\u202eexe", r"gpj.\u202eexe"),
    "isolate": ("a\u2066b", r"a\u2066b"),
    "line separator": ("a\u2028b", r"a\u2028b"),
    "not UTF-8": (os.fsdecode(b"a\xffb"), r"a\udcffb"),
    "delete": ("a\x7fb", r"a\x7fb"),
    "null": ("a\0b", r"a\x00b"),
}


@pytest.mark.parametrize(("text", "shown"), HOSTILE.values(), ids=HOSTILE)
def test_names_do_not_steer_the_terminal(text, shown):
    from rich.markup import escape
    from rich.table import Table

    assert printable(text) == shown
    console = Terminal(file=io.StringIO(), width=200, force_terminal=True, color_system=None)
    table = Table(title=escape(text))
    table.add_column("x")
    table.add_row(escape(text))
    console.print(escape(text), soft_wrap=True)
    console.print(table)
    printed = console.file.getvalue()
    assert printed.count(shown) == 3
    assert not set(printed) & set("\x07\x08\x9b\r\u202e\u2066\u2028\x7f\0")


def test_brackets_and_colons_of_a_folder_are_not_eaten(capsys, tmp_path):
    for name in ("[x]", "[bold]", "[/]", ":smile:", "a[link=x]b"):
        code, error = said(capsys, "report", "--results", str(tmp_path / name))
        assert code == 2 and f"{tmp_path / name} must hold what a sweep logged" in error


def test_a_long_wait_says_what_it_waits_for(capsys):
    with word_after("a [server] at http://a:b@c", 0.05):
        time.sleep(0.5)
    assert capsys.readouterr().err == ("waiting for a [server] at http://***@c (Ctrl-C ends it)\n")
    with word_after("nothing", 5):
        pass
    time.sleep(0.1)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("text", ["0.5", "'x'", "x", "None", "()", "1e-300", "-3", "[", "1_000"])
def test_values_are_literals_or_text(text):
    value = value_of(text)
    assert value == text or repr(value) or value is None


def test_a_tuple_reaches_the_field_that_takes_it():
    exclude = value_of("('conv2', 'conv3')")
    plan = make_plan(load_study("demo"), settings={"prune.exclude": exclude})
    assert {c.prune.exclude for c in plan.configs if c.prune} == {("conv2", "conv3")}


def test_threads_do_not_wait_long_in_a_loop_unless_the_user_says_how(monkeypatch, tmp_path):
    spins, policy = "GOMP_SPINCOUNT", "OMP_WAIT_POLICY"
    for given in ({policy: "ACTIVE"}, {spins: "7"}, {}):
        for name in (spins, policy):
            monkeypatch.setenv(name, "")  # so that it is put back
            monkeypatch.delenv(name)
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        main(["status", "--results", str(tmp_path)])
        expected = None if policy in given else given.get(spins, "30000")
        assert os.environ.get(spins) == expected


def test_a_folder_that_is_not_there_has_nothing_to_deliver(capsys, tmp_path):
    code, error = said(capsys, "sync", "--results", str(tmp_path / "typo"))
    assert code == 2 and "RESULTS must be a folder that sweeps wrote to" in error

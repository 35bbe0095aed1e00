"""The real Makefile, under which a stand-in for Python notes what reached it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sweeps.make import VARIABLES, options, pairs
from sweeps.values import values_of

ROOT = Path(__file__).parents[2]
ODD = {
    "blank": "/tmp/my results",
    "blanks": "/tmp/a  b/ c",
    "double quote": '/tmp/a"b',
    "single quote": "/tmp/a'b",
    "backquotes": "/tmp/`touch HACKED`",
    "dollar": "/tmp/$HOME/$x",
    "substitution": "/tmp/$(touch HACKED)",
    "function of make": "/tmp/$(shell touch HACKED)",
    "variable of make": "/tmp/${MAKE}$@",
    "semicolon": "/tmp/x; touch HACKED",
    "ampersand": "/tmp/x && touch HACKED & touch HACKED | tee HACKED > HACKED",
    "newline": "/tmp/x\ntouch HACKED",
    "newline and tab": "/tmp/x\n\ttouch HACKED",
    "hash": "/tmp/a#b",
    "backslash": "/tmp/a\\b",
    "backslash at the end": "/tmp/a\\",
    "star": "/tmp/*?[x]",
    "tilde": "~/x",
    "option": "--gpus=3",
    "letters": "/tmp/größe/写真/𝛼",
    "equals": "/tmp/a=b",
    "colon": "a:b%c@d",
}


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A folder with the Makefile, in which everything is as if it were set up."""
    folder = tmp_path_factory.mktemp("a clone with 'blanks'")
    shutil.copy(ROOT / "Makefile", folder)
    for name in ("pyproject.toml", "uv.lock"):
        (folder / name).touch()
    python, uv = folder / ".venv" / "bin" / "python", folder / ".tools" / "bin" / "uv"
    for program in (python, uv):
        program.parent.mkdir(parents=True)
        program.write_text(f'#!/bin/sh\nexec {sys.executable} "$(dirname "$0")/note.py" "$@"\n')
        program.chmod(0o755)
    (python.parent / "note.py").write_text(
        "import json, os, sys\n"
        "json.dump([sys.argv[1:], dict(os.environ)], open('noted.json', 'w'))\n"
    )
    (folder / ".venv" / "ready").touch()
    return folder


def made(clone, *words, **environment):
    """What Python was given: its words, and the command line that follows from its environment."""
    (clone / "noted.json").unlink(missing_ok=True)
    own = {
        name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFL"))
    }
    for name in ("STUDY", "RESULTS", "DATA", "GRID", "SET", "PORT", "SPEED", "GPUS", "NAME"):
        own.pop(name, None)
    subprocess.run(["make", "-s", *words], cwd=clone, check=True, env={**own, **environment})
    assert not (clone / "HACKED").exists()
    words, variables = json.loads((clone / "noted.json").read_text())
    return words, options(words[-1], variables) if words[-1] in VARIABLES else variables


def test_defaults_are_the_demo_in_results(clone):
    words, line = made(clone, "sweep")
    assert words == ["-m", "sweeps.make", "sweep"]
    assert line == ["sweep", "--results=results"]
    assert made(clone, "ui")[1] == ["ui", "--results=results"]


@pytest.mark.parametrize("value", ODD.values(), ids=ODD)
@pytest.mark.parametrize("name", ["DATA", "RESULTS", "STUDY"])
def test_every_value_arrives_as_it_was_typed(clone, name, value):
    assert f"--{name.lower()}={value}" in made(clone, "plan", f"{name}={value}")[1]
    assert f"--{name.lower()}={value}" in made(clone, "plan", **{name: value})[1]


@pytest.mark.parametrize("value", ODD.values(), ids=ODD)
def test_settings_and_axes_arrive_too(clone, value):
    given = f"network.checkpoint={value} seed=1"
    line = made(clone, "sweep", f"SET={given}", f"GRID=method={value}")[1]
    assert line[-3:] == [
        f"--grid=method={value}",
        f"--set=network.checkpoint={value}",
        "--set=seed=1",
    ]


@pytest.mark.parametrize("value", ODD.values(), ids=ODD)
def test_a_command_for_the_end_arrives_too(clone, value):
    assert made(clone, "sweep", f"THEN={value}")[1][-1] == f"--then={value}"
    assert made(clone, "sweep", THEN=value)[1] == ["sweep", "--results=results"]  # of others


def test_two_dollars_are_one_as_everywhere_in_make(clone):
    assert made(clone, "sweep", "DATA=/x/$$y")[1][-1] == "--data=/x/$y"
    assert made(clone, "sweep", "DATA=$$(touch HACKED)")[1][-1] == "--data=$(touch HACKED)"


def test_a_tuple_with_a_blank_is_one_value(clone):
    line = made(clone, "sweep", "SET=prune.exclude=('conv2', 'conv3') finetune.epochs=1")[1]
    assert line[-2:] == ["--set=prune.exclude=('conv2', 'conv3')", "--set=finetune.epochs=1"]


@pytest.mark.parametrize("name", ["DATA", "RESULTS", "STUDY", "GRID", "SET"])
@pytest.mark.parametrize("value", ["", "  "])
def test_a_variable_without_a_value_is_refused(clone, name, value):
    with pytest.raises(ValueError, match=f"{name} must .*, got an empty value"):
        made(clone, "sweep", f"{name}={value}")


def test_what_an_environment_has_for_other_purposes_is_not_ours(clone):
    others = {"PORT": "80", "NAME": "desktop", "GPUS": "8", "SPEED": "fast"}
    for verb in ("ui", "plan", "bench"):
        _, line = made(clone, verb, **others)
        assert not set(others) & set(line) and not any("80" in word for word in line)
    assert made(clone, "ui", "PORT=5001")[1][-1] == "--port=5001"
    assert made(clone, "plan", "SPEED=9,9", "GPUS=2")[1][-2:] == ["--speed=9,9", "--gpus=2"]
    assert made(clone, "bench", "NAME=pruning mis; touch HACKED")[0][2:] == [
        *("pruning", "mis;", "touch", "HACKED")
    ]


def test_clean_results_is_the_command_clean_and_removes_by_yes_alone(clone):
    others = {"REMOVE": "yes", "CACHES": "yes", "OLDER_THAN": "1"}
    assert made(clone, "clean-results", **others)[1] == ["clean", "--results=results"]
    given = ("CACHES=yes", "OLDER_THAN=30", "LARGER_THAN=1GB", "REMOVE=yes")
    assert made(clone, "clean-results", *given)[1][2:] == [
        *("--caches", "--older-than=30", "--larger-than=1GB", "--remove")
    ]
    with pytest.raises(ValueError, match="REMOVE must be yes, got 'no'; else leave it out"):
        made(clone, "clean-results", "REMOVE=no")
    assert made(clone, "status", **others)[1] == ["status", "--results=results"]


def test_clean_leaves_results_and_what_links_lead_to(tmp_path, clone):
    folder = tmp_path / "clone"
    shutil.copytree(clone, folder)
    elsewhere = tmp_path / "elsewhere"
    shutil.move(folder / ".venv", elsewhere)
    (folder / ".venv").symlink_to(elsewhere)
    (folder / "results").mkdir()
    (folder / "results" / "mlflow.db").write_text("weeks")
    for words in (["clean"], ["clean", "RESULTS=."], ["clean", "RESULTS=results"]):
        subprocess.run(["make", *words], cwd=folder, check=True, capture_output=True)
    assert (folder / "results" / "mlflow.db").read_text() == "weeks"
    assert (elsewhere / "ready").exists()
    assert not (folder / ".venv").exists() and not (folder / ".tools").exists()


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a=1 b=2", ["a=1", "b=2"]),
        ("  a=1\t b=2\n", ["a=1", "b=2"]),
        ("a=/my files/x y.pt b=2", ["a=/my files/x y.pt", "b=2"]),
        ("a='x b=3' b=2", ["a='x b=3'", "b=2"]),
        ("a=('p q', 'r=s', ) b=()", ["a=('p q', 'r=s', )", "b=()"]),
        ("a=it's b=here's", ["a=it's", "b=here's"]),
        ("a=( b=2", ["a=(", "b=2"]),
        ("a= b=2", ["a=", "b=2"]),
        ("finetune.lr=1e-3 data.path=/a=b", ["finetune.lr=1e-3", "data.path=/a=b"]),
        ("nonsense", ["nonsense"]),
    ],
)
def test_pairs_end_where_the_next_begins(text, parts):
    assert pairs(text) == parts


def test_commas_inside_brackets_part_no_values():
    assert values_of("0.5,0.8") == [0.5, 0.8]
    assert values_of("") == []
    assert values_of("('a','b'),(),('c', 'd')") == [("a", "b"), (), ("c", "d")]
    assert values_of("'a,b',c") == ["a,b", "c"]
    assert values_of("l1,l2") == ["l1", "l2"]

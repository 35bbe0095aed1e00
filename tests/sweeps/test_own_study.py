"""A study of the user's own: a file anywhere, one to begin with, and images without any study."""

import socket
import sys

import pytest
import torch
from PIL import Image

import sweeps.__main__ as cli
from sweeps.plan.planner import make_plan
from sweeps.studies import load_study, name_of

STUDY = """
from sweeps.plan.sweep import Grid, Sweep, axis, methods
from trainables.config import NetworkConfig, TrainConfig, TrialConfig, PruneConfig
from beside_{0} import RATES

STUDY = Sweep(
    name="whatever",
    purpose="mine",
    base=TrialConfig(
        network=NetworkConfig(name="beside_{0}:small", recipe=TrainConfig()), prune=PruneConfig()
    ),
    grids=[Grid({{"method": methods("structured"), "rate": axis("prune.rate", RATES)}})],
    controls=False,
)
"""
BESIDE = """
from torch import nn

RATES = (0.25, 0.5)

def small(num_classes):
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(8, num_classes),
    )
"""


@pytest.fixture(autouse=True)
def paths(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr("trainables.own_code._ALSO", [])


def written(folder, name="mine", text=None):
    (folder / f"beside_{name}.py").write_text(BESIDE)
    path = folder / f"{name}.py"
    path.write_text(STUDY.format(name) if text is None else text)
    return str(path)


def test_a_study_lies_anywhere_and_finds_what_lies_beside_it(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    path = written(tmp_path, "anywhere")
    monkeypatch.chdir(tmp_path / "elsewhere")
    study = load_study(path)
    assert study.name == name_of(path) == "anywhere"
    plan = make_plan(study)
    assert {c.rate for c in plan.configs if c.prune is not None} == {0.25, 0.5}
    assert all(len(c.network.code) == 16 for c in plan.configs)
    assert load_study("../anywhere.py").name == "anywhere"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "must hold STUDY = Sweep(…), it has nothing of that name"),
        ("STUDY = 3", "must hold STUDY = Sweep(…), it has a int"),
        ("x = 1\nraise KeyError('rate')", "it fails: line 2: KeyError: 'rate'"),
        ("def f(:", "it fails: line 1: SyntaxError"),
        ("import sys\n\nsys.exit(0)", "it fails: line 3: SystemExit: 0"),
        ("import nothing_such", "it fails: line 1: ModuleNotFoundError: No module named"),
    ],
)
def test_a_file_that_is_no_study_is_refused_with_its_line(tmp_path, text, sentence, capsys):
    path = written(tmp_path, "wrong", text)
    assert cli.main(["plan", "--study", path, "--results", str(tmp_path / "r")]) == 2
    refusal = capsys.readouterr().err
    assert sentence in refusal and refusal.count("\n") == 1
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("nowhere.py", "there is no"),
        ("./demo", "there is no"),
        ("/", "there is no"),
        ("demo.py", "is one that comes with Secateur"),
    ],
)
def test_a_path_that_is_no_file_of_ones_own_is_refused(tmp_path, monkeypatch, name, sentence):
    monkeypatch.chdir(tmp_path)
    written(tmp_path, "demo")
    with pytest.raises(ValueError, match=sentence):
        load_study(name)


def test_a_new_study_can_be_planned_as_it_stands_and_is_never_overwritten(tmp_path, capsys):
    path = tmp_path / "my-first.py"
    assert cli.main(["new", str(path)]) == 0
    plan = make_plan(load_study(str(path)))
    assert plan.sweep.name == "my-first" and len(plan.configs) > 10
    assert cli.main(["new", str(path)]) == 2
    assert "must not be there yet" in capsys.readouterr().err
    for wrong in ("mine.txt", "demo.py", "a b.py", "é.py"):
        assert cli.main(["new", str(tmp_path / wrong)]) == 2
    assert sorted(p.name for p in tmp_path.glob("*.*")) == ["my-first.py"]


@pytest.fixture
def photographs(tmp_path):
    for split, n in (("train", 6), ("val", 3)):
        for label in ("cat", "dog"):
            folder = tmp_path / "photos" / split / label
            folder.mkdir(parents=True)
            for i in range(n):
                Image.new("RGB", (80, 70), (40 * i, 90, 20)).save(folder / f"{i}.png")
    return tmp_path / "photos"


FEW = {"recalibrate_images": 8, "score.n_tasks": 2, "score.n_explanations": 2}


def no_network(*_, **__):
    raise OSError(-2, "Name or service not known")


def test_images_without_a_study_are_trained_from_scratch_where_no_weights_are(
    photographs, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(socket, "create_connection", no_network)
    few = [f"--set={name}={value}" for name, value in FEW.items()]
    few += ["--speed", "100,200", "--results", str(tmp_path / "r")]
    assert cli.main(["plan", "--data", str(photographs), *few]) == 0
    said = capsys.readouterr().out
    assert "study folder" in said and "it is trained from scratch, at 64 pixels" in said
    assert "2 classes, 12 images in train/" in said


def test_and_with_imagenets_weights_where_they_are(photographs, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(socket, "create_connection", no_network)
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    (tmp_path / "hub" / "checkpoints" / "googlenet-1378be20.pth").touch()
    plan = make_plan(load_study("folder"), data=str(photographs), settings=FEW)
    assert {c.network.weights for c in plan.configs} == {"imagenet", "random"}
    assert {c.network.head for c in plan.configs if c.network.weights == "imagenet"} == {"new"}
    (tmp_path / "hub" / "checkpoints" / "googlenet-1378be20.pth").unlink()
    plan = make_plan(load_study("folder"), data=str(photographs), settings=FEW)
    assert {c.network.weights for c in plan.configs} == {"train", "random"}

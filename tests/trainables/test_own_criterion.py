"""A criterion that is a user's own class, "module:Class": no file of ours knows it."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_studies import small_base

from sweeps.plan.planner import make_plan
from sweeps.plan.sweep import Grid, Sweep, axis, methods
from trainables.config import NetworkConfig, PruneConfig
from trainables.contents import with_contents
from trainables.trial import run_trial
from trainables.workspace import Workspace

ROOT = Path(__file__).parents[2]
SMALLEST = """
from dataclasses import dataclass
from pruning import OfWeights

@dataclass(frozen=True, kw_only=True)
class Smallest(OfWeights):
    {fields}
    def of_weight(self, weight):
        return {formula}
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write the module of a criterion where the user stands."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def written(name, formula="-weight.double().abs()", fields="", text=None):
        source = SMALLEST.format(formula=formula, fields=fields) if text is None else text
        (tmp_path / f"{name}.py").write_text(source)
        return f"{name}:Smallest"

    return written


@pytest.mark.slow
def test_its_importance_is_what_the_class_says(write, tmp_path):
    name = write("own_a")
    untrained = NetworkConfig(weights="random")
    config = small_base(finetune=None, recalibrate_images=0, network=untrained).replace(
        {"prune.criterion": name, "prune.rate": 0.5}
    )
    kept = torch.load(run_trial(config, Workspace(tmp_path / "r")).folder / "keep.pt")
    theirs = config.replace({"prune.criterion": "l1", "prune.most_important_first": True})
    reversed_ = torch.load(run_trial(theirs, Workspace(tmp_path / "r")).folder / "keep.pt")
    same = sum(int((kept[n] == reversed_[n]).sum()) for n in kept)
    assert same / sum(mask.numel() for mask in kept.values()) > 0.9999  # but for equal weights


def test_its_source_is_part_of_the_key_and_of_no_other(write):
    base = small_base(finetune=None)
    own = base.replace({"prune.criterion": write("own_b")})
    first = with_contents(own)
    assert len(first.prune.code) == 16 and with_contents(own).key == first.key
    write("own_b", "-weight.abs().double()")
    assert with_contents(own).key != first.key
    assert with_contents(base).prune.code == ""
    with pytest.raises(ValueError, match="prune.code.* of a criterion of your own"):
        base.replace({"prune.code": "0" * 16})


def test_its_controls_come_along_and_one_that_counts_is_of_its_source(write):
    name = write("own_c")
    sweep = Sweep(
        name="own",
        purpose="",
        base=small_base(finetune=None),
        grids=[
            Grid(
                {
                    "method": methods("unstructured"),
                    "criterion": axis("prune.criterion", ["l1", name]),
                }
            )
        ],
    )
    prunes = [c.prune for c in make_plan(sweep).configs if c.prune is not None]
    for prune in prunes:
        assert bool(prune.code) == (prune.ranks_by == name)
    assert {p.counts_of for p in prunes} == {None, "l1", name}
    assert {p.criterion for p in prunes if p.most_important_first} == {"l1", name}
    assert len({p.code for p in prunes} - {""}) == 1


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("Smallest = 3", "must name a function, .* has none of that name"),
        ("class Smallest: pass", "must be a class derived from pruning.Criterion"),
        ("def Smallest(): pass", "must be a class derived from pruning.Criterion"),
        ("from pruning import OfWeights\nclass Smallest(OfWeights): pass", "must define of_weight"),
        ("raise KeyError('x')", "cannot be imported: KeyError: 'x' .*line 1"),
    ],
)
def test_what_is_no_criterion_is_refused(write, text, sentence, request):
    name = write(f"own_d{abs(hash(text))}", text=text)
    with pytest.raises(ValueError, match=sentence):
        PruneConfig(criterion=name)


def test_settings_must_have_defaults_and_those_that_we_know_are_set(write):
    with pytest.raises(ValueError, match="must have defaults"):
        PruneConfig(criterion=write("own_e", fields="power: float"))
    prune = PruneConfig(
        criterion=write(
            "own_f", fields="power: float = 2.0\n    change_of: str = 'loss'\n    target: str = 'x'"
        ),
        change_of="logit",
    )
    assert (prune.by.power, prune.by.change_of, prune.by.name) == (2.0, "logit", "Smallest")
    assert prune.by.target == "x"  # the budget of a trial is no setting of a criterion
    base = small_base(finetune=None)
    with pytest.raises(ValueError, match="prune.change_of"):  # of which it has none
        base.replace({"prune.criterion": write("own_g"), "prune.change_of": "logit"})


@pytest.mark.slow
def test_a_process_that_stands_elsewhere_takes_the_copy(write, tmp_path):
    own = small_base(finetune=None).replace({"prune.criterion": write("own_h")})
    config = with_contents(own, tmp_path / "results")
    (tmp_path / "own_h.py").unlink()
    script = (
        "import pickle, sys; from pathlib import Path; from trainables.contents import "
        "hold_own_code as hold\nconfig = pickle.load(sys.stdin.buffer)\n"
        f"hold([config], Path({str(tmp_path / 'results')!r}))\n"
        "print(config.replace({'prune.rate': 0.25}).prune.by.name)"
    )
    import pickle

    said = subprocess.run(
        [sys.executable, "-c", script],
        input=pickle.dumps(config),
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    assert said.stdout.decode().strip() == "Smallest"
    assert replace(config.prune, rate=0.3).by.name == "Smallest"

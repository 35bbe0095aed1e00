"""A schedule and a similarity that are functions of the user's own, "module:function"."""

import json
import sys

import pytest
import torch
from small_studies import small_base

import mis
from pruning import cumulative_rates
from sweeps.plan.planner import make_plan
from sweeps.plan.sweep import Grid, Sweep, axis
from trainables.contents import with_contents
from trainables.scores.similarity import similarity_of
from trainables.trial import run_trial
from trainables.workspace import Workspace

LATE = "def late(rate, done):\n    return {}\n"
SPACE = """
import torch
from mis import Similarity

def colours(device):
    def embed(images):
        return {}
    return {}
"""
MEANS, MADE = "images.float().mean((2, 3))", "Similarity('c', {}, {!r}, embed)"
FITTED = MADE.format(None, "neg_sq_distance")


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write a module where the user stands; its function's name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def written(module, function, text):
        (tmp_path / f"{module}.py").write_text(text)
        return f"{module}:{function}"

    return written


def late(write, module, formula="rate * done**2"):
    return write(module, "late", LATE.format(formula))


def colours(write, module, vectors=MEANS, made=FITTED):
    return write(module, "colours", SPACE.format(vectors, made))


def test_a_schedule_of_ones_own_prunes_as_it_says_and_its_source_is_in_the_key(write):
    base, two = small_base(), {"prune.rounds": 2, "prune.rate": 0.8}
    config = base.replace({"prune.schedule": late(write, "late_a"), **two})
    assert config.prune.rates_of_rounds(0.8) == pytest.approx((0.2, 0.8))
    planned = with_contents(config)
    assert planned.prune.schedule_code and not planned.prune.code
    late(write, "late_a", "rate * done ** 3")
    assert with_contents(config).key != planned.key
    assert not with_contents(base.replace({"prune.schedule": "linear", **two})).prune.schedule_code


@pytest.mark.parametrize(
    ("formula", "sentence"),
    [
        ("rate * (2 - done)", "must rise from above 0 to its rate"),
        ("'much'", "must give a rate, at 0.5 of the rounds to 0.8 it gives 'much'"),
        ("float('nan')", "it gives nan"),
        ("__import__('sys').exit(3)", "it raises SystemExit: 3"),
        ("__import__('torch').set_default_dtype(__import__('torch').float64)", "default dtype as"),
        ("rate / 0", r"it raises ZeroDivisionError: .* \(late_.+\.py, line 2\)"),
    ],
)
def test_a_schedule_that_is_none_is_refused(write, formula, sentence):
    name = late(write, f"late_{len(formula)}", formula)
    with pytest.raises(ValueError, match=sentence):
        small_base().replace({"prune.schedule": name, "prune.rounds": 2, "prune.rate": 0.8})


def test_a_wrong_name_tells_what_is_legal():
    with pytest.raises(
        ValueError, match="prune.schedule must be one of one_shot, .*module:function"
    ):
        small_base().replace({"prune.schedule": "agp", "prune.rounds": 2})
    with pytest.raises(ValueError, match="similarity must be one of .*dreamsim.* of your own"):
        small_base().replace({"score.similarity": "clip"})
    with pytest.raises(ValueError, match="score.code"):
        small_base().replace({"score.code": "0" * 16})


def test_ours_and_ones_own_of_the_same_formula_are_one_schedule(write):
    name = late(write, "late_b", "1 - (1 - rate) ** done")
    config = small_base().replace({"prune.schedule": name, "prune.rounds": 3})
    assert config.prune.rates_of_rounds(0.7) == cumulative_rates("iterative", 0.7, 3)


@pytest.mark.parametrize(
    ("vectors", "made", "sentence"),
    [
        (MEANS, "7", "must give a mis.Similarity, it gives a int"),
        (MEANS, MADE.format(None, "euclid"), "a metric of cosine, neg_sq_distance, got 'euclid'"),
        (MEANS, MADE.format(-1, "neg_sq_distance"), "a slope above 0, or None"),
        (MEANS, MADE.format(None, "cosine"), "vectors of length 1 with metric='cosine'"),
        ("images.mean()", FITTED, "it raises NotImplementedError"),
        ("__import__('sys').exit(3)", FITTED, "it raises SystemExit: 3"),
        ("images.double().mean((2, 3))", FITTED, "vectors float32 .* torch.float64 .2, 3."),
        ("images.float().mean((2, 3)).log()", FITTED, "finite numbers"),
    ],
)
def test_a_similarity_that_is_none_is_refused(write, vectors, made, sentence):
    name = colours(write, "space_a", vectors, made)
    with pytest.raises(ValueError, match=sentence):
        similarity_of(small_base().replace({"score.similarity": name}).score)


@pytest.mark.slow
def test_trials_are_scored_in_a_space_of_ones_own(write, tmp_path):
    """The same pixels by name and by one's own function give the same scores, under other keys."""
    made = "Similarity('p', None, 'cosine', SIMILARITIES['pixels'](device).embed)"
    name = colours(write, "space_b", made=made)
    path = tmp_path / "space_b.py"
    path.write_text(
        path.read_text().replace("import Similarity", "import SIMILARITIES, Similarity")
    )
    config = small_base(finetune=None).replace(
        {"network.weights": "random", "network.recipe": None}
    )
    own, pixels = (config.replace({"score.similarity": s}) for s in (name, "pixels"))
    workspace = Workspace(tmp_path / "r")
    found, wanted = run_trial(own, workspace), run_trial(pixels, workspace)
    assert found.units["mis"].equals(wanted.units["mis"])
    assert found.folder != wanted.folder
    assert found.metrics["mis/pixels_mean"] == found.metrics["mis/mean"]
    path.write_text("raise ImportError('edited since')")  # the copy is what is imported
    again = run_trial(with_contents(own.replace({"score.code": code_of(found.folder)})), workspace)
    assert again.metrics["mis/mean"] == found.metrics["mis/mean"]


def code_of(folder):
    return json.loads((folder / "config.json").read_text())["score.code"]


def test_a_plan_has_the_digests_of_all_of_them_and_chance_has_the_schedule(write):
    names = {
        "prune.schedule": late(write, "late_c"),
        "prune.rounds": 2,
        "score.similarity": colours(write, "space_c"),
    }
    sweep = Sweep(
        name="own",
        purpose="",
        base=small_base(finetune=None).replace(names),
        grids=[Grid({"rate": axis("prune.rate", [0.5, 0.8])})],
    )
    for config in make_plan(sweep).configs:
        assert config.score.code
        if config.prune is not None and config.prune.rounds > 1:
            assert config.prune.schedule_code
    assert isinstance(similarity_of(sweep.base.score), mis.Similarity)
    assert torch.equal(
        similarity_of(sweep.base.score).embed(torch.full((1, 3, 8, 8), 7, dtype=torch.uint8)),
        torch.full((1, 3), 7.0),
    )

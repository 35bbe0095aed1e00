"""Scores beside MIS in a trial: what it logs is computed again from its table; one of one's own."""

import math
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from small_studies import small_base

from mis import AboveZero, Locality
from sweeps.plan.metrics import find
from trainables.artifacts import UNITS
from trainables.config import NetworkConfig
from trainables.contents import own_code_of, with_contents
from trainables.datasets.images import ArrayImages
from trainables.datasets.loading import load_data
from trainables.kept import SetAside
from trainables.scores import passes
from trainables.scores.beside import beside_metrics, score_beside
from trainables.scores.embeddings import ProbeVectors
from trainables.scores.mis import measure, measure_dense
from trainables.training.dense import load_dense
from trainables.trial import run_trial

VALUES = ("monosemanticity", "selectivity", "auprc", "locality")
CONFIG = small_base(
    **{
        "prune.granularity": "filter",
        "prune.scope": "layer",
        "finetune": None,
        "recalibrate_images": 64,
        "data.probe_images": 420,
        "score.similarity": "pixels",
        "scores": ("mis", "monosemanticity", "selectivity", "locality"),
    }
)
DENSE = CONFIG.replace({"prune": None, "recalibrate_images": 0})
OWN = """
from mis import OfMeans

class Loudest(OfMeans):
    def of(self, activations, probe):
        return {"Loudest": activations.amax(0) * FACTOR}
"""


@pytest.mark.slow
def test_what_is_logged_is_computed_again_from_the_table(workspace):
    trial = run_trial(CONFIG, workspace)
    found, units = trial.metrics, pd.read_parquet(trial.folder / UNITS)
    dense = pd.read_parquet(run_trial(DENSE, workspace).folder / UNITS)
    alive = units["counted"] & (units["state"] == "alive")
    for value in VALUES:
        has = alive & units[value].notna()
        assert found[f"{value}/n_units"] == has.sum() > 1000
        assert found[f"{value}/mean"] == pytest.approx(units.loc[has, value].mean(), rel=1e-12)
        np.testing.assert_array_equal(units[f"dense_{value}"], dense[value])
        change = (units[value] - dense[value])[has].dropna()
        assert found[f"{value}/change"] == pytest.approx(change.mean(), rel=1e-9)
        over_units = math.sqrt(change.var(ddof=0) / len(change))
        assert over_units < found[f"{value}/change_error"] < 0.05
        assert 0 < found[f"{value}/shuffled_error"] < 0.01
        assert units.loc[~units["state"].isin(["alive", "unread"]), value].isna().all()
    assert not list(workspace.cache.glob("pass-*"))
    assert [name for name in found if find(name) is None] == []


@pytest.mark.slow
def test_an_interrupted_pass_gives_the_same_as_one_in_a_piece(workspace, monkeypatch, tmp_path):
    data = load_data(CONFIG.data, workspace.cache)
    network = load_dense(CONFIG, data, workspace.cache).eval()
    whole = measure(network, DENSE, data, workspace.cache).beside
    monkeypatch.setattr(passes, "_SAVED_EVERY", 128)

    class PowerCut(Exception):
        pass

    def cut(done, total):
        if done == 256:
            raise PowerCut

    with pytest.raises(PowerCut):
        measure(network, DENSE, data, tmp_path, progress=cut)
    again = []
    found = measure(network, DENSE, data, tmp_path, progress=lambda done, _: again.append(done))
    assert again[0] == 256 + 64
    for name, values in whole.columns.items():
        torch.testing.assert_close(found.beside.columns[name], values, equal_nan=True)
    assert found.beside.chance == whole.chance
    assert not list(tmp_path.glob("pass-*"))
    with pytest.raises(PowerCut):
        measure(network, DENSE, data, tmp_path, progress=cut)
    next(tmp_path.glob("pass-*.means")).unlink()  # then what was saved is of no use
    again.clear()
    with pytest.warns(SetAside, match="the file of means must be there"):
        found = measure(network, DENSE, data, tmp_path, progress=lambda n, _: again.append(n))
    assert again[0] == 64
    torch.testing.assert_close(
        found.beside.columns["auprc"], whole.columns["auprc"], equal_nan=True
    )


@pytest.mark.slow
def test_the_dense_network_is_measured_once_and_kept_apart_from_that_of_other_scores(workspace):
    data = load_data(CONFIG.data, workspace.cache)
    first = measure_dense(CONFIG, data, workspace.cache)
    kept = set(workspace.cache.glob("dense-mis-*"))
    again = measure_dense(CONFIG, data, workspace.cache)
    assert set(workspace.cache.glob("dense-mis-*")) == kept
    for name, values in first.beside.columns.items():
        torch.testing.assert_close(again.beside.columns[name], values, equal_nan=True)
    assert again.beside.chance == first.beside.chance
    alone = measure_dense(CONFIG.replace({"scores": ("mis",)}), data, workspace.cache)
    assert alone.beside.columns == {}
    torch.testing.assert_close(alone.mis, first.mis, equal_nan=True)
    itself = beside_metrics(first.beside, first.counted, again.beside)
    assert itself["locality/change"] == 0 == itself["locality/change_error"]


@pytest.mark.slow
def test_a_score_of_ones_own(workspace, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "own_loud.py").write_text(OWN.replace("FACTOR", "2"))
    named = DENSE.replace({"scores": ("mis", "own_loud:Loudest", "locality")})
    config = with_contents(named, tmp_path / "results")
    assert [own.digest for own in own_code_of(config)] == list(config.scores_code)
    assert len(config.scores_code) == 1 and config.key != named.key
    data = load_data(config.data, workspace.cache)
    network = load_dense(config, data, workspace.cache).eval()
    found = measure(network, config, data, tmp_path / "results").beside
    metrics = beside_metrics(found, torch.ones(len(found.columns["Loudest"]), dtype=torch.bool))
    assert metrics["own/Loudest/mean"] > 0 < metrics["own/Loudest/shuffled_mean"]
    assert metrics["own/Loudest/error"] > 0 and "locality/mean" in metrics
    (tmp_path / "own_loud.py").write_text(OWN.replace("FACTOR", "3"))
    assert with_contents(named).key != config.key


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("def S(a): pass", "must be a class derived from mis.OfMeans or mis.OfMaps"),
        ("from mis import OfMeans\nclass S(OfMeans): pass", "must define of, it does not"),
        (
            "from mis import OfMeans\nclass S(OfMeans):\n    def of(self, a, p): return a",
            "must give a dictionary that has S, got Tensor",
        ),
        (
            "from mis import OfMeans\nclass S(OfMeans):\n    def of(self, a, p): return {'S': a}",
            r"must give S as a tensor \[unit\], \(3,\) of 40 images and 3 units, got \(40, 3\)",
        ),
        (
            "from mis import OfMaps\nclass S(OfMaps):\n    def of(self, maps): return 1 / 0",
            r"must score units, .* raises ZeroDivisionError: .* line 3\)",
        ),
        (
            "from mis import OfMeans\nclass S(OfMeans):\n    def of(self, a, p):\n"
            "        return {'S': a.amax(0), 'state': a.amin(0)}",
            "must call its columns by letters, .* and by none of layer, .* got 'state'",
        ),
        (
            "from mis import OfMaps\nclass S(OfMaps):\n    name = 'locality'\n"
            "    def of(self, maps): return {}",
            "must have names of its own, got 'locality'",
        ),
    ],
)
def test_what_is_no_score_is_refused(tmp_path, monkeypatch, text, sentence):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    module = f"own_score_{abs(hash(text))}"
    (tmp_path / f"{module}.py").write_text(text)
    with pytest.raises(ValueError, match=sentence) as refusal:
        DENSE.replace({"scores": ("mis", f"{module}:S")})
    assert "\n" not in str(refusal.value)


def test_a_network_without_maps_has_no_locality_and_numbers_that_are_none_are_left_out():
    groups, state = torch.arange(40) % 2, torch.zeros(3, dtype=torch.int8)
    above = AboveZero({"a": 3}, groups, [Locality()])
    above.begin(torch.arange(40))
    above.see("a", torch.rand(40, 3))
    images = ArrayImages(np.zeros((40, 1, 1, 3), np.uint8), torch.arange(40) % 2, "")
    config = DENSE.replace({"scores": ("mis", "locality")})
    space = ProbeVectors(torch.eye(40), 1.0, "cosine")
    found = score_beside(config, images, above, space, state, state == 0, groups)
    assert found.columns["locality"].isnan().all() and found.values == ["locality"]
    assert beside_metrics(found, state == 0) == {"locality/n_units": 0}


def test_names_of_scores_are_refused_in_a_sentence():
    network = NetworkConfig(weights="random")
    for names, sentence in (
        (("locality",), "must begin with 'mis'"),
        (("mis", "mis"), "name each once"),
        (("mis", "dissection"), "asked for by its settings"),
        (("mis", "clarity"), "of mis, monosemanticity, selectivity, locality, or module:Class"),
    ):
        with pytest.raises(ValueError, match=sentence):
            DENSE.replace({"network": network, "scores": names})
    with pytest.raises(ValueError, match="scores_code must be left alone"):
        DENSE.replace({"scores_code": ("0" * 16,)})

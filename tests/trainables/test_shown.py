"""The images that units are shown by, as a trial leaves them."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from small_studies import small_base

from pruning import structure_of
from trainables.artifacts import SHOWN, UNITS
from trainables.datasets.images import normalise
from trainables.datasets.loading import load_data
from trainables.networks import unit_layers
from trainables.scores.shown import N_SHOWN, Shown, read_shown, write_shown
from trainables.trial import Trial

CONFIG = small_base(**{"prune": None, "finetune": None})


@pytest.fixture(scope="module")
def result(workspace):
    return Trial(CONFIG, workspace).finish()


def test_what_is_kept_are_the_images_with_the_most_and_the_least_activation(result, workspace):
    data = load_data(CONFIG.data, workspace.cache)
    shown = read_shown(result.folder / SHOWN)
    assert shown.probe == data.probe.digest
    assert shown.top.shape == shown.bottom.shape == (len(result.units), N_SHOWN)
    assert shown.layers == list(result.units["layer"])
    assert (shown.channel == result.units["channel"]).all()
    network = Trial(CONFIG, workspace).network.eval()
    (layer,) = [
        each
        for each in unit_layers(network, CONFIG.score.read_at, structure_of(network))
        if each.title == "inception4a.branch1"
    ]
    means = []
    network.get_submodule(layer.name).register_forward_hook(
        lambda _, __, maps: means.append(maps.float().mean((2, 3)))
    )
    everything = data.probe.read(torch.arange(len(data.probe)))
    with torch.inference_mode():
        network(normalise(everything))
    ranked = means[0].argsort(0, descending=True).T.numpy()
    rows = np.array([name == layer.title for name in shown.layers])
    for unit, (top, bottom) in enumerate(zip(shown.top[rows], shown.bottom[rows], strict=True)):
        values = means[0][:, unit].numpy()
        if np.ptp(values) > 0:  # equal up to the order of images that activate it alike
            assert np.allclose(values[top], values[ranked[unit][:N_SHOWN]], atol=1e-4)
            assert np.allclose(values[bottom], values[ranked[unit][::-1][:N_SHOWN]], atol=1e-4)


def test_the_error_of_a_unit_is_in_its_table_where_there_are_images_enough(result):
    if "replicates" in result.units:
        assert (result.units["mis_error"].isna() == result.units["mis"].isna()).all()
        assert (result.units["mis_error"].dropna() >= 0).all()


def test_seven_thousand_units_take_a_third_of_a_megabyte(tmp_path):
    random = np.random.default_rng(0)
    ids = random.integers(0, 1000, (7280, N_SHOWN), dtype=np.int32)
    shown = Shown(["a.b"] * 7280, np.arange(7280, dtype=np.int32), ids, ids[::-1].copy(), "d")
    write_shown(tmp_path / SHOWN, shown)
    assert (tmp_path / SHOWN).stat().st_size < 350_000
    again = read_shown(tmp_path / SHOWN)
    assert (again.top == shown.top).all() and (again.bottom == shown.bottom).all()
    assert again.layers == shown.layers and again.probe == "d"


@pytest.mark.parametrize("spoil", ["text", "columns", "negative"])
def test_a_file_of_another_kind_is_refused_in_a_sentence(tmp_path, spoil):
    path = tmp_path / SHOWN
    if spoil == "text":
        path.write_text("no table")
    elif spoil == "columns":
        pq.write_table(pa.table({"layer": ["a"]}), path)
    else:
        ids = np.full((1, 2), -1, np.int32)
        write_shown(path, Shown(["a"], np.zeros(1, np.int32), ids, ids, "d"))
    with pytest.raises(ValueError, match="must"):
        read_shown(path)


def test_the_table_of_units_stays_apart(result):
    assert (result.folder / UNITS).exists() and "top" not in result.units

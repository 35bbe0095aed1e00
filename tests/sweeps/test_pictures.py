"""The images of a trial's run: of the tables that lie beside them."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from report_frames import synthetic

from sweeps.tune.pictures import CURVE, LAYERS, draw_trial, layer_means


@pytest.fixture(scope="module")
def frames():
    return synthetic(methods=("structured",), rates=(0.5,), channels=4, controls=False)


def leave(frames, folder, *, epochs=True, **changes):
    """The tables of the trial that was pruned in rounds; its own units."""
    key = frames.trials.loc[frames.trials["schedule"] == "iterative", "key"].iloc[0]
    units = frames.units[frames.units["key"] == key].assign(**changes)
    units.to_parquet(folder / "units.parquet")
    if epochs:
        own = frames.epochs[frames.epochs["key"] == key]
        many = pd.concat([own.assign(epoch=at, round=at) for at in (1.0, 2.0, 3.0)])
        many.to_parquet(folder / "epochs.parquet")
    return units


def test_a_trial_has_its_curve_and_its_layers(frames, tmp_path):
    leave(frames, tmp_path)
    draw_trial(tmp_path, "structured 0.5 iterative")
    for name in (CURVE, LAYERS):
        pixels = np.asarray(Image.open(tmp_path / name).convert("RGB"))
        assert pixels.shape[1] > 500 and pixels.std() > 10, name
    assert len(list(tmp_path.iterdir())) == 4  # nothing half written is left


def test_what_was_not_trained_has_no_curve_and_nothing_alive_no_bars(frames, tmp_path):
    leave(frames, tmp_path, epochs=False, mis=float("nan"), state="dead")
    draw_trial(tmp_path, "structured 0.99")
    assert {path.name for path in tmp_path.iterdir()} == {"units.parquet"}


def test_bars_are_means_over_alive_units_beside_the_same_units(frames, tmp_path):
    units = leave(frames, tmp_path)
    means = layer_means(units)
    assert list(means.index)[:2] == ["conv1", "conv2"] and means.index[-1] == "fc"
    for layer, own in units.groupby("layer"):
        alive = own[own["state"] == "alive"]
        assert (means.loc[layer, "alive"], means.loc[layer, "n"]) == (len(alive), len(own))
        for ours, theirs in (("mis", "mis"), ("dense", "dense_mis")):
            assert means.loc[layer, ours] == pytest.approx(alive[theirs].mean(), nan_ok=True)
    assert layer_means(units.drop(columns=["dense_mis", "state"]))["dense"].isna().all()


def test_layers_are_in_the_order_of_their_numbers():
    units = pd.DataFrame({"layer": ["fc", "conv10", "conv9", "conv1"], "mis": 0.6})
    assert list(layer_means(units).index) == ["conv1", "conv9", "conv10", "fc"]

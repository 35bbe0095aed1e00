"""Units of a trial beside their dense twins: of the right images, and in the trial's table."""

import numpy as np
import pandas as pd
import pytest
import torch
from small_studies import small_base

from mis import watching
from sweeps.plan.metrics import find
from trainables.artifacts import UNITS
from trainables.datasets.images import normalise
from trainables.datasets.loading import load_data
from trainables.networks import through, unit_layers
from trainables.scores import same
from trainables.scores.mis import measure
from trainables.training.dense import load_dense
from trainables.training.evaluate import ids_per_epoch
from trainables.trial import run_trial

CONFIG = small_base(
    **{"prune.granularity": "filter", "prune.scope": "layer", "prune.rate": 0.3, "finetune": None}
)
COLUMNS = ("twin_before", "match_before", "twin_after", "match_after")


@pytest.fixture(scope="module")
def pruned(workspace):
    return run_trial(CONFIG, workspace)


def test_the_metrics_are_means_over_the_table_of_units(pruned):
    units = pd.read_parquet(pruned.folder / UNITS)
    gone = units["state"].isin(["dead", "constant"])
    assert gone.sum() > 1000 and units.loc[gone, list(COLUMNS)].isna().all(axis=None)
    assert (units.loc[gone, "match_channel_before"] == -1).all()
    alive = units[units["counted"] & (units["state"] == "alive") & units["twin_before"].notna()]
    assert len(alive) > 1000
    for at in ("before", "after"):
        mean = alive[f"twin_{at}"].astype(float).mean()
        assert pruned.metrics[f"same/{at}"] == pytest.approx(mean)
    own = (alive["match_channel_before"] == alive["channel"]).mean()
    assert pruned.metrics["same/own"] == pytest.approx(own)
    assert (alive["match_before"] >= alive["twin_before"] - 1e-6).all()
    assert [name for name in pruned.metrics if find(name) is None] == []


def test_units_of_the_first_layer_that_stay_are_what_they_were(pruned):
    """Nothing before it was pruned."""
    units = pd.read_parquet(pruned.folder / UNITS)
    first = units[(units["layer"] == units["layer"].iloc[0]) & (units["state"] == "alive")]
    np.testing.assert_allclose(first["twin_before"], 1, atol=1e-5)
    assert (first["match_channel_before"] == first["channel"]).all()
    later = units[units["state"] == "alive"].groupby("layer", observed=True)["twin_before"].mean()
    assert later.min() < 0.9


def test_the_dense_network_and_the_untrained_one_have_no_such_columns(workspace):
    dense = run_trial(CONFIG.replace({"prune": None}), workspace)
    assert "twin_before" not in pd.read_parquet(dense.folder / UNITS)
    assert not any(name.startswith("same/") for name in dense.metrics)


def test_units_are_read_before_their_relu_and_after_it_on_validation_images(workspace):
    """By a pass of its own, image by image, against what is compared; in parts and in one."""
    data = load_data(CONFIG.data, workspace.cache)
    network = load_dense(CONFIG, data, workspace.cache).eval()
    before, after = same._means(network, CONFIG, data, "fp32")
    ids = ids_per_epoch(data.val.labels, len(data.val))
    layers = unit_layers(network, CONFIG.score.read_at)
    rows = {True: [], False: []}
    names = [layer.name for layer in layers]
    _, images, _ = next(iter(data.val.batches(ids[:3], 3)))
    for image in normalise(images):
        kept = {True: [], False: []}

        def see(layer, values, kept=kept):
            flat = values.double().flatten(2) if values.ndim > 2 else values.double()[..., None]
            kept[False].append(flat.mean(2)[0])
            relu = layers[names.index(layer)].silenced
            kept[True].append((flat.clamp(min=0) if relu else flat).mean(2)[0])

        with watching(network, names, through(layers), see, dims=(2, 4)) as run:
            run(image[None])
        for key in rows:
            rows[key].append(torch.cat(kept[key]))
    for found, key in ((before, False), (after, True)):
        torch.testing.assert_close(found[:3].double(), torch.stack(rows[key]), atol=1e-4, rtol=1e-4)
    assert len(before) == len(data.val) and (after >= 0).float().mean() > 0.99


def test_a_network_beside_itself_is_the_same_and_of_too_few_images_nothing_is_said(
    workspace, monkeypatch
):
    data = load_data(CONFIG.data, workspace.cache)
    network = load_dense(CONFIG, data, workspace.cache).eval()
    measured = measure(network, CONFIG, data, workspace.cache)
    found = same.beside_dense(network, CONFIG, data, workspace.cache, measured.layer_of)
    known = found.before.twin.isfinite()
    assert (found.before.twin[known] > 0.9999).all() and known.sum() > 1000
    monkeypatch.setattr(same, "_FEWEST", len(data.val) + 1)
    assert same.beside_dense(network, CONFIG, data, workspace.cache, measured.layer_of) is None

"""What the report says of criteria: each beside its own controls, and where it prunes."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from report_frames import synthetic, without

from sweeps.report.checks.design import check_controls
from sweeps.report.sections.criteria import BESIDE_CONTROLS, arms
from sweeps.report.sections.layers import SHARE_KEPT
from sweeps.report.statistics.population import choose, compared


@pytest.fixture(scope="module")
def frames():
    made = synthetic(methods=("structured", "structured_global"), channels=1, dissected=False)
    trials = made.trials.copy()
    # The same once more by Taylor, of the logit, from few images and from many.
    more = []
    for images in ("2", "10"):
        again = trials[(trials["retraining"] == "recalibrate") & (trials["rate"] > 0)].copy()
        is_within = ~again.get("prune.counts_of", pd.Series(index=again.index)).isna()
        again = again[(again["criterion"] == "l1") | is_within]
        own = again["criterion"] == "l1"
        again.loc[own, "criterion"] = "taylor"
        again.loc[~own, "prune.counts_of"] = "taylor"
        said = {"prune.change_of": "logit", "prune.samples_per_class": images}
        top1 = again["val/top1"] + 0.01 * int(images)
        keys = again["key"] + images
        more.append(again.assign(**said, key=keys, **{"val/top1": top1}))
    return dataclasses.replace(made, trials=pd.concat([trials, *more], ignore_index=True))


def test_a_row_a_criterion_with_its_own_controls(frames):
    table = BESIDE_CONTROLS.data(frames)
    names = [
        "structured 0.25 by L1",
        "structured 0.25 by taylor of the logit",
        "structured global 0.25 by L1",
        "structured global 0.25 by taylor of the logit",
    ]
    assert list(dict.fromkeys(table["name"])) == names
    trials = frames.trials.set_index("key")
    assert (table["value"].to_numpy() == trials.loc[table["keys"], "val/top1"]).all()
    shown = {name: rows.groupby("arm")["keys"].agg(set) for name, rows in table.groupby("name")}
    here = arms(frames.trials)
    here = here[(here["method"] == "structured_global") & (here["rate"] == 0.25)]
    here = here[here["retraining"] == "recalibrate"]
    keys = {n: set(rows["key"]) for n, rows in here.groupby(["arm", "scored"])}
    assert shown[names[2]]["random"] == shown[names[3]]["random"] == keys["random", "random"]
    assert shown[names[2]]["own"] == keys["own", "l1"]
    assert shown[names[2]]["within"] == keys["within", "l1"] and len(keys["within", "l1"]) == 3
    assert shown[names[3]]["within"] == keys["within", "taylor of the logit"]
    most = here["prune.samples_per_class"] == "10"  # images per class, where some saw fewer
    own = here[(here["arm"] == "own") & (here["scored"] == "taylor of the logit") & most]
    assert shown[names[3]]["own"] == set(own["key"])
    assert "no accuracy" in BESIDE_CONTROLS.data(without(frames, "val/top1"))


def test_the_share_kept_is_that_of_the_tables(frames):
    table = SHARE_KEPT.data(frames)
    drawn = table[(table["method"] == "structured_global") & (table["scored"] == "l1")]
    trials = frames.trials
    chosen = (trials["method"] == "structured_global") & (trials["criterion"] == "l1")
    chosen &= ~trials["most_important_first"]
    for rate, rows in drawn.groupby("rate"):
        key = trials.loc[chosen & (trials["rate"] == rate), "key"].iloc[0]
        left = frames.layers[frames.layers["key"] == key]
        kept = rows[rows["kind"] == "layer"]
        assert kept["layer"].tolist() == left["layer"].tolist()
        np.testing.assert_allclose(kept["value"], left["share"])
        assert rows.loc[rows["kind"] == "level", "value"].tolist() == [1 - rate]
    assert set(drawn["rate"]) == {0.25, 0.5, 0.75, 0.9}
    alone = synthetic(methods=("structured",), channels=1, dissected=False)
    assert "each keeps the same share" in SHARE_KEPT.data(alone)
    lost = dataclasses.replace(frames, layers=pd.DataFrame())
    assert "no table of their layers" in SHARE_KEPT.data(lost)


def test_draws_within_layers_are_no_trials_of_the_study(frames):
    """They are neither a series, nor points of a regression, nor the control that chance is."""
    within = frames.trials["label"].str.contains("as many per layer")
    keys = set(frames.trials.loc[within, "key"])
    assert keys and not keys & set(compared(frames.trials)["key"])
    told = choose(frames.trials, "prune/sparsity", "mis/mean").left_out
    assert told["pruned by chance with a criterion's numbers per layer"] == len(keys)
    found = {check.name: check for check in check_controls(frames.trials)}
    assert {check.status for check in found.values()} == {"ok"}
    uniform = (frames.trials["criterion"] == "random") & ~within
    lacking = {c.name: c.status for c in check_controls(frames.trials[~uniform])}
    assert lacking["pruned by chance"] == "failed"
    assert lacking["by chance, as many per layer"] == "ok"
    lacking = {c.name: c.status for c in check_controls(frames.trials[~within])}
    assert lacking["by chance, as many per layer"] == "failed"

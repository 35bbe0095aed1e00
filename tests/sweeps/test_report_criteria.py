"""What the report says of criteria: each beside its own controls, and where it prunes."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from report_frames import synthetic

from sweeps.report.checks.design import check_controls
from sweeps.report.paper.published import published_trials
from sweeps.report.sections.criteria import arms, beside_controls
from sweeps.report.sections.layers import share_kept
from sweeps.report.sections.plates import PLATES
from sweeps.report.sections.series import pruned
from sweeps.report.statistics.population import choose

RELEASED = published_trials()


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
        said = {"prune.target": "logit", "prune.samples_per_class": images}
        top1 = again["val/top1"] + 0.01 * int(images)
        keys = again["key"] + images
        more.append(again.assign(**said, key=keys, **{"val/top1": top1}))
    return dataclasses.replace(made, trials=pd.concat([trials, *more], ignore_index=True))


def names(figure):
    return [text.get_text() for text in figure.axes[0].get_yticklabels()]


def test_a_row_a_criterion_with_its_own_controls(frames):
    figure = beside_controls(frames, RELEASED)
    assert names(figure) == [
        "structured 0.25 by L1",
        "structured 0.25 by taylor of the logit",
        "structured global 0.25 by L1",
        "structured global 0.25 by taylor of the logit",
    ]
    trials = arms(frames.trials)
    here = trials[(trials["method"] == "structured_global") & (trials["rate"] == 0.25)]
    here = here[here["retraining"] == "recalibrate"]
    drawn = {
        (round(float(x), 9), round(float(-y)))
        for marks in figure.axes[0].collections
        for x, y in marks.get_offsets()
    }
    chance = here[here["arm"] == "random"]["val/top1"].iloc[0]
    assert {(round(chance, 9), 2), (round(chance, 9), 3)} <= drawn
    own = here[(here["arm"] == "own") & (here["scored"] == "taylor of the logit")]
    most = own[own["prune.samples_per_class"] == "10"]["val/top1"].iloc[0]
    least = own[own["prune.samples_per_class"] == "2"]["val/top1"].iloc[0]
    assert (round(most, 9), 3) in drawn and (round(least, 9), 3) not in drawn
    within = here[(here["arm"] == "within") & (here["scored"] == "l1")]
    assert len(within) == 3 and {(round(x, 9), 2) for x in within["val/top1"]} <= drawn


def test_the_share_kept_is_that_of_the_tables(frames):
    figure = share_kept(frames, RELEASED)
    axes = figure.axes[0]
    assert axes.get_title(loc="left") == "structured global by L1"
    lines = [line for line in axes.get_lines() if len(line.get_xdata()) > 2]
    keys = frames.trials.loc[
        (frames.trials["method"] == "structured_global")
        & (frames.trials["criterion"] == "l1")
        & ~frames.trials["most_important_first"]
        & (frames.trials["rate"] == 0.25),
        "key",
    ]
    table = frames.layers[frames.layers["key"] == keys.iloc[0]]
    np.testing.assert_allclose(lines[0].get_ydata(), table["share"])
    alone = synthetic(methods=("structured",), channels=1, dissected=False)
    assert "each keeps the same share" in share_kept(alone, RELEASED)
    assert "no table of their layers" in share_kept(
        dataclasses.replace(frames, layers=pd.DataFrame()), RELEASED
    )


def test_draws_within_layers_are_no_trials_of_the_study(frames):
    """They are neither a series, nor points of a regression, nor the control that chance is."""
    within = frames.trials["label"].str.contains("as many per layer")
    keys = set(frames.trials.loc[within, "key"])
    assert keys and not keys & set(pruned(frames)["key"])
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


def test_both_figures_are_on_the_page():
    assert {"criteria", "share_kept", "controls"} <= {plate.name for plate in PLATES}

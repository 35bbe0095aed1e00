"""Units beside their dense twins, in a report: what became of them, and their MIS."""

import collections
import dataclasses
import io
import statistics

import numpy as np
import pandas as pd
import pytest
from report_frames import log_sweep, synthetic, with_twins
from rich.console import Console

from sweeps.report import load, report_study
from sweeps.report.sections.same_unit import QUANTILE, SAME_UNIT, fates


@pytest.fixture(scope="module")
def frames():
    base = synthetic(
        methods=("structured", "unstructured"),
        rates=(0.25, 0.5),
        seeds=(0, 1),
        channels=40,
        stopped=False,
    )
    return with_twins(base)


def test_a_unit_stayed_moved_or_is_gone():
    thresholds = pd.DataFrame({"twin_before": {"a": 0.8}, "twin_after": {"a": 0.5}})
    units = pd.DataFrame(
        {
            "layer": ["a", "a", "a", "a", "b"],
            "channel": [0, 1, 2, 3, 0],
            "twin_before": [0.8, 0.79, 0.1, 0.1, 1.0],
            "twin_after": [0.4, 0.6, 0.1, 0.9, 1.0],
            "match_before": [0.8, 0.9, 0.95, 0.5, 1.0],
            "match_channel_before": [0, 1, 3, 1, 0],
        }
    )
    found = fates(units, thresholds)
    assert list(found["layer"]) == ["a"] * 4  # of a layer without a control nobody knows
    assert found["stayed"].tolist() == [True, False, False, False]
    assert found["moved"].tolist() == [False, False, True, False]
    assert found["stayed_after"].tolist() == [False, True, False, True]


def test_planted_units_are_found_and_their_change_is_told_apart(frames):
    table = SAME_UNIT.data(frames)
    here = table[(table["kind"] == "mean") & (table["method"] == "structured")]
    shares = here[here["metric"] == "share"].groupby("name")["value"].mean()
    assert shares["stayed"] == pytest.approx(0.75 * (1 - QUANTILE), abs=0.04)
    assert shares["moved"] == pytest.approx(0.125, abs=0.04)
    changes = here[here["metric"] == "mis/change"].groupby("name")["value"].mean()
    assert changes["stayed"] == pytest.approx(0, abs=1e-12)
    assert changes["all units"] == pytest.approx(-0.025, abs=0.005)
    assert changes["did not stay"] < -0.07
    control = table[table["kind"] == "control"].set_index(["metric", "name"])["value"]
    assert control["share", "stayed"] == pytest.approx(1 - QUANTILE, abs=0.01)
    figure = SAME_UNIT.draw(table)
    assert len(figure.axes) == 3


def test_errors_are_over_dense_networks_and_not_over_trials(frames):
    two = SAME_UNIT.data(frames)
    given = frames.trials.assign(**{"network.weights": "imagenet"})
    one = SAME_UNIT.data(dataclasses.replace(frames, trials=given))
    assert (two.loc[two["kind"] == "mean", "n"] == 2).all()
    assert (one.loc[one["kind"] == "mean", "n"] == 1).all()
    pd.testing.assert_series_equal(one["value"], two["value"])
    # One network pruned twice has no more units than pruned once.
    here = one[(one["metric"] == "mis/change") & (one["name"] == "all units")].iloc[0]
    both = frames.units[frames.units["key"].isin(here["keys"].split(","))]
    both = both[(both["state"] == "alive") & both["counted"] & both["twin_before"].notna()]
    change = (both["mis"] - both["dense_mis"]).groupby([both["layer"], both["channel"]]).mean()
    assert here["error"] == pytest.approx(change.std() / len(change) ** 0.5, rel=0.02)


def test_without_twins_or_a_control_a_sentence_says_so(frames):
    assert SAME_UNIT.data(synthetic(channels=2)).startswith("No trial of this sweep compared")
    again = (frames.trials["method"] == "dense") & (frames.trials["retraining"] == "finetune")
    alone = dataclasses.replace(frames, trials=frames.trials[~again])
    assert SAME_UNIT.data(alone).startswith("No dense network of this sweep")


def test_the_section_is_computed_again_from_the_files_of_the_runs(frames, tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr("sweeps.report.page.sections.inline_svg", lambda *_: "<svg/>")
    monkeypatch.setattr("sweeps.report.page.sections.save_titled", lambda *_: None)
    tracker = log_sweep(frames, tmp_path / "results", tmp_path / "files")
    report_study(frames.study, tmp_path / "results", None, Console(file=io.StringIO()))
    written = pd.read_csv(tmp_path / "results" / "report" / frames.study / "same_unit.csv")
    loaded = SAME_UNIT.data(load(frames.study, tmp_path / "results"))
    assert len(loaded) == len(written)
    runs = {run.data.tags["trial_key"]: run for run in tracker.runs("trial", "FINISHED")}

    def left(run):
        path = run.info.artifact_uri.removeprefix("file://")
        table = pd.read_parquet(f"{path}/units.parquet").to_dict("records")
        return [u for u in table if u["state"] == "alive" and u["counted"]]

    by_layer = collections.defaultdict(list)
    for run in runs.values():
        if (run.data.params["method"], run.data.params["retraining"]) == ("dense", "finetune"):
            for unit in left(run):
                by_layer[unit["layer"]].append(unit["twin_before"])
    least = {layer: np.quantile(values, QUANTILE) for layer, values in by_layer.items()}
    shown = written[(written["kind"] == "mean") & (written["method"] == "unstructured")]
    assert len(shown) == 2 * 8
    for row in shown[shown["name"].isin(["stayed", "all units", "before"])].to_dict("records"):
        means = []
        for key in row["keys"].split(","):
            units = left(runs[key])
            stayed = [u for u in units if u["twin_before"] >= least[u["layer"]]]
            if row["metric"] == "share":
                means.append(len(stayed) / len(units))
            elif row["metric"] == "twin":
                means.append(statistics.fmean(u["twin_before"] for u in units))
            else:
                of = stayed if row["name"] == "stayed" else units
                means.append(statistics.fmean(u["mis"] - u["dense_mis"] for u in of))
        assert row["value"] == pytest.approx(statistics.fmean(means), abs=1e-9), row

"""Where the report's numbers come from: MLflow's metrics and the trials' tables, and nothing else.

What MLflow holds is read here by its own client and pandas, and computed anew with scipy and
statsmodels; the report's tables, sentences and figures must say the same.
"""

import dataclasses
import io
import json
import re
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from report_frames import log_sweep, synthetic
from rich.console import Console
from scipy import stats

from sweeps.report import load, report_study
from sweeps.report.page.words import summary_sentences
from sweeps.report.paper.published import published_trials
from sweeps.report.sections.plates import PLATES
from sweeps.report.sections.style import LABELS, RELEASED

METRICS = {label: name for name, label in LABELS.items()} | {
    "sparsity": "prune/sparsity",
    "MIS": "mis/mean",
}
QUESTIONS = [(x, y) for x in ("prune/sparsity", "val/top1") for y in ("mis/mean", "mis/change")]
ARM = ["method", "criterion", "schedule", "retraining"]


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    """(the report's folder, its frames, MLflow's runs of trials by key, id of the parent run)."""
    folder = tmp_path_factory.mktemp("numbers")
    frames = synthetic(
        methods=("unstructured", "structured"), rates=(0.25, 0.5, 0.9), seeds=(0, 1), channels=2
    )
    # So little MIS for so much accuracy that a level of each method shows.
    lifted = frames.trials["method"].eq("structured") * 0.05
    frames = dataclasses.replace(
        frames, trials=frames.trials.assign(**{"mis/mean": frames.trials["mis/mean"] + lifted})
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.setattr("sweeps.report.write._write_figures", lambda *_: ({}, {}))  # drawn below
        tracker = log_sweep(frames, folder / "results", folder / "files")
        report_study("synthetic", folder / "results", None, Console(file=io.StringIO()))
        loaded = load("synthetic", folder / "results")
    runs = {run.data.tags["trial_key"]: run for run in tracker.runs("trial", "FINISHED")}
    parent = tracker.runs("sweep")[0]
    return folder / "results" / "report" / "synthetic", loaded, runs, parent


@pytest.fixture(scope="module")
def raw(reported):
    """A row a run with what MLflow says of it, as a script would read it."""
    rows = []
    for key, run in reported[2].items():
        params = {name: run.data.params[name] for name in (*ARM, "rate", "seed")}
        first = run.data.params["prune.most_important_first"] == "True"
        rows.append({"key": key, "reversed": first, **params, **run.data.metrics})
    table = pd.DataFrame(rows)
    return table.assign(arm=table[ARM].agg(" ".join, axis=1))


def stratum(raw, name):
    chosen = raw[(raw["rate"].astype(float) > 0) & ~raw["reversed"]]
    chosen = chosen[chosen["criterion"] != "random"]
    retrained = chosen["retraining"] == "finetune"
    return {"all": chosen, "retrained": chosen[retrained], "not retrained": chosen[~retrained]}[
        name
    ]


@pytest.mark.parametrize("name", ["all", "retrained", "not retrained"])
@pytest.mark.parametrize(("x", "y"), QUESTIONS)
def test_statistics_are_those_of_scipy_and_statsmodels_on_mlflows_numbers(
    reported, raw, x, y, name
):
    table = pd.read_parquet(reported[0] / "statistics.parquet")
    chosen = (table["x"] == x) & (table["y"] == y) & (table["trials"] == name)
    rows = table[chosen & ~table["at_equal_accuracy"]].set_index("trainings")
    assert list(rows.index) == ["seed 0", "seed 1"]
    everyone = stratum(raw, name).rename(columns={x: "x", y: "y"})
    for seed, points in everyone.groupby("seed"):
        same_numbers(rows.loc[f"seed {seed}"], points, gap_of(raw, seed), alike=x != "val/top1")


def gap_of(raw, seed):
    """(dense minus untrained, its standard error)."""
    own = raw[raw["seed"] == seed].set_index(["method", "retraining"])
    dense, untrained = own.loc[("dense", "none")], own.loc[("untrained", "recalibrate")]
    error = np.hypot(dense["mis/error"], untrained["mis/error"])
    return dense["mis/mean"] - untrained["mis/mean"], error


def same_numbers(row, points, gap, *, alike):
    assert row["n"] == len(points)
    assert row["pearson pooled"] == pytest.approx(stats.pearsonr(points["x"], points["y"])[0])
    assert row["spearman pooled"] == pytest.approx(stats.spearmanr(points["x"], points["y"])[0])
    inside = points[["x", "y"]] - points.groupby("arm")[["x", "y"]].transform("mean")
    assert row["pearson within arms"] == pytest.approx(stats.pearsonr(inside["x"], inside["y"])[0])
    assert row["pearson within arms low"] < row["pearson within arms"]
    for method, own in inside.groupby(points["method"]):
        assert row[f"pearson {method}"] == pytest.approx(stats.pearsonr(own["x"], own["y"])[0])
    widths = points.groupby("arm")["x"].agg(np.ptp)
    width = widths.max()
    if alike:
        points = points[points["arm"].isin(widths.index[widths >= width / 2])]
    slopes = points.groupby("arm")[["x", "y"]].apply(lambda p: np.polyfit(p["x"], p["y"], 1)[0])
    fitted = smf.ols("y ~ x + C(arm)", points).fit()
    change = (slopes.mean() if alike else fitted.params["x"]) * width
    assert row["change"] == pytest.approx(change)
    if alike and widths.std() < 0.01:  # the rates of all arms are the same: so is the one slope
        error = fitted.get_robustcov_results("HC2").bse[fitted.model.exog_names.index("x")]
        assert (row["high"] - row["low"]) / 2 == pytest.approx(
            stats.t.ppf(0.975, row["df"]) * error * width, rel=0.02
        )
    error = (row["high"] - row["low"]) / 2 / stats.t.ppf(0.975, row["df"])
    margin, error = 0.2 * gap[0], np.hypot(error, 0.2 * gap[1])
    two = [stats.t.sf((margin + sign * change) / error, row["df"]) for sign in (1, -1)]
    assert row["margin"] == pytest.approx(margin)
    assert row["p_equivalence_alone"] == pytest.approx(max(two), rel=1e-6)


def test_the_table_of_trials_is_mlflows(reported, raw):
    table = pd.read_csv(reported[0] / "trials.csv").set_index("key")
    by_key = raw.set_index("key").loc[table.index]
    shown = {"top-1": "val/top1", "MIS": "mis/mean", "change": "mis/change", "dead": "mis/n_dead"}
    shown |= {"sparsity": "prune/sparsity", "top-1 error": "val/top1_error"}
    for heading, metric in shown.items():
        assert table[heading].to_numpy() == pytest.approx(by_key[metric].to_numpy()), heading


def test_numbers_of_the_summary_are_of_mlflow(reported, raw):
    """Every number with three digits is a metric of a trial, or a mean over seeds of one."""
    _, frames, _, parent = reported
    said = summary_sentences(frames)
    assert " ".join(said) in parent.data.tags["mlflow.note.content"]
    means = raw.groupby(["arm", "rate"])[["val/top1", "mis/mean"]].mean()
    known = [raw[["val/top1", "mis/mean", "mis/change", "prune/sparsity"]], means]
    every = {f"{abs(value):.3f}" for table in known for value in table.to_numpy().ravel()}
    numbers = re.findall(r"\d\.\d{3}\b", " ".join(said))
    assert len(numbers) >= 7 and set(numbers) <= every
    assert said[0].startswith(f"{len(raw)} networks, {(raw['rate'].astype(float) > 0).sum()} of")


def y_label(figure, axes):
    """Its own, or that of the first panel of its row, or none."""
    row = [a for a in figure.axes if abs(a.get_position().y0 - axes.get_position().y0) < 1e-6]
    return axes.get_ylabel() or next((a.get_ylabel() for a in row if a.get_ylabel()), "")


def test_every_marker_of_every_figure_is_at_the_metrics_of_its_trials(reported, raw):
    """A marker leads to its trials; its place is the mean of their metrics that its axes name."""
    by_key, seen = raw.set_index("key"), {}
    for plate in PLATES:
        figure = plate.draw(reported[1], published_trials())
        for axes in [] if isinstance(figure, str) else figure.axes:
            x_name, y_name = METRICS.get(axes.get_xlabel()), METRICS.get(y_label(figure, axes))
            if x_name is None or y_name is None:
                continue
            for mark in axes.collections:
                if mark.get_gid() == RELEASED or not any(mark.get_urls()):
                    continue
                for (x, y), url in zip(mark.get_offsets(), mark.get_urls(), strict=True):
                    own = by_key.loc[url[1:].split(",")]
                    assert x == pytest.approx(own[x_name].mean()), plate.name
                    assert y == pytest.approx(own[y_name].mean()), plate.name
                    seen[plate.name] = seen.get(plate.name, 0) + 1
    paper = {"accuracy_without_finetuning", "rounds_against_once", "accuracy_vs_sparsity"}
    paper |= {"mis_vs_sparsity", "mis_change_vs_sparsity", "accuracy_vs_mis"}
    assert paper <= set(seen) and min(seen[name] for name in paper) >= 12


def test_lines_by_layer_are_means_of_the_units_that_trials_left(reported):
    _, frames, runs, _ = reported
    figure = next(p for p in PLATES if p.name == "mis_by_layer").draw(frames, published_trials())
    tables = {}
    for key, run in runs.items():
        path = run.info.artifact_uri.removeprefix("file://") + "/units.parquet"
        table = pd.read_parquet(path)
        tables[key] = table[(table["state"] == "alive") & table["counted"]]
    layers = list(dict.fromkeys(pd.concat(tables.values())["layer"]))

    def means(keys, value="mis"):
        of_units = pd.concat([tables[key] for key in keys])
        return of_units.groupby("layer")[value].mean().reindex(layers).to_numpy()

    def named(name):
        return [k for k, r in runs.items() if r.info.run_name.partition(" seed")[0] == name]

    for axes in figure.axes:
        dense, untrained, pixels = (line.get_ydata() for line in axes.lines[:3])
        np.testing.assert_allclose(dense, means(named("dense")))
        np.testing.assert_allclose(untrained, means(named("untrained")))
        np.testing.assert_allclose(pixels, means(named("dense"), "mis_pixels"))
    method = "unstructured"
    chosen = [
        key
        for key, run in runs.items()
        if (run.data.params["method"], run.data.params["rate"]) == (method, "0.25")
        and (run.data.params["retraining"], run.data.params["schedule"]) == ("finetune", "one_shot")
    ]
    panel = next(a for a in figure.axes if a.get_title(loc="left").startswith(method))
    np.testing.assert_allclose(panel.lines[3].get_ydata(), means(chosen))


def test_epochs_and_units_of_the_report_are_those_that_trials_left(reported):
    folder, _, runs, _ = reported
    for name in ("epochs", "units"):
        whole = pd.read_parquet(folder / f"{name}.parquet")
        for key, own in whole.groupby("key", observed=True):
            path = runs[key].info.artifact_uri.removeprefix("file://") + f"/{name}.parquet"
            left = pd.read_parquet(path)
            shared = left.select_dtypes("number").columns
            assert len(own) == len(left)
            np.testing.assert_allclose(own[shared].to_numpy(), left[shared].to_numpy())


def test_the_description_of_the_sweep_leads_to_report_charts_and_networks(reported):
    _, frames, runs, parent = reported
    note = parent.data.tags["mlflow.note.content"]
    base = f"#/experiments/{parent.info.experiment_id}/runs"
    assert f"({base}/{parent.info.run_id}/artifacts/report/report.html)" in note
    assert f"({base}?workflowType=machine_learning&viewStateShareKey=secateur&" in note
    ids = {run.info.run_id for run in runs.values()}
    compared = re.search(r"#/compare-runs\?runs=([^&]+)&", note)[1]
    assert set(json.loads(unquote(compared))) == ids
    rows = re.findall(rf"\| \[([^\]]+)\]\({re.escape(base)}/(\w+)\) \| ([^|]+) \| ([^|]+)", note)
    assert len(rows) == 7  # the dense one, two methods at three rates
    for label, run_id, sparsity, top1 in rows:
        run = next(r for r in runs.values() if r.info.run_id == run_id)
        assert run.info.run_name == label
        assert f"{run.data.metrics['prune/sparsity']:.3f}" == sparsity.strip()
        assert f"{run.data.metrics['val/top1']:.3f}" == top1.strip()
    assert len(note) < 8_000

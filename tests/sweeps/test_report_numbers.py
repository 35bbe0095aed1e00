"""Where the report's numbers come from: MLflow's metrics and the trials' tables, and nothing else.

What MLflow holds is read here by its own client and pandas, and computed anew with scipy and
statsmodels, or by loops over trials and units; the report's tables, sentences and what each of
its sections draws must say the same.
"""

import collections
import dataclasses
import io
import json
import math
import re
import statistics
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from report_frames import OF_OTHER_SWEEPS, in_rounds, log_sweep, synthetic
from rich.console import Console
from scipy import stats

from sweeps.report import load, report_study
from sweeps.report.page.words import summary_sentences
from sweeps.report.paper.published import published_trials
from sweeps.report.sections.all import SECTIONS
from sweeps.report.statistics.population import choose

TRIAL = ("method", "schedule", "criterion", "retraining")
LINE = ["method", "schedule", "retraining", "rate"]
RETRAINED = ("finetune", "rewind_weights")
LEVELS = {
    "dense": ("dense", "none"),
    "dense retrained": ("dense", "finetune"),
    "untrained": ("untrained", "recalibrate"),
}


QUESTIONS = [(x, y) for x in ("prune/sparsity", "val/top1") for y in ("mis/mean", "mis/change")]
ARM = ["method", "criterion", "schedule", "retraining"]


def report_of(frames, folder):
    """(the report's folder, its frames, MLflow's runs of trials by key, the parent run)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.setattr("sweeps.report.page.sections.inline_svg", lambda *_: "<svg/>")  # seconds each
        patch.setattr("sweeps.report.page.sections.save_titled", lambda *_: None)
        patch.setattr("matplotlib.figure.Figure.draw_without_rendering", lambda _: None)
        tracker = log_sweep(frames, folder / "results", folder / "files")
        report_study(frames.study, folder / "results", None, Console(file=io.StringIO()))
        loaded = load(frames.study, folder / "results")
    runs = {run.data.tags["trial_key"]: run for run in tracker.runs("trial", "FINISHED")}
    parent = tracker.runs("sweep")[0]
    return folder / "results" / "report" / frames.study, loaded, runs, parent


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    frames = synthetic(
        methods=("unstructured", "structured"), rates=(0.25, 0.5, 0.9), seeds=(0, 1), channels=2
    )
    # So little MIS for so much accuracy that a level of each method shows.
    lifted = frames.trials["method"].eq("structured") * 0.05
    frames = dataclasses.replace(
        frames, trials=frames.trials.assign(**{"mis/mean": frames.trials["mis/mean"] + lifted})
    )
    return report_of(frames, tmp_path_factory.mktemp("numbers"))


@pytest.fixture(scope="module")
def in_three_rounds(tmp_path_factory):
    frames = in_rounds(seeds=(0, 1), rounds=3)
    named = dataclasses.replace(frames, study="rounds", sweep_key="0123456789ab")
    return report_of(named, tmp_path_factory.mktemp("rounds"))


@pytest.fixture(scope="module")
def raw(reported):
    """A row per run with what MLflow says of it, as a script would read it."""
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


@pytest.mark.slow
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


# What is drawn: the CSV of each section, computed anew.


class Trial:
    """A run as MLflow has it."""

    def __init__(self, run):
        params = run.data.params
        self.key, self.label, self.metrics = (
            run.data.tags["trial_key"],
            run.info.run_name,
            run.data.metrics,
        )
        for name in TRIAL:
            setattr(self, name, params[name])
        self.rate, self.seed = float(params["rate"]), params["seed"]
        self.reversed = params["prune.most_important_first"] == "True"
        self.within = params.get("prune.counts_of", "None") != "None"
        self.folder = run.info.artifact_uri.removeprefix("file://")
        self.stopped = bool(run.data.tags.get("stopped"))
        self.tags = run.data.tags

    def table(self, name):
        return pd.read_parquet(f"{self.folder}/{name}.parquet").to_dict("records")

    def units(self):
        return [u for u in self.table("units") if u["state"] == "alive" and u["counted"]]

    @property
    def compared(self):
        return self.rate > 0 and not self.reversed and self.criterion != "random"

    @property
    def line(self):
        return (self.method, self.schedule, self.retraining, self.rate)


@pytest.fixture(scope="module")
def trials(reported):
    return [Trial(run) for run in reported[2].values()]


@pytest.fixture(scope="module")
def csv(reported):
    """Name of a section -> its file, "" where a row has nothing."""

    def read(name):
        table = pd.read_csv(reported[0] / f"{name}.csv")
        texts = table.select_dtypes(exclude="number").columns
        return table.assign(**{n: table[n].fillna("") for n in texts})

    return read


def points(table, by, value="value"):
    """Where -> the number there; every place once."""
    found = {tuple(row[name] for name in by): row[value] for row in table.to_dict("records")}
    assert len(found) == len(table) > 0
    return found


def same(table, by, expected, value="value"):
    found = points(table, by, value)
    assert set(found) == set(expected)
    for place, number in expected.items():
        assert found[place] == pytest.approx(number, nan_ok=True), place


def grouped(trials, by):
    groups = collections.defaultdict(list)
    for trial in trials:
        groups[by(trial)].append(trial)
    return groups


def mean(trials, metric):
    return statistics.fmean(trial.metrics[metric] for trial in trials)


def error(trials, metric):
    return statistics.stdev(t.metrics[metric] for t in trials) / math.sqrt(len(trials))


@pytest.mark.slow
@pytest.mark.parametrize("which", ["reported", "in_three_rounds"])
def test_every_file_is_what_its_section_makes_of_mlflow(which, request):
    folder, loaded, *_ = request.getfixturevalue(which)
    written = {path.stem for path in folder.glob("*.csv")}
    for section in SECTIONS:
        table = section.data(loaded)
        assert (section.name in written) == (not isinstance(table, str)), section.name
        if section.name in written:
            text = (folder / f"{section.name}.csv").read_text()
            assert table.to_csv(index=False) == text, section.name
            assert table["released"].dtype == bool and len(table) > 1
    absent = {section.name for section in SECTIONS} - written
    assert ("units_over_density" in absent) == (which == "reported")
    assert which == "in_three_rounds" or absent <= OF_OTHER_SWEEPS


WHICH = {
    "accuracy_without_finetuning": ("val/top1", lambda t: t.retraining not in RETRAINED),
    "accuracy_vs_sparsity": ("val/top1", lambda t: True),
    "mis_vs_sparsity": ("mis/mean", lambda t: True),
    "mis_change_vs_sparsity": ("mis/change", lambda t: True),
    "rounds_against_once": ("val/top1", lambda t: t.retraining in RETRAINED),
}


@pytest.mark.parametrize("name", WHICH)
def test_lines_over_sparsity_are_means_over_seeds(name, csv, trials):
    value, chosen = WHICH[name]
    table = csv(name)
    means = table[table["kind"] == "mean"]
    # No accuracy of a trial that was stopped is compared; its scores are of it as it was.
    final = [t for t in trials if not (t.stopped and value == "val/top1")]
    groups = grouped((t for t in final if t.compared and chosen(t)), lambda t: t.line)
    alone = {t.line for t in trials if t.stopped} if value == "val/top1" else set()
    assert {line for line, of in groups.items() if len(of) != 2} == alone & set(groups)
    same(means, LINE, {line: mean(of, value) for line, of in groups.items()})
    errors = {line: error(of, value) for line, of in groups.items() if len(of) > 1}
    own = {n: of[0].metrics["val/top1_error"] for n, of in groups.items() if n not in errors}
    same(means, LINE, errors | own, "error")
    sparsity = {line: mean(of, "prune/sparsity") for line, of in groups.items()}
    same(means, LINE, sparsity, "prune/sparsity")
    assert {
        row.line: ",".join(sorted(t.key for t in of)) for of in groups.values() for row in of
    } == {
        tuple(row[n] for n in LINE): ",".join(sorted(row["keys"].split(",")))
        for row in means.to_dict("records")
    }
    kind = {"none": "none", "recalibrate": "none", "finetune": "finetune"}
    dense = {k: mean([t for t in trials if (t.method, t.retraining) == ("dense", k)], value)
             for k in ("none", "finetune")}  # fmt: skip
    starts = table[table["kind"] == "start"]
    same(starts, LINE[:3], {line[:3]: dense[kind[line[2]]] for line in groups})
    assert (starts["prune/sparsity"] == 0).all()


@pytest.mark.parametrize("name", [name for name in WHICH if name != "rounds_against_once"])
def test_levels_are_those_of_networks_that_are_not_pruned(name, csv, trials):
    table = csv(name)
    levels = {
        (level,): mean([t for t in trials if (t.method, t.retraining) == kind], WHICH[name][0])
        for level, kind in LEVELS.items()
    }
    same(table[table["kind"] == "level"], ["name"], levels)


def test_figures_and_answers_are_of_one_population(csv, reported):
    for name, metric in {"mis_vs_sparsity": "mis/mean", "accuracy_vs_sparsity": "val/top1"}.items():
        table = csv(name)
        drawn = {
            key for keys in table.loc[table["kind"] == "mean", "keys"] for key in keys.split(",")
        }
        asked = choose(reported[1].trials, "prune/sparsity", metric)
        assert drawn == set(asked.points["key"])


@pytest.mark.parametrize(
    ("name", "x", "y"),
    [
        ("accuracy_without_finetuning", "prune/sparsity", "val/top1"),
        ("accuracy_vs_sparsity", "prune/sparsity", "val/top1"),
        ("mis_vs_sparsity", "prune/sparsity", "mis/mean"),
        ("accuracy_vs_mis", "val/top1", "mis/mean"),
    ],
)
def test_released_points_are_marked_as_such(name, x, y, csv, trials):
    table, theirs = csv(name), published_trials().set_index("key")
    released = table[table["released"]]
    if name == "accuracy_without_finetuning":  # one ranking: its rate is the fraction of its pool
        at_rate = (theirs["method"] == "unstructured") & theirs[x].isna()
        theirs.loc[at_rate, x] = theirs.loc[at_rate, "rate"]
    both = theirs[theirs[x].notna() & theirs[y].notna()]
    if name == "accuracy_without_finetuning":
        both = both[both["retraining"] == "none"]
    assert set(released["keys"]) == set(both.index) and len(both) > 1
    assert (released["value"].to_numpy() == both.loc[released["keys"], y].to_numpy()).all()
    assert (released[x].to_numpy() == both.loc[released["keys"], x].to_numpy()).all()
    ours = {key for keys in table.loc[~table["released"], "keys"] for key in keys.split(",")}
    assert ours - {""} <= {t.key for t in trials}


def test_accuracy_over_epochs_is_that_of_the_trials_tables(csv, trials):
    table = csv("accuracy_over_epochs")
    curves = collections.defaultdict(list)
    for trial in trials:
        if trial.compared and trial.retraining == "finetune" and trial.schedule == "one_shot":
            for row in trial.table("epochs"):
                curves[trial.method, trial.rate, row["epoch"]].append(row["val/top1"])
    expected = {place: statistics.fmean(values) for place, values in curves.items()}
    same(table[table["kind"] == "epoch"], ["method", "rate", "epoch"], expected)
    assert table.loc[table["kind"] == "level", "value"].tolist() == [
        pytest.approx(mean([t for t in trials if t.label.startswith("dense") and t.rate == 0
                            and t.retraining == "none"], "val/top1"))
    ]  # fmt: skip


def test_accuracy_and_mis_are_a_point_a_trial(csv, trials):
    table = csv("accuracy_vs_mis")
    ours = table[(table["kind"] == "network") & ~table["released"]]
    for column, metric in {"value": "mis/mean", "val/top1": "val/top1"}.items():
        same(ours, ["keys"], {(t.key,): t.metrics[metric] for t in trials if t.compared}, column)
    for name, kind in LEVELS.items():
        own = [t for t in trials if (t.method, t.retraining) == kind]
        row = table[(table["kind"] == "level") & (table["name"] == name)].iloc[0]
        assert row["value"] == pytest.approx(mean(own, "mis/mean"))
        assert row["val/top1"] == pytest.approx(mean(own, "val/top1"))


def units_at(trials, value):
    """(what the trials are, layer) -> the values of all their units that live and count."""
    found = collections.defaultdict(list)
    for trial in trials:
        for unit in trial.units():
            found[trial.method, trial.rate, unit["layer"]].append(unit[value])
    return found


def main_line(trials):
    """Fine-tuned after one cut: what is shown of each method where there is room for one line."""
    return [t for t in trials if t.compared and t.line[1:3] == ("one_shot", "finetune")]


def test_interpretability_by_layer_is_that_of_units(csv, trials):
    table = csv("mis_by_layer")
    known = table.dropna(subset=["value"])
    shown = known[known["kind"] == "layer"]
    expected = {k: statistics.fmean(v) for k, v in units_at(main_line(trials), "mis").items()}
    same(shown, ["method", "rate", "layer"], expected)
    dense = [t for t in trials if (t.method, t.retraining) == ("dense", "none")]
    untrained = [t for t in trials if t.method == "untrained"]
    for name, of, value in (
        ("dense", dense, "mis"),
        ("untrained", untrained, "mis"),
        ("by pixels", dense, "mis_pixels"),
    ):
        levels = {k[2:]: statistics.fmean(v) for k, v in units_at(of, value).items()}
        same(known[known["name"] == name], ["layer"], levels)
    order = list(dict.fromkeys(u["layer"] for u in dense[0].table("units") if u["counted"]))
    assert list(dict.fromkeys(table.sort_values("place")["layer"])) == order


def test_the_change_by_branch_is_that_of_units(csv, trials):
    """Its error is over trainings, two where both have such units left: these go together."""
    groups = collections.defaultdict(lambda: collections.defaultdict(list))
    for trial in main_line(trials):
        for unit in trial.units():
            if "branch" in unit["layer"]:
                place = trial.method, unit["layer"].split(".")[1], trial.rate
                groups[place][trial.seed].append(unit["mis"] - unit["dense_mis"])
    table, by = csv("mis_by_branch"), ["method", "branch", "prune/sparsity"]
    every = {place: [x for own in of.values() for x in own] for place, of in groups.items()}
    same(table, by, {place: statistics.fmean(v) for place, v in every.items()})
    means = {place: [statistics.fmean(v) for v in of.values()] for place, of in groups.items()}
    means = {place: v if len(v) > 1 else every[place] for place, v in means.items()}
    sem = {place: statistics.stdev(v) / math.sqrt(len(v)) for place, v in means.items()}
    same(table, by, sem, "error")


def test_the_distribution_counts_units(csv, trials):
    table = csv("unit_distribution")
    dense = [t for t in trials if (t.method, t.retraining) == ("dense", "none")]
    groups = grouped(main_line(trials), lambda t: (t.method, t.rate))
    for (method, rate), own in {**groups, ("", None): dense}.items():
        rows = table[table["name"] == "dense"]
        if method:
            rows = table[(table["method"] == method) & (table["rate"] == rate)]
        scores = [unit["mis"] for trial in own for unit in trial.units()]
        ends = rows["to"].max()
        for row in rows.to_dict("records"):
            inside = [s for s in scores if row["from"] <= s < row["to"] or s == row["to"] == ends]
            assert row["units"] == len(inside)
        width = rows["to"] - rows["from"]
        assert (rows["value"] * width).sum() == pytest.approx(1)
        assert (rows["value"] * width).to_numpy() == pytest.approx(
            (rows["units"] / rows["units"].sum()).to_numpy()
        )


def inside(cell, name, value, end):
    """Whether a cell has the value; the last of a row is closed."""
    upper = cell[f"{name} to"]
    return cell[f"{name} from"] <= value and (value < upper or value == upper == end)


def test_units_against_dense_are_counted_in_cells(csv, trials):
    table = csv("units_against_dense")
    of_rate = [t for t in main_line(trials) if t.rate == 0.9]
    assert set(table["rate"]) == {0.9}
    for method, own in grouped(of_rate, lambda t: t.method).items():
        pairs = [(u["dense_mis"], u["mis"]) for trial in own for u in trial.units()]
        rows = table[table["method"] == method]
        whole = rows[rows["kind"] == "all units"].iloc[0]
        assert whole["units"] == len(pairs)
        assert whole["value"] == pytest.approx(statistics.fmean(y - x for x, y in pairs))
        ranked = pd.DataFrame(pairs).rank()
        assert whole["spearman"] == pytest.approx(np.corrcoef(ranked[0], ranked[1])[0, 1])
        cells, low, high = rows[rows["kind"] == "cell"], whole["mis from"], whole["mis to"]
        for cell in cells.to_dict("records"):
            own = [
                p
                for p in pairs
                if inside(cell, "dense", p[0], high) and inside(cell, "mis", p[1], high)
            ]
            assert cell["units"] == len(own)
        assert cells["units"].sum() == sum(low <= min(p) and max(p) <= high for p in pairs)


def test_the_units_that_changed_most_are_ringed(csv, trials):
    table = csv("units_against_dense")
    of_rate = [t for t in main_line(trials) if t.rate == 0.9]
    for method, own in grouped(of_rate, lambda t: t.method).items():
        changes = sorted(
            (unit["mis"] - unit["dense_mis"], trial.key, unit["layer"], unit["channel"])
            for trial in own
            for unit in trial.units()
        )
        rows = table[(table["method"] == method) & (table["kind"] == "unit")]
        found = [
            (row["value"] - row["dense_mis"], row["keys"], row["layer"], row["channel"])
            for row in rows.to_dict("records")
        ]
        assert [each[1:] for each in found] == [
            each[1:] for each in [*changes[:6], *changes[::-1][:6]]
        ]


def test_units_without_a_score_are_shares_of_those_that_count(csv, trials):
    table = csv("units_without_score")
    groups = grouped((t for t in trials if t.compared), lambda t: t.line)
    expected = {}
    for line, own in groups.items():
        shares = []
        for trial in own:
            states = [unit["state"] for unit in trial.table("units") if unit["counted"]]
            shares.append(states.count("dead") / len(states))
        expected[line] = statistics.fmean(shares)
    assert set(table["metric"]) == {"share/dead"}
    same(table[table["kind"] == "mean"], LINE, expected)


def test_dissection_shows_metrics_of_the_trials(csv, trials):
    table = csv("dissection")
    groups = grouped((t for t in trials if t.compared), lambda t: t.line)
    for metric in ("dissection/interpretable", "dissection/unique"):
        means = table[(table["kind"] == "mean") & (table["metric"] == metric)]
        same(means, LINE, {line: mean(own, metric) for line, own in groups.items()})
    networks = table[table["kind"] == "network"]
    for column, metric in {"value": "mis/mean", "dissection/interpretable": None}.items():
        values = {(t.key,): t.metrics[metric or column] for t in trials if t.compared}
        same(networks, ["keys"], values, column)


def within(trial):
    """MIS of detectors minus that of others, each layer by itself, as one weighted mean."""
    mis = {(u["layer"], u["channel"]): u["mis"] for u in trial.table("units")}
    layers = collections.defaultdict(lambda: ([], []))
    for unit in trial.table("dissection"):
        score = mis[unit["layer"], unit["channel"]]
        if score == score:
            layers[unit["layer"]][bool(unit["detector"])].append(score)
    both = [(others, own) for others, own in layers.values() if others and own]
    weights = [len(others) * len(own) / (len(others) + len(own)) for others, own in both]
    found = [statistics.fmean(own) - statistics.fmean(others) for others, own in both]
    return sum(map(float.__mul__, weights, found)) / sum(weights) if both else None


def test_detectors_are_compared_within_layers(csv, trials):
    table = csv("detectors_and_mis")
    groups = collections.defaultdict(list)
    for trial in trials:
        if trial.compared and (difference := within(trial)) is not None:
            groups[trial.line].append(difference)
    expected = {line: statistics.fmean(found) for line, found in groups.items()}
    same(table[table["kind"] == "mean"], LINE, expected)


def test_controls_stand_beside_trials_that_differ_in_the_criterion_alone(csv, trials):
    def arm(trial):
        if trial.reversed:
            return "reversed"
        return "own" if trial.criterion == "l1" else ("within" if trial.within else "random")

    beside = [t for t in trials if t.rate and t.retraining == "recalibrate"]
    groups = grouped(beside, lambda t: (t.method, arm(t), t.rate))
    table = csv("controls")
    for metric in ("val/top1", "mis/mean"):
        expected = {place: mean(own, metric) for place, own in groups.items()}
        same(table[table["metric"] == metric], ["method", "arm", "rate"], expected)


def test_each_criterion_stands_beside_controls_at_the_smallest_rate(csv, trials):
    here = [t for t in trials if t.rate == 0.25 and t.retraining == "recalibrate"]
    same(csv("criteria"), ["keys"], {(t.key,): t.metrics["val/top1"] for t in here})


def test_the_share_kept_is_the_mean_over_seeds_of_the_tables_of_layers(csv, trials):
    groups = collections.defaultdict(list)
    for trial in trials:
        if trial.compared and trial.method != "structured":
            for row in trial.table("layers"):
                groups[trial.method, trial.retraining, trial.rate, row["layer"]].append(
                    row["share"]
                )
    table = csv("share_kept")
    kept = points(table[table["kind"] == "layer"], ["method", "rate", "layer"])
    assert len(kept) == len({(m, rate, layer) for m, _, rate, layer in groups})
    for (method, _, rate, layer), shares in groups.items():
        assert kept[method, rate, layer] == pytest.approx(statistics.fmean(shares))


def test_the_controls_of_the_score_are_metrics(csv, trials):
    table = csv("score_controls")
    groups = grouped(main_line(trials), lambda t: (t.method, t.rate))
    for metric in ("mis/mean", "mis/pixels_mean", "mis/shuffled_mean"):
        expected = {place: mean(own, metric) for place, own in groups.items()}
        same(table[table["metric"] == metric], ["method", "rate"], expected)


def test_costs_are_parts_of_the_dense_networks(csv, trials):
    table = csv("cost")
    compared = [t for t in trials if t.compared and not t.stopped]
    for cost in ("cost/macs", "cost/params", "cost/latency"):
        here = table[table["of"] == cost]
        places = {t.key: (t.metrics[cost] / t.metrics[f"{cost}_dense"], t.metrics["val/top1"])
                  for t in compared}  # fmt: skip
        networks = here[here["kind"] == "network"]
        same(networks, ["keys"], {(key,): x for key, (x, _) in places.items()}, "cost")
        same(networks, ["keys"], {(key,): y for key, (_, y) in places.items()})
        best = {
            (x, y)
            for x, y in places.values()
            if not any(a <= x and b >= y and (a, b) != (x, y) for a, b in places.values())
        }
        front = here[here["kind"] == "front"]
        assert front[["cost", "value"]].to_numpy() == pytest.approx(np.array(sorted(best)))


def test_what_was_stopped_is_told_with_every_epoch_beside_it(csv, trials):
    table = csv("stopped")
    trained = [t for t in trials if t.retraining == "finetune"]
    early = [t for t in trained if t.stopped]
    against = {t.tags["stopped_best_key"] for t in early}

    def role(trial):
        return "stopped" if trial.stopped else "against" if trial.key in against else "to its end"

    expected = {
        (t.key, role(t), row["epoch"]): row["val/top1"]
        for t in trained
        for row in t.table("epochs")
    }
    assert early and against <= {t.key for t in trained}
    same(table[table["kind"] == "epoch"], ["keys", "role", "epoch"], expected)
    told = table[table["kind"] == "stopped"]
    for name in ("value", "cutoff", "peers", "rung"):
        same(told, ["keys"], {(t.key,): float(t.tags[f"stopped_{name}"]) for t in early}, name)
    for name in ("epochs_saved", "hours_saved"):
        same(told, ["keys"], {(t.key,): t.metrics[f"stopping/{name}"] for t in early}, name)
    rows = told.set_index("keys")
    for t in early:
        assert rows.loc[t.key, "against"] == t.tags["stopped_best"]
        assert rows.loc[t.key, "against_key"] == t.tags["stopped_best_key"]


def test_rounds_are_points_over_density(in_three_rounds):
    """From the dense network through the rounds, which are epochs, to what the trial ended with."""
    table = pd.read_csv(in_three_rounds[0] / "units_over_density.csv")
    trials = [Trial(run) for run in in_three_rounds[2].values()]
    dense = {t.seed: t for t in trials if (t.method, t.retraining) == ("dense", "none")}
    kinds = [c for c in ("shape", "texture", "colour") for _ in (0, 1)]
    parts = ("interpretable", "unique")
    metrics = {"mis/mean", "val/top1", *(f"dissection/{part}" for part in parts)}
    metrics |= {f"dissection/{kind}/{part}" for kind in kinds for part in parts}
    levels = table[table["kind"] == "level"]
    assert set(levels["name"]) == {"dense, trained again", "untrained"}
    shown = table[table["kind"] == "network"]
    assert set(shown["metric"]) == metrics
    for trial in (t for t in trials if t.schedule == "iterative"):
        meant = trial.criterion == "l1" and not trial.reversed
        name = "unstructured" if meant else "most important first"
        name = "pruned by chance" if trial.criterion == "random" else name
        for metric in metrics:
            own = shown[(shown["keys"] == trial.key) & (shown["metric"] == metric)]
            expected = {1.0: dense[trial.seed].metrics[metric]}
            for row in trial.table("epochs"):
                if not math.isnan(row["mis/mean"]):
                    expected[1 - row["prune/sparsity"]] = row[metric]
            expected[1 - trial.metrics["prune/sparsity"]] = trial.metrics[metric]
            if not meant and metric.count("/") == 2:
                assert own.empty  # categories are of the study's own trials
                continue
            assert set(own["name"]) == {name} and len(own) == len(expected) == 4
            found = dict(zip(own["density"], own["value"], strict=True))
            for density, value in expected.items():
                assert found[min(found, key=lambda d: abs(d - density))] == pytest.approx(value)

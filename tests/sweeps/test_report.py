"""The report: frames that say what MLflow says, figures of those numbers, and a page of both."""

import dataclasses
import io
import json
import re
import runpy
import shutil
import sqlite3
import threading
from contextlib import closing
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from mlflow.entities import Param, Run, RunData, RunInfo
from report_frames import LAYERS, OF_OTHER_SWEEPS, log_sweep, log_trial, synthetic, without
from rich.console import Console

from sweeps.plan.section import Section
from sweeps.report import load, report_published, report_study
from sweeps.report.findings import findings
from sweeps.report.page.render import Drawing, Shown, render
from sweeps.report.page.svg import inline_svg
from sweeps.report.page.table import COLUMNS, summary, terminal_table
from sweeps.report.page.words import purpose_fields, summary_sentences
from sweeps.report.read.frames import _caption
from sweeps.report.read.recipe import recipes
from sweeps.report.read.same_units import against_dense, shares, with_dense
from sweeps.report.read.values import baseline
from sweeps.report.sections.all import SECTIONS, with_own
from sweeps.report.sections.cost import pareto_front
from sweeps.report.sections.layers import name_blocks
from sweeps.report.sections.lines import ring_units
from sweeps.report.sections.series import all_series, line_rows, mean_rows
from sweeps.report.sections.style import WIDTH, _apart, _columns, legend, new_figure
from sweeps.report.statistics.population import compared
from sweeps.report.write import PAGE, _print, write_files
from sweeps.studies import load_study
from sweeps.tracking.tracker import Tracker
from trainables.config import flat_params
from trainables.config.replicates import arms

SMALL = {"methods": ("unstructured", "structured"), "rates": (0.5, 0.9), "channels": 3}


@pytest.fixture(scope="module", autouse=True)
def no_tracking_uri():
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield


@pytest.fixture(scope="module")
def frames():
    return synthetic(**SMALL, seeds=(0, 1))


@pytest.fixture(scope="module")
def few():
    return synthetic(methods=("structured",), rates=(0.5, 0.9), channels=3)


@pytest.fixture(scope="module")
def logged(few, tmp_path_factory):
    """A store with one sweep, reported: (results, tracker, what was printed)."""
    results = tmp_path_factory.mktemp("results")
    tracker = log_sweep(few, results, tmp_path_factory.mktemp("files"))
    text = io.StringIO()
    report_study("synthetic", results, None, Console(file=text, width=100))
    return results, tracker, text.getvalue()


def page_of(frames):
    """The page without its figures, which take seconds."""
    return render(frames, findings(frames), [])


BY_NAME = {section.name: section for section in SECTIONS}


def tables(frames):
    """Name of every section -> its table, or the sentence that says why there is none."""
    return {section.name: section.data(frames) for section in SECTIONS}


def drawn(frames):
    """Name of every section -> its figure, or the sentence that says why there is none."""
    return {
        name: table if isinstance(table, str) else BY_NAME[name].draw(table)
        for name, table in tables(frames).items()
    }


# Frames are what MLflow holds.


def test_what_was_logged_is_what_is_loaded(logged, few):
    (results, *_), frames = logged, few
    loaded = load("synthetic", results)
    there = loaded.trials.set_index("key").loc[frames.trials["key"]]
    for name in frames.trials.columns:
        if "/" in name:
            expected = frames.trials[name].to_numpy()
            assert there[name].to_numpy() == pytest.approx(expected, nan_ok=True), name
    for name in ("method", "rate", "schedule", "criterion", "retraining", "seed", "recipe"):
        assert list(there[name]) == list(frames.trials[name]), name
    for name in ("most_important_first", "rounds", "held", "outcome", "label", "stopped"):
        assert list(there[name]) == list(frames.trials[name]), name
    for ours, theirs in ((loaded.units, frames.units), (loaded.epochs, frames.epochs)):
        left = ours.set_index("key").sort_index(kind="stable")
        right = theirs.set_index("key").sort_index(kind="stable")
        assert len(left) == len(right)
        numbers = right.select_dtypes("number").columns
        assert left[numbers].to_numpy() == pytest.approx(right[numbers].to_numpy(), nan_ok=True)
    assert len(loaded.dissected) == len(frames.dissected)
    assert loaded.gaps == () and loaded.missing == 0
    assert loaded.purpose == frames.purpose


class Rows(HTMLParser):
    """Rows of the table of all trials: key -> the values of its cells; and the headings."""

    def __init__(self, page):
        super().__init__()
        self.rows, self.headings, self._inside, self._heading = {}, [], False, False
        self.feed(page[page.index('<table id="all">') :])

    def handle_starttag(self, tag, attributes):
        named = dict(attributes)
        self._heading = tag == "button"
        if tag == "tr" and "id" in named:
            self._cells = self.rows.setdefault(named["id"], [])
        elif tag == "td" and "data-value" in named:
            self._cells.append(named["data-value"])

    def handle_data(self, data):
        if self._heading:
            self.headings.append(data)
            self._heading = False


def test_every_number_of_the_table_is_a_metric_of_its_run(logged):
    results, tracker, _ = logged
    page = (results / "report" / "synthetic" / PAGE).read_text()
    table = Rows(page)
    metrics = {column.heading: column.name for column in COLUMNS}
    runs = tracker.finished()
    assert set(table.rows) == set(runs)
    shown = table.headings[1:]
    assert len(shown) > 15
    for key, cells in table.rows.items():
        for heading, value in zip(shown, cells, strict=True):
            assert float(value) == runs[key].data.metrics[metrics[heading]], heading


def test_the_parent_run_holds_page_figures_tables_and_the_summary(logged):
    _, tracker, _ = logged
    parent = tracker.runs("sweep")[0]
    files = {a.path for a in tracker.client.list_artifacts(parent.info.run_id, "report")}
    names = ("accuracy_vs_sparsity", "mis_vs_sparsity", "accuracy_vs_mis", "mis_by_layer", "cost")
    assert {f"report/{n}.{kind}" for n in names for kind in ("png", "svg")} <= files
    tables = ("trials", "statistics", "validity", "epochs")
    assert {f"report/{n}.{kind}" for n in tables for kind in ("csv", "parquet")} <= files
    assert {f"report/{PAGE}", "report/units.parquet"} <= files
    note = parent.data.tags["mlflow.note.content"]
    assert "\n14 networks, 11 of them pruned (structured)" in note and "never ran" in note


def test_the_three_questions_of_the_docs_are_answered(logged, few, monkeypatch, capsys):
    script = Path(__file__).parents[2] / "docs" / "three_questions.py"
    monkeypatch.setattr("sys.argv", [str(script), "synthetic", str(logged[0])])
    found = runpy.run_path(str(script))
    said = capsys.readouterr().out
    trials = few.trials
    dense = trials.loc[trials["label"] == "dense", "val/top1"].item()
    assert f"minus the dense network's {dense:.3f}" in said
    pruned = trials[(trials["method"] == "structured") & ~trials["most_important_first"]]
    pruned = pruned[pruned["outcome"] != "stopped"]
    best = pruned.groupby("rate")["val/top1"].max() - dense
    rows = [line.split() for line in said.splitlines()]
    for rate, lost in best.items():
        assert [f"{rate:g}", f"{lost:.3f}"] in rows
    retrained = pruned[pruned["retraining"] == "finetune"]
    assert f"{retrained.loc[retrained['rate'] == 0.5, 'mis/mean'].mean():.3f}" in said
    assert f"Units of {found['sparsest']['label']} that became less clear" in said
    assert found["own"]["change"].notna().all() and len(found["extremes"]) == 10


def test_the_notebook_of_the_docs_runs_and_shows_what_it_showed(logged):
    cells = json.loads((Path(__file__).parents[2] / "docs" / "three_questions.ipynb").read_text())[
        "cells"
    ]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert all(cell["outputs"] for cell in cells if cell["cell_type"] == "code")
    assert not [o for c in cells for o in c.get("outputs", ()) if o["output_type"] == "error"]
    named = 'study, results = "demo", Path("results")'
    assert named in code[0]
    here = code[0].replace(named, f'study, results = "synthetic", Path({str(logged[0])!r})')
    known: dict[str, object] = {}
    for each in (here, *code[1:]):
        exec(compile(each, "three_questions.ipynb", "exec"), known)
    assert len(known["own"]) > 0 and len(known["control"]) > 0


def test_the_terminal_summary_fits_a_hundred_columns(logged):
    *_, text = logged
    lines = text.splitlines()
    table = [line for line in lines if "structured 0.5" in line and "✗" not in line]
    assert len(table) > 4 and max(len(line) for line in table) <= 100
    assert "✗" not in text


def test_checks_that_fail_are_printed(few):
    console = Console(file=io.StringIO(), width=100)
    alone = dataclasses.replace(few, trials=few.trials[few.trials["criterion"] != "random"])
    found = findings(alone)
    failed = [check.name for check in found.checks if check.status == "failed"]
    _print(alone, found, Path("there"), console)
    assert failed and re.findall(r"✗ ([^:]+):", console.file.getvalue()) == failed


def test_the_terminal_table_marks_what_did_not_complete(frames):
    console = Console(file=io.StringIO(), width=100)
    console.print(terminal_table(summary(frames.trials), "t"))
    text = console.file.getvalue()
    assert "stopped" in text and max(map(len, text.splitlines())) <= 100


# What the numbers are.


def test_units_find_themselves_in_the_dense_network_of_their_seed(frames):
    units = frames.units.drop(columns="dense_mis")
    found = with_dense(units, frames.trials)
    trial = frames.trials.set_index("key")
    dense = {
        (trial.loc[u.key, "seed"], u.layer, u.channel): u.mis
        for u in units.itertuples()
        if trial.loc[u.key, "method"] == "dense" and trial.loc[u.key, "retraining"] == "none"
    }
    expected = [dense[trial.loc[u.key, "seed"], u.layer, u.channel] for u in units.itertuples()]
    assert found["dense_mis"].to_numpy() == pytest.approx(np.array(expected))


def test_the_change_is_over_alive_units_that_count(frames):
    trials = frames.trials.drop(columns="mis/change")
    ours = against_dense(trials, [frames.units])["mis/change"]
    for place, key in enumerate(trials["key"]):
        differences = [
            u.mis - u.dense_mis
            for u in frames.units.itertuples()
            if u.key == key and u.state == "alive" and u.counted
        ]
        assert ours.iloc[place] == pytest.approx(sum(differences) / len(differences))
        if place > 5:
            break
    logged = against_dense(frames.trials.assign(**{"mis/change": 0.25}), [frames.units])
    assert (logged["mis/change"] == 0.25).all()


def test_shares_of_states_are_of_the_units_that_count(frames):
    key = frames.trials.loc[frames.trials["label"] == "structured 0.9 one_shot", "key"].iloc[0]
    mine = frames.units[(frames.units["key"] == key) & frames.units["counted"]]
    share = shares(frames.units).loc[key]
    assert share["dead"] == pytest.approx((mine["state"] == "dead").mean())
    assert share.sum() == pytest.approx(1)


def test_means_over_seeds_and_their_standard_errors():
    rows = [
        {"rate": 0.5, "prune/sparsity": 0.48, "val/top1": 0.6, "key": "a", "val/top1_error": 0.1},
        {"rate": 0.5, "prune/sparsity": 0.50, "val/top1": 0.7, "key": "b", "val/top1_error": 0.1},
        {"rate": 0.5, "prune/sparsity": 0.52, "val/top1": 0.8, "key": "c", "val/top1_error": 0.1},
        {"rate": 0.9, "prune/sparsity": 0.90, "val/top1": 0.3, "key": "d", "val/top1_error": 0.02},
        {"rate": 0.9, "prune/sparsity": 0.90, "val/top1": float("nan"), "key": "e"},
    ]
    points = pd.DataFrame(mean_rows(pd.DataFrame(rows), "val/top1"))
    assert points["prune/sparsity"].tolist() == pytest.approx([0.5, 0.9])
    assert points["value"].tolist() == pytest.approx([0.7, 0.3])
    over_seeds = (((0.6 - 0.7) ** 2 + 0 + (0.8 - 0.7) ** 2) / 2) ** 0.5 / 3**0.5
    assert points["error"].tolist() == pytest.approx([over_seeds, 0.02])
    assert points["n"].tolist() == [3, 1] and points["keys"].tolist() == ["a,b,c", "d"]


def test_a_line_joins_trials_that_differ_in_rate_and_seed_alone(frames):
    slower = frames.trials.assign(
        recipe=frames.trials["recipe"] + ", lr 0.001",
        key=frames.trials["key"] + "s",
        rate=frames.trials["rate"],
    )
    few = slower[slower["rate"] == 0.5]
    both = dataclasses.replace(frames, trials=pd.concat([frames.trials, few], ignore_index=True))
    seen = []
    for series in all_series(compared(both.trials)):
        same = ["method", "schedule", "criterion", "retraining", "recipe"]
        assert (series.rows[same].nunique() == 1).all()
        assert "random" not in set(series.rows["criterion"])
        assert not series.rows["most_important_first"].any()
        assert series.main == ("0.001" not in series.recipe)
        seen += list(series.rows["key"])
    assert len(seen) == len(set(seen)) == len(compared(both.trials))


def test_methods_are_compared_by_one_criterion_and_others_stand_beside_the_controls(frames):
    trials = frames.trials.copy()
    chance = trials["criterion"] == "random"
    how = trials.loc[chance, ["method", "rate", "retraining", "schedule", "seed"]].iloc[0]
    alike = (trials[list(how.index)] == how).all(axis=1) & ~chance & ~trials["most_important_first"]
    assert alike.sum() == 1
    extra = trials[alike].assign(criterion="lrp", key="0123456789ab")
    changed = dataclasses.replace(frames, trials=pd.concat([trials, extra], ignore_index=True))
    assert set(compared(changed.trials)["criterion"]) == {"l1"}
    assert set(compared(changed.trials)["key"]) == set(compared(frames.trials)["key"])
    table = BY_NAME["controls"].data(changed)
    own = table[table["keys"] == "0123456789ab"]
    assert own["arm"].tolist() == ["lrp", "lrp"]
    assert own["metric"].tolist() == ["val/top1", "mis/mean"]


def by_criteria(*names):
    """A sweep of one method that compares criteria."""
    parts = [synthetic(methods=("structured_global",), controls=False) for _ in names]
    trials = pd.concat(
        [
            p.trials.assign(
                criterion=p.trials["criterion"].where(p.trials["rate"] == 0, name),
                key=p.trials["key"] + name,
            )
            for p, name in zip(parts, names, strict=True)
        ],
        ignore_index=True,
    )
    return dataclasses.replace(parts[0], trials=trials)


def test_a_sweep_of_criteria_is_coloured_by_criterion_and_chance_is_one():
    found = by_criteria("lrp", "taylor", "random")
    hues = {series.hue for series in all_series(compared(found.trials))}
    assert hues == {"lrp", "taylor", "random"}


@pytest.mark.slow
def test_a_criterion_that_the_report_has_never_heard_of_is_drawn_like_any_other(frames):
    found = by_criteria("l1", "yours", "random")
    hues = dict.fromkeys(series.hue for series in all_series(compared(found.trials)))
    assert list(hues) == ["l1", "random", "yours"]
    known = tables(by_criteria("l1", "l2", "random"))
    absent = {name for name, table in known.items() if isinstance(table, str)}
    assert {name for name, figure in drawn(found).items() if isinstance(figure, str)} == absent
    named_otherwise = frames.trials.assign(
        criterion=frames.trials["criterion"].replace({"l1": "yours"})
    )
    figures = drawn(dataclasses.replace(frames, trials=named_otherwise))
    assert {n for n, f in figures.items() if isinstance(f, str)} <= OF_OTHER_SWEEPS


def only_one_drawn(name, **changes):
    """A section that is changed, and one of ours: drawing takes seconds."""
    return (dataclasses.replace(BY_NAME[name], **changes), BY_NAME["controls"])


def nobody_thought_of(*_):
    raise KeyError("what nobody thought of")


@pytest.mark.parametrize("part", ["data", "draw"])
def test_a_figure_that_cannot_be_drawn_leaves_the_others(few, tmp_path, part):
    write_files(few, tmp_path, only_one_drawn("cost", **{part: nobody_thought_of}))
    page = (tmp_path / PAGE).read_text()
    assert "This figure could not be drawn: KeyError" in page
    assert not list(tmp_path.glob("cost.*"))
    assert {path.suffix for path in tmp_path.glob("controls.*")} == {".png", ".svg", ".csv"}


def own_section(name="hours", **changes):
    """A section as a study of one's own may have it: without a column `released`."""

    def draw(table):
        figure, (axes,) = new_figure()
        axes.plot(table["rate"], table["seconds"], "o")
        return figure

    parts = {"title": "Hours", "question": "Is it worth it?", "reading": "Lower is better."}
    parts |= {"data": lambda frames: frames.trials[["rate", "seconds"]], "draw": draw}
    return Section(name, **(parts | changes))


def test_a_study_shows_sections_of_its_own(few, tmp_path):
    empty = {"data": lambda frames: frames.trials.iloc[:0]}
    odd = {"data": lambda frames: 7}
    sections = with_own([own_section(), own_section("none", **empty), own_section("odd", **odd)])
    assert [s.name for s in sections] == [*BY_NAME, "hours", "none", "odd"]
    write_files(few, tmp_path, sections[-3:])
    page = (tmp_path / PAGE).read_text()
    assert "Is it worth it?" in page and '<a href="hours.csv" download>' in page
    assert "There is nothing to draw." in page and "This figure could not be drawn" in page
    table = pd.read_csv(tmp_path / "hours.csv")
    assert table["seconds"].tolist() == few.trials["seconds"].tolist()
    assert (tmp_path / "hours.png").exists() and (tmp_path / "hours.svg").exists()
    assert not list(tmp_path.glob("none.*")) + list(tmp_path.glob("odd.*"))
    instead = with_own([own_section("cost")])
    assert [s.name for s in instead] == list(BY_NAME)
    assert {s.name: s.title for s in instead}["cost"] == "Hours"


def test_a_report_of_a_study_has_its_own_sections(logged, monkeypatch):
    results, tracker, _ = logged
    study = dataclasses.replace(load_study("demo"), sections=(own_section(),))
    assert [c.key for c in study.expand()] == [c.key for c in load_study("demo").expand()]
    monkeypatch.setattr("sweeps.report.write.study_names", lambda: ["synthetic"])
    monkeypatch.setattr("sweeps.report.write.load_study", lambda _: study)
    shown = []
    monkeypatch.setattr("sweeps.report.write.write_report", lambda *given: shown.append(given[4]))
    assert report_study("synthetic", results, None, Console(file=io.StringIO())) == 0
    assert shown == [study.sections]


@pytest.mark.parametrize("name", ["", "Cost", "../cost", "trials", "report", "a b", "x" * 61])
def test_a_section_that_cannot_have_files_is_refused(name):
    with pytest.raises(ValueError, match="the name of a section must be small letters"):
        own_section(name)


def test_the_front_is_what_nothing_beats():
    random = np.random.default_rng(0)
    cost, value = random.random(60).round(1), random.random(60).round(1)
    front = pareto_front(pd.Series(cost), pd.Series(value))
    points = set(zip(cost, value, strict=True))
    expected = {
        (c, v)
        for c, v in points
        if not any(d <= c and w >= v and (d, w) != (c, v) for d, w in points)
    }
    assert set(front.itertuples(index=False, name=None)) == expected


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=12),
    st.floats(0.01, 0.2),
)
def test_names_are_moved_apart_and_no_further(wanted, gap):
    wanted = sorted(wanted)
    places = _apart(wanted, gap)
    assert all(b - a >= gap - 1e-9 for a, b in zip(places, places[1:], strict=False))
    assert sum(places) == pytest.approx(sum(wanted), abs=1e-6)
    if all(b - a >= gap for a, b in zip(wanted, wanted[1:], strict=False)):
        assert places == pytest.approx(wanted)


def test_recipes_say_what_differs_and_nothing_else():
    base = {"prune.rate": "0.5", "finetune.epochs": "3", "finetune.optimizer": "sgd"}
    base |= {"finetune.lr": "0.005", "prune.criterion": "l1", "prune.held": "True", "seed": "0"}
    base |= {"prune.samples_per_class": "10", "data.pixels": "64"}
    none = {"prune.rate": "0.5", "finetune": "None", "prune.criterion": "l1", "prune.held": "True"}
    trials = [
        base,
        base | {"prune.rounds": "3", "finetune.epochs": "1"},
        base | {"prune.held": "False", "seed": "1", "prune.rate": "0.9"},
        base | {"prune.criterion": "lrp", "prune.samples_per_class": "2"},
        base | {"prune.criterion": "lrp"},
        none,
        {"finetune.epochs": "3", "finetune.optimizer": "sgd", "finetune.lr": "0.005"},
    ]
    assert recipes(trials) == [
        "3 epochs, sgd 0.005, held",
        "3 × 1 epoch, sgd 0.005, held",
        "3 epochs, sgd 0.005, not held",
        "3 epochs, sgd 0.005, held, samples per class 2",
        "3 epochs, sgd 0.005, held, samples per class 10",
        "held",
        "3 epochs, sgd 0.005",
    ]


def test_trials_that_differ_in_anything_but_rate_and_draws_are_no_replicates():
    base = load_study("demo").expand()[-1].replace({"prune.criterion": "l1"})
    base = base.replace({"prune.most_important_first": False})
    changes = (
        {},
        {"recalibrate_images": 256},
        {"prune.schedule": "iterative", "prune.rounds": 2},
        {"prune.schedule": "iterative", "prune.rounds": 3},
        {"prune.exclude": ("conv2",)},
        {"score.n_tasks": 10},
    )
    params = [flat_params(base.replace(change)) for change in changes]
    kinds = [(p["schedule"], recipe) for p, recipe in zip(params, recipes(params), strict=True)]
    assert len(set(kinds)) == len(changes) == len(set(arms(params)))
    assert kinds[2] == ("iterative", "rounds 2, recalibrate images 512, n tasks 20")
    # What sets dense networks apart is told by their pair.
    other = flat_params(base.replace({"compute.precision": "bf16"}))
    assert recipes([params[0], other])[1] == recipes([params[0]])[0] and arms([params[0], other])
    alike = ({"seed": 1}, {"data.seed": 1}, {"prune.rate": 0.9}, {"compute.threads": 1})
    same = [params[0], *(flat_params(base.replace(change)) for change in alike)]
    assert len(set(recipes(same))) == len(set(arms(same))) == 1


def test_the_summary_names_the_sparsest_network_that_is_as_good(frames):
    text = " ".join(summary_sentences(frames))
    trials = frames.trials
    retrained = trials[(trials["method"] == "dense") & (trials["retraining"] == "finetune")]
    floor = retrained["val/top1"].mean() - 0.02
    good = compared(frames.trials)
    good = good[good["val/top1"] >= floor]
    best = good.loc[good["prune/sparsity"].idxmax()]
    assert f"is {best['label']}: {best['val/top1']:.3f} at a sparsity of" in text
    assert f"a top-1 accuracy of {trials.query(DENSE)['val/top1'].mean():.3f}" in text


DENSE = "method == 'dense' and retraining == 'none'"


def test_a_docstring_is_taken_apart():
    head, fields = purpose_fields(
        "Does it\nwork?\n\nPurpose   To see\n          twice.\nSource    A paper.\n"
    )
    assert head == "Does it work?"
    assert fields == [("Purpose", "To see twice."), ("Source", "A paper.")]


# Figures.


@pytest.mark.slow
def test_every_figure_is_drawn_of_a_whole_sweep(frames):
    absent = {name: said for name, said in drawn(frames).items() if isinstance(said, str)}
    assert set(absent) <= OF_OTHER_SWEEPS


def test_names_of_blocks_do_not_lie_over_each_other():
    blocks = ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")
    layers = ["conv2", "conv3", *(f"inception{block}.x" for block in blocks for _ in range(6))]
    figure, (axes,) = new_figure(1, 2.6)
    name_blocks(axes, layers, 30, "layer", True)
    figure.canvas.draw()
    shown = [label for label in axes.get_xticklabels() if label.get_text()]
    assert {"conv2", "3a"} <= {label.get_text() for label in shown}
    places = axes.get_xticks()[[bool(label.get_text()) for label in axes.get_xticklabels()]]
    pixels = np.diff(axes.transData.transform([(x, 0) for x in places])[:, 0])
    # Turned by 45 degrees a name is as high across as its letters are, times the root of two.
    assert pixels.min() > shown[0].get_fontsize() * figure.dpi / 72


def test_a_legend_is_never_wider_than_the_page():
    """Ten names in seven columns: the first three hold two of them."""
    names = ["pruned by chance", "most important first", *(["unstructured"] * 8)]
    columns = _columns(names)
    parts = np.array_split(names, columns)
    assert sum(0.58 + 0.058 * max(map(len, part)) for part in parts) < WIDTH
    figure, _ = new_figure()
    legend(figure, [Line2D([], [], marker="o", label=name) for name in names])
    figure.draw_without_rendering()
    assert figure.legends[0].get_window_extent().width <= figure.bbox.width


def test_a_figure_becomes_a_piece_of_the_page(frames):
    section = BY_NAME["mis_vs_sparsity"]
    figure = section.draw(section.data(frames))
    told = {key: f"told of {key}" for key in frames.trials["key"]}
    svg = inline_svg(figure, "mis", "A title & more", told | {"released 05": "released, faulty"})
    ids = re.findall(r'\bid="([^"]+)"', svg)
    assert ids and len(ids) == len(set(ids)) and all(i.startswith("mis-") for i in ids)
    for target in re.findall(r'(?:url\(#|xlink:href="#)([^")]+)', svg):
        assert target in ids
    assert "#000000" not in svg and "#ffffff" not in svg and "DejaVu" not in svg
    assert 'class="released"' in svg and "released, faulty" in svg
    assert 'aria-label="A title &amp; more"' in svg
    assert len(re.findall(r'href="#[0-9a-f]{12}"', svg)) == 16


def test_a_ring_leads_to_its_unit_where_the_atlas_has_it():
    figure, (axes,) = new_figure()
    row = {"keys": "abc", "layer": 'a"<b>&', "channel": 7, "x": 0.5, "value": 0.6}
    ring_units(axes, pd.DataFrame([row, row | {"keys": "other"}]), "x", (0, 1))
    svg = inline_svg(figure, "units", "Units", {}, {"abc": "atlas.html"})
    links = ElementTree.fromstring(svg).findall(".//{http://www.w3.org/2000/svg}a")
    titles = [link[0].text for link in links]
    assert titles == ['a"<b>& #7'] * 2
    assert [link.get("href") for link in links] == [
        "atlas.html#b=abc&unit=a%22%3Cb%3E%26%3A7",
        None,
    ]


def test_title_legend_and_caption_of_a_file_lie_around_the_figure(logged):
    svg = (logged[0] / "report" / "synthetic" / "accuracy_vs_sparsity.svg").read_text()
    places = {}
    for at, text in re.findall(r'<text [^>]*? y="([^"]*)"[^>]*>([^<]+)</text>', svg):
        places[text] = float(at)
    starts = re.findall(r'text-anchor: start[^>]* x="([^"]*)"', svg)
    assert len(starts) > 5 and all(float(at) > 0 for at in starts)
    order = [
        "Accuracy and sparsity",
        "0.8",
        "sparsity (fraction of prunable weights that are zero)",
    ]
    order += ["structured", "fine-tuned, iterative"]
    caption = next(text for text in places if text.startswith("googlenet on concepts"))
    heights = [places[name] for name in (order[0], order[1], order[2], order[4], caption)]
    assert heights == sorted(heights)
    assert all(b - a > 8 for a, b in zip(heights, heights[1:], strict=False))


def test_the_caption_says_all_where_a_folder_s_images_were_not_limited():
    limits = {"data.name": "image_folder", "data.train_images": "None", "data.val_images": "3000"}
    params = [Param(name, value) for name, value in {**limits, "network.name": "googlenet"}.items()]
    info = RunInfo("0", "0", "someone", "FINISHED", 0, 1, "active")
    run = Run(info, RunData(params=params))
    assert _caption([run]) == "googlenet on image_folder; all train, 3000 val images"


def test_released_points_are_shown_unasked_beside_imagenet_alone(few):
    asked, unasked = '<input type="checkbox" id="overlay">', 'id="overlay" checked'
    assert asked in page_of(few) and unasked not in page_of(few)
    trials = few.trials.assign(**{"data.name": "image_folder"})
    assert unasked in page_of(dataclasses.replace(few, trials=trials))


def test_the_page_asks_for_nothing(logged):
    results, *_ = logged
    page = (results / "report" / "synthetic" / PAGE).read_text()
    assert not re.search(r'(?:src|@import|url\()\s*[=(]?\s*["\']?(?:https?:)?//', page)
    assert not re.search(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=.https?:", page)
    # No rounds and no ends of them, no ranking over layers, no curves, one number of images, none
    # searched, of MIS alone no two figures of several scores, no answers (three), no twins.
    assert page.count("<svg") == len(SECTIONS) - 12
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


# Bad input: what is missing is said, what there is is shown.


def test_an_unknown_study_is_refused_and_none_is_made(logged):
    results, tracker, _ = logged
    with pytest.raises(ValueError, match="must hold the study 'sythetic', it holds synthetic"):
        load("sythetic", results)
    assert tracker.client.get_experiment_by_name("sythetic") is None


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="it holds no mlflow.db"):
        load("demo", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_sweep_is_refused(logged):
    with pytest.raises(ValueError, match="holds no sweep ffff of the study synthetic"):
        load("synthetic", logged[0], "ffff")


@pytest.fixture(scope="module")
def whole(few, tmp_path_factory):
    """A results folder with a sweep of eight trials, and two that never came."""
    folder = tmp_path_factory.mktemp("whole")
    eight = dataclasses.replace(few, trials=few.trials.head(8), missing=2)
    log_sweep(eight, folder / "results", folder / "files")
    return folder / "results"


@pytest.fixture
def store(whole, tmp_path):
    """A copy to break: (results, tracker)."""
    results = tmp_path / "results"
    shutil.copytree(whole, results)
    with closing(sqlite3.connect(results / "mlflow.db")) as database, database:
        for table, column in (("runs", "artifact_uri"), ("experiments", "artifact_location")):
            moved = f"{column} = replace({column}, '{whole}', '{results}')"
            database.execute(f"UPDATE {table} SET {moved}")
    return results, Tracker("synthetic", results)


@pytest.mark.slow
def test_what_was_deleted_half_way_is_said_and_the_rest_is_shown(store):
    results, tracker = store
    runs = list(tracker.finished().values())
    gone, broken = runs[0], runs[1]
    tracker.client.delete_run(gone.info.run_id)
    for path in results.glob(f"artifacts/*/{broken.info.run_id}/artifacts/units.parquet"):
        path.unlink()
    for path in results.glob(f"artifacts/*/{runs[2].info.run_id}/artifacts/units.parquet"):
        path.write_bytes(b"no parquet")
    loaded = load("synthetic", results)
    assert loaded.missing == 3 and len(loaded.trials) == 7
    assert "could not be read of 2 of 7 trials" in loaded.gaps[0]
    assert broken.info.run_name in loaded.gaps[0]
    page = page_of(loaded)
    assert "could not be read of 2 of 7 trials" in page
    assert "3 planned trials are not finished" in page
    for figure in drawn(loaded).values():
        assert isinstance(figure, (Figure, str))


def test_a_lost_plan_is_said(store):
    results, tracker = store
    for path in results.glob("artifacts/*/*/artifacts/plan/trial_keys.txt"):
        path.unlink()
    loaded = load("synthetic", results)
    assert len(loaded.trials) == 8 and "which trials were planned is not known" in loaded.gaps[0]


def test_a_sweep_without_a_finished_trial_is_refused_with_its_first_error(store):
    results, tracker = store
    for run in tracker.finished().values():
        tracker.client.update_run(run.info.run_id, status="FAILED")
        tracker.set_tags(run.info.run_id, {"error": "the loss must be finite"})
    with pytest.raises(ValueError, match="has none; the first of 8 errors: the loss must be"):
        load("synthetic", results)


def test_failed_trials_are_listed_with_their_errors(store):
    results, tracker = store
    run = next(iter(tracker.finished().values()))
    tracker.client.update_run(run.info.run_id, status="FAILED")
    tracker.set_tags(run.info.run_id, {"error": "<b>no</b> memory", "outcome": "failed"})
    loaded = load("synthetic", results)
    assert loaded.unfinished["error"].tolist() == ["<b>no</b> memory"]
    page = page_of(loaded)
    assert "&lt;b&gt;no&lt;/b&gt; memory" in page and "1 trials that did not finish" in page


def test_a_trial_that_an_earlier_sweep_finished_belongs_to_both(store, few, tmp_path):
    (results, tracker), frames = store, few
    other = dataclasses.replace(frames, sweep_key="second", trials=frames.trials.iloc[:0])
    parent = log_sweep(other, results, tmp_path / "more").runs("sweep")[0]
    keys = list(tracker.finished())
    tracker.client.log_text(parent.info.run_id, "\n".join(keys), "plan/trial_keys.txt")
    row = frames.trials[~frames.trials["key"].isin(keys)].iloc[0].to_dict()
    log_trial(tracker, parent.info.run_id, row, frames, tmp_path / "one")
    assert set(load("synthetic", results, "second").trials["key"]) == set(keys)


class Refusing(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(403)
        self.end_headers()

    do_POST = do_GET

    def log_message(self, *_):
        pass


def test_a_server_that_refuses_is_one_sentence(tmp_path, monkeypatch):
    server = HTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.server_port}")
    try:
        with pytest.raises(ValueError, match="refuses this machine"):
            load("demo", tmp_path)
    finally:
        server.shutdown()
        server.server_close()


def test_a_server_that_is_not_there_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(ValueError, match="must answer"):
        load("demo", tmp_path)


@pytest.mark.slow
def test_a_store_that_takes_nothing_stops_nothing(store, monkeypatch):
    results, _ = store
    monkeypatch.setattr("sweeps.report.write.write_sections", lambda *_: [])  # seconds
    with closing(sqlite3.connect(results / "mlflow.db")) as database, database:
        refused = "BEGIN SELECT RAISE(ABORT, 'read only'); END"
        database.execute(f"CREATE TRIGGER refuse BEFORE INSERT ON tags {refused}")
    text = io.StringIO()
    assert report_study("synthetic", results, None, Console(file=text, width=100)) == 0
    assert "problem: the report could not be logged to sqlite" in text.getvalue()
    assert (results / "report" / "synthetic" / PAGE).exists()


NOTHING_ELSE = {"stopped": False, "controls": False}
ODD = {
    "one method": {"methods": ("structured",), "rates": (0.5, 0.9), "channels": 2},
    "one rate": {"methods": ("structured", "unstructured"), "rates": (0.5,), "channels": 2},
    "no controls": SMALL | NOTHING_ELSE,
    "neither epochs nor dissection": SMALL | {"epochs": False, "dissected": False},
    "another network": SMALL,
    "the dense network alone": {"methods": (), "rates": (0.5,), "channels": 2} | NOTHING_ELSE,
}
OLDER = [
    *("val/top1_error", "mis/error", "mis/change_error", "mis/pixels_mean", "stopped", "held"),
    *("cost/params", "cost/macs", "cost/latency", "cost/macs_dense", "cost/params_dense"),
    *("cost/latency_dense", "dissection/interpretable", "dissection/unique"),
]


def broken(name):
    frames = synthetic(**ODD.get(name, SMALL))
    if name == "NaN metrics":
        trials = frames.trials.copy()
        metrics = [c for c in trials if "/" in c]
        trials.loc[trials["method"] == "structured", metrics] = float("nan")
        return dataclasses.replace(frames, trials=trials)
    if name == "only NaN":
        metrics = {c: float("nan") for c in frames.trials if "/" in c}
        return dataclasses.replace(frames, trials=frames.trials.assign(**metrics))
    if name == "no units":
        return dataclasses.replace(frames, units=pd.DataFrame({"key": [], "label": []}))
    if name == "an older sweep":
        return without(frames, *OLDER)
    if name == "no baselines":
        is_pruned = frames.trials["rate"] > 0
        return dataclasses.replace(frames, trials=frames.trials[is_pruned])
    if name == "another network":
        renamed = dict(zip(LAYERS, (f"layer{i}.conv" for i in range(99)), strict=False))
        units = frames.units.assign(layer=frames.units["layer"].map(renamed))
        return dataclasses.replace(frames, units=units)
    return frames


CASES = [*ODD, "NaN metrics", "only NaN", "no units", "an older sweep", "no baselines"]


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_what_there_is_is_shown_and_what_is_missing_is_said(name):
    frames = broken(name)
    absent = {}
    for section, found in drawn(frames).items():
        assert isinstance(found, (Figure, str)), section
        if isinstance(found, str):
            absent[section] = found
            assert found.endswith(".") and len(found) > 20, section
        elif name in ("NaN metrics", "an older sweep"):  # laying out takes a second each
            assert inline_svg(found, section, section, {}).startswith("<svg")
    not_shown = [
        Shown(BY_NAME[section], (Drawing(absent=said),)) for section, said in absent.items()
    ]
    page = render(frames, findings(frames), not_shown)
    for said in absent.values():
        assert said.split("(")[0].strip(" .").replace("'", "&#39;") in page
    assert ">nan<" not in page
    assert len(Rows(page).rows) == len(frames.trials)


def test_one_trial_alone_makes_a_report(tmp_path):
    frames = broken("the dense network alone")
    one = dataclasses.replace(frames, trials=frames.trials.head(1))
    write_files(one, tmp_path)
    assert "1 networks" in (tmp_path / PAGE).read_text()


@pytest.mark.slow
def test_the_released_points_alone_say_what_they_hold(tmp_path):
    """That there is no relation does not survive, and the box of checks is red (facts of each)."""
    text = io.StringIO()
    assert report_published(tmp_path, Console(file=text, width=100)) == 0
    folder = tmp_path / "report" / "published"
    page = re.sub(r"\s+", " ", (folder / PAGE).read_text())
    for said in (
        "MIS rises with nominal rate within this training over 28 pruned networks (7 arms",
        "MIS rises with nominal rate within this training over 20 retrained networks",
        "MIS falls with top-1 accuracy within this training over 20 retrained networks",
        "8 of them with masks that were not held",
        "3 typed in by hand",
        "How another training would come out is not known",
    ):
        assert said in page, said
    table = pd.read_csv(folder / "statistics.csv").set_index(["x", "y", "trials"]).sort_index()
    by_rate, by_top1 = (table.loc[(x, "mis/mean")] for x in ("rate", "val/top1"))
    assert round(by_rate.loc["all", "pearson pooled"], 2) == 0.48
    assert round(by_rate.loc["all", "pearson within arms"], 2) == 0.70
    assert round(by_top1.loc["retrained", "pearson pooled"], 2) == -0.96
    assert by_rate.loc["all", "verdict"] == by_top1.loc["retrained", "verdict"] == "related"
    red = re.findall(r'<li class="failed">.*?<b>(.*?)</b>', page)
    assert set(red) >= {
        *("masks held", "same dense network", "dense network scored", "dense network retrained"),
        *("dead units left out", "scores measured", "sparsity measured"),
    }
    assert page.count("<svg") >= 4 and "masks held:" in text.getvalue()


def test_a_dense_network_with_a_zero_is_not_called_pruned():
    made = synthetic(seeds=(0,), channels=2)
    trials = made.trials.copy()
    trials.loc[trials["method"] == "dense", "prune/sparsity"] = 1e-7
    n_pruned = trials["method"].isin(["structured", "unstructured", "connection"]).sum()
    said = summary_sentences(dataclasses.replace(made, trials=trials))[0]
    assert f", {n_pruned} of them pruned (" in said


def test_of_several_networks_the_summary_says_no_mean():
    one, two = (synthetic(seeds=(0,), channels=2, dissected=False).trials for _ in range(2))
    two = two.assign(key=two["key"] + "b", **{"val/top1": two["val/top1"] / 2})
    named = [t.assign(**{"network.name": name}) for t, name in ((one, "resnet18"), (two, "vgg16"))]
    trials = pd.concat(named, ignore_index=True)
    made = dataclasses.replace(synthetic(seeds=(0,), channels=2), trials=trials)
    text = " ".join(summary_sentences(made))
    levels = [baseline(t, "dense", "none", "val/top1") for t in named]
    assert f"resnet18 {levels[0]:.3f}, vgg16 {levels[1]:.3f}." in text
    assert "The sparsest network" not in text
    for series in all_series(compared(trials).assign(recipe=trials["network.name"])):
        (name,) = set(series.rows["network.name"])
        start = next(iter(line_rows(series, trials, "val/top1")))
        level = "finetune" if series.retrained else "none"
        own = trials[trials["network.name"] == name]
        assert start["value"] == pytest.approx(baseline(own, "dense", level, "val/top1"))


def test_text_from_outside_is_text():
    frames = synthetic(**SMALL)
    nasty = dataclasses.replace(
        frames,
        study="<script>alert(1)</script>",
        trials=frames.trials.assign(label="<img src=x onerror=alert(1)>"),
    )
    page = page_of(nasty)
    assert "<script>alert" not in page and "<img src=x" not in page

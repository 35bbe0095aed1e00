"""A trial that was stopped early is called so, and no comparison of accuracies has it."""

import dataclasses
import io

import pytest
from report_frames import synthetic
from rich.console import Console

from sweeps.report.findings import findings
from sweeps.report.page.description import description
from sweeps.report.page.render import Drawing, Shown, render
from sweeps.report.page.table import summary, terminal_table
from sweeps.report.page.words import summary_sentences
from sweeps.report.read.best import best_trials
from sweeps.report.sections.all import SECTIONS
from sweeps.report.sections.stopped import STOPPED
from sweeps.report.statistics.matched import matched_subset
from sweeps.report.statistics.population import choose
from sweeps.tracking.charts import view_state

ACCURACIES = ("val/top1", "val/top5", "val/loss", "val/top1_a", "val/top1_b")


@pytest.fixture(scope="module")
def frames():
    """Whichever was stopped has the best accuracy of all: as good as only a mistake could be."""
    made = synthetic(methods=("unstructured", "structured"), rates=(0.5, 0.9), channels=2)
    trials = made.trials
    early = trials["outcome"] == "stopped"
    assert early.sum() == 1
    for name in (*ACCURACIES, "mis/change"):
        trials.loc[early, name] = 0.999
    return dataclasses.replace(made, trials=trials)


@pytest.fixture(scope="module")
def key(frames):
    return frames.trials.loc[frames.trials["outcome"] == "stopped", "key"].iloc[0]


@pytest.fixture(scope="module")
def without(frames, key):
    """The same sweep, had the trial never been."""
    others = frames.trials[frames.trials["key"] != key]
    return dataclasses.replace(
        frames, trials=others, epochs=frames.epochs[frames.epochs["key"] != key]
    )


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.name)
def test_no_section_compares_its_accuracy(section, frames, key):
    table = section.data(frames)
    if isinstance(table, str) or section.name == "stopped":
        return
    theirs = table[table["keys"].astype(str).str.contains(key, regex=False)]
    assert not theirs["metric"].astype(str).str.startswith("val/").any()
    if section.name == "mis_vs_sparsity":
        assert len(theirs) == 1  # its score is of the network as it was


def test_neither_words_nor_choices_are_of_it(frames, without, key):
    label = frames.trials.set_index("key").loc[key, "label"]
    of_accuracy = ("top-1", "within", "chosen", "extremes")
    said = [s for s in summary_sentences(frames) if any(word in s for word in of_accuracy)]
    assert said and label not in " ".join(said)
    assert [s for s in summary_sentences(without) if s in said] == said
    assert key not in set(best_trials(frames.trials)["key"])
    for stratum in ("all", "retrained"):
        assert matched_subset(frames.trials, stratum) == matched_subset(without.trials, stratum)
    population = choose(frames.trials, "prune/sparsity", "val/top1", "retrained")
    assert key not in set(population.points["key"])
    assert population.left_out["stopped early, with an accuracy that is not final"] == 1
    assert key in set(choose(frames.trials, "prune/sparsity", "mis/change").points["key"])


def test_it_is_called_stopped_wherever_it_is_shown(frames, key):
    label = frames.trials.set_index("key").loc[key, "label"]
    console = Console(file=io.StringIO(), width=300)
    console.print(terminal_table(summary(frames.trials), "t"))
    assert f"{label} (stopped)" in console.file.getvalue()
    sentence = (
        "1 trial was stopped early, which saved 2 epochs (about 0.2 h of a trial's time); they are "
        "scored as they were then, and are in no comparison of final accuracies."
    )
    assert sentence in summary_sentences(frames)
    assert sentence in description(frames, [], "1", "r", "page")
    page = render(frames, findings(frames), [Shown(STOPPED, (Drawing(svg="<svg/>"),))])
    assert "stopped after epoch 1: not among the best" in page and "which saved 2 epochs" in page


def test_the_section_says_when_against_whom_and_what_it_saved(frames, key):
    table = STOPPED.data(frames)
    (row,) = table[table["kind"] == "stopped"].to_dict("records")
    trial = frames.trials.set_index("key").loc[key]
    assert (row["keys"], row["name"], row["against"]) == (
        key,
        trial["label"],
        trial["stopped_best"],
    )
    assert (row["value"], row["cutoff"], row["peers"]) == (0.25, 0.5, 4)
    assert (row["epochs_saved"], row["hours_saved"]) == (2, 0.25)
    curves = table[table["kind"] == "epoch"]
    assert set(curves["role"]) == {"stopped", "against", "to its end"}
    assert set(curves[curves["role"] == "against"]["keys"]) == {trial["stopped_best_key"]}
    assert STOPPED.draw(table).axes
    # By what it was stopped is what is drawn, also where one has blown up.
    losses = frames.epochs.assign(**{"val/loss": 2.0})
    losses.loc[losses["key"] == key, "val/loss"] = 1e9
    by_loss = frames.trials.assign(stopped_metric="val/loss")
    table = STOPPED.data(dataclasses.replace(frames, epochs=losses, trials=by_loss))
    assert set(table["metric"]) == {"val/loss"}
    (axes,) = STOPPED.draw(table).axes
    assert axes.get_ylim() == (0, 2.6) and axes.get_ylabel() == "val/loss"


def test_mlflows_charts_show_what_was_saved_where_anything_was():
    def bars(metrics):
        charts = view_state(metrics)["compareRunCharts"]
        return [chart["metricKey"] for chart in charts if chart["type"] == "BAR"]

    assert bars(["val/top1"]) == ["mis/change"]
    assert bars(["val/top1", "stopping/epochs_saved"]) == ["mis/change", "stopping/epochs_saved"]

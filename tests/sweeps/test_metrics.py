"""One vocabulary of metrics: what trials log, what is shown, searched and stopped by."""

import re
import sqlite3

import pytest
from kept_results import unpack
from optuna.distributions import FloatDistribution

from mis import UNIT_SCORES
from sweeps.plan.metrics import METRICS, error_of, find, label
from sweeps.plan.metrics_of_units import VALUES
from sweeps.plan.rungs import Stopping
from sweeps.plan.space import Search
from sweeps.report.page.table import COLUMNS


def test_names_and_headings_are_there_once():
    for field in ("name", "heading", "label"):
        values = [value for metric in METRICS if (value := getattr(metric, field))]
        assert len(set(values)) == len(values)


def test_every_error_is_a_metric_and_every_drawn_one_has_a_meaning():
    assert [m.name for m in METRICS if m.error and find(m.error) is None] == []
    assert [m.name for m in METRICS if m.label and not m.meaning] == []
    assert error_of("mis/mean") == "mis/error" and error_of("cost/macs") == error_of("?") == ""
    assert label("val/top1") == "top-1 accuracy"
    with pytest.raises(KeyError):
        label("mis/error")


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("mis/mean", "mis/mean"),
        ("mis/inception4a.branch2/mean", "mis/<layer>/mean"),
        ("mis/inception4a.branch2/error", "mis/<layer>/<number>"),
        ("dissection/texture", "dissection/<number>"),
        ("dissection/unique", "dissection/unique"),
        ("auprc/change_error", "auprc/change_error"),
        ("own/kurtosis/mean", "own/<score>/mean"),
        ("own/kurtosis/change", "own/<score>/change"),
        ("mis/nothing", None),
        ("val/top1x", None),
        ("", None),
    ],
)
def test_a_metric_is_found_by_the_first_form_that_it_fits(name, form):
    found = find(name)
    assert (found and found.name) == form


def test_every_score_of_units_has_its_metrics():
    assert [v for kind in UNIT_SCORES.values() for v in kind.values] == list(VALUES)


# As each of five tables of its own had them before there was one.
SEARCHED = re.compile(
    r"val/(top1|top1_[ab]|top5|loss|ece)|train/loss"
    r"|prune/(rate|sparsity|sparsity_network|n_zero|n_collapsed)"
    r"|cost/(params|macs|latency)(_masked)?"
    r"|mis/(mean|median|task_accuracy|change|mean_dead_as_half|n_units|n_unread|n_constant|n_dead)"
    r"|mis/.+/mean|dissection/.+"
    r"|(monosemanticity|selectivity|auprc|locality|own/<score>)/(mean|change)"
)


def test_a_search_takes_what_it_took_and_stopping_too():
    concrete = {m.name.replace("<layer>", "conv1").replace("<number>", "x") for m in METRICS}
    taken = {name for name in concrete if find(name).searched}
    assert taken == {name for name in concrete if SEARCHED.fullmatch(name)}
    assert [m.name for m in METRICS if m.stops] == ["val/top1", "val/top5", "val/loss"]
    for metric in METRICS:
        if metric.stops:
            assert Stopping(metric=metric.name).metric == metric.name
    for wrong in ("mis/error", "val/top2", "mis/n_prunable"):
        with pytest.raises(ValueError, match="a search needs metrics that trials end with"):
            Search({"prune.rate": FloatDistribution(0.1, 0.9)}, {wrong: "max"}, 1)


def test_columns_stand_as_they_stood():
    assert [c.heading for c in COLUMNS if c.terminal] == [
        *("sparsity", "top-1", "MIS", "change", "units", "dead"),
    ]


def test_all_that_real_trials_have_logged_is_known(tmp_path):
    with sqlite3.connect(unpack(tmp_path) / "mlflow.db") as database:
        logged = {name for (name,) in database.execute("SELECT DISTINCT key FROM metrics")}
    database.close()
    assert len(logged) > 100
    assert sorted(name for name in logged if find(name) is None) == []

"""What MLflow's own pages show of a study at once: chosen charts, and what the names mean.

MLflow keeps a shared view of an experiment's runs in one of its tags; a link names the tag's key.
"""

import base64
import json
import zlib
from collections.abc import Collection
from typing import Any
from urllib.parse import quote

from sweeps.plan.metrics import METRICS, SAVED
from sweeps.tracking.notes import note_tags
from sweeps.tracking.tracker import KIND, Tracker, Unavailable

VIEW = "secateur"
_VIEW_TAG = f"mlflow.sharedViewState.{VIEW}"
_NOTE_BEGINS = "One run a trial (one network), one parent run a sweep"
_COMPARED = 100  # trials that one address can name

_FIRST = "The sweep"
_PARAMS = ("method", "rate", "schedule", "criterion", "retraining")
_METRICS = ("prune/sparsity", "val/top1", "mis/mean", "mis/change")

_PARAMS_MEAN = {
    "method, rate, schedule, criterion": "what was pruned, how much was asked for, in which "
    "rounds, by which importance of weights",
    "retraining": "`none` as pruned, `recalibrate` BatchNorm's statistics only, `finetune`, or "
    "a rewinding",
}
_STEP_MEANS = {"step": "epoch"}


_LINE = {
    "type": "LINE",
    "xAxisKey": "step",
    "yAxisKey": "metric",
    "scaleType": "linear",
    "xAxisScaleType": "linear",
    "range": {},
    "yAxisExpressions": [],
    "lineSmoothness": 0,
    "useGlobalXaxisKey": True,
    "useGlobalLineSmoothing": True,
}
"""A chart by epochs, as MLflow's page makes one."""


def publish_views(tracker: Tracker, metrics: Collection[str]) -> None:
    """The experiment's tags: the charts of `runs_view`, and a description where nobody wrote one.

    metrics: names of all that the trials have. A server that refuses stops nothing.
    """
    try:
        tags = tracker.client.get_experiment(tracker.experiment_id).tags
        new = note_tags(tags, _experiment_note(), earlier=_NOTE_BEGINS)
        view = _packed(view_state(metrics))
        if tags.get(_VIEW_TAG) != view:
            new[_VIEW_TAG] = view
        for name, value in new.items():
            tracker.client.set_experiment_tag(tracker.experiment_id, name, value)
    except Unavailable:
        return


def metric_names(tracker: Tracker) -> list[str]:
    """Of a trial that finished, and of one that was stopped early, where there are any."""
    condition = f"tags.{KIND} = 'trial' and attributes.status = 'FINISHED'"
    names: dict[str, float] = {}
    for also in ("", f" and metrics.`{SAVED}` > 0"):
        found = tracker.client.search_runs([tracker.experiment_id], condition + also, max_results=1)
        names |= {name: value for run in found for name, value in run.data.metrics.items()}
    return list(names)


def charts_path(experiment_id: str) -> str:
    """The part of an address behind `#` of a study's trials as charts, best first."""
    view = f"workflowType=machine_learning&viewStateShareKey={VIEW}&compareRunsMode=CHART"
    return f"/experiments/{experiment_id}/runs?{view}"


def compare_path(experiment_id: str, run_ids: Collection[str]) -> str:
    """That of MLflow's comparison of runs, with parallel coordinates; of 100 at most."""
    runs = json.dumps(list(run_ids)[:_COMPARED], separators=(",", ":"))
    experiments = json.dumps([experiment_id])
    return f"/compare-runs?runs={quote(runs)}&experiments={quote(experiments)}"


def view_state(metrics: Collection[str]) -> dict[str, Any]:
    """The state of MLflow's page of runs: trials only, sorted by top-1, with six charts, and one
    of what was saved where trials were stopped early.

    metrics: those that MLflow would make a chart of each; they follow, folded.
    """
    first = {"uuid": "secateur", "name": _FIRST, "display": True, "isReordered": True}
    sections: list[dict[str, Any]] = [first | {"columns": 2}]
    folded = {name.rpartition("/")[0] for name in metrics} - {""}
    sections += [
        {"uuid": f"s{at}", "name": name, "display": False, "isReordered": False}
        for at, name in enumerate(sorted(folded))
    ]
    return {
        "searchFilter": f"tags.{KIND} = 'trial'",
        "orderByKey": "metrics.`val/top1`",
        "orderByAsc": False,
        "runsHiddenMode": "SHOW_ALL",
        "selectedColumns": [
            *(f"params.`{name}`" for name in _PARAMS),
            *(f"metrics.`{name}`" for name in _METRICS),
            "tags.`outcome`",
        ],
        "compareRunSections": sections,
        "compareRunCharts": _charts(SAVED in set(metrics)),
        "isAccordionReordered": True,
    }


def _charts(stopped: bool) -> list[dict[str, Any]]:
    charts: list[dict[str, Any]] = [
        _scatter("prune/sparsity", "val/top1"),
        _scatter("prune/sparsity", "mis/mean"),
        _scatter("val/top1", "mis/mean"),
        _LINE | {"metricKey": "val/top1", "selectedMetricKeys": ["val/top1"]},
        {
            "type": "PARALLEL",
            "selectedParams": list(_PARAMS[:4]),
            "selectedMetrics": ["prune/sparsity", "val/top1", "mis/mean"],
            "showAllRuns": True,
        },
        {"type": "BAR", "metricKey": "mis/change"},
        *([{"type": "BAR", "metricKey": SAVED}] if stopped else []),
    ]
    common = {"metricSectionId": "secateur", "deleted": False, "isGenerated": False}
    return [{"uuid": f"c{at}", **common, **chart} for at, chart in enumerate(charts)]


def _scatter(x: str, y: str) -> dict[str, Any]:
    axes = {axis: {"key": key, "type": "METRIC"} for axis, key in (("xaxis", x), ("yaxis", y))}
    return {"type": "SCATTER", "runsCountToCompare": 1_000, **axes}


def _packed(state: dict[str, Any]) -> str:
    """As MLflow's page packs it: a tag of an experiment holds 5,000 characters."""
    text = json.dumps(state, separators=(",", ":")).encode()
    return "deflate;" + base64.b64encode(zlib.compress(text, 9)).decode()


def _experiment_note() -> str:
    metrics = {metric.name: metric.meaning for metric in METRICS if metric.meaning}
    names = _PARAMS_MEAN | metrics | _STEP_MEANS
    rows = "\n".join(f"| `{name}` | {meaning} |" for name, meaning in names.items())
    return (
        f"{_NOTE_BEGINS}: its description is the summary, "
        f"its artifact `report` the report.\n\n| name | meaning, unit |\n|---|---|\n{rows}"
    )

"""What was stopped early: when, against whom, and what it saved."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from sweeps.plan.metrics import HOURS_SAVED, SAVED, label
from sweeps.plan.section import Section
from sweeps.report.read.frames import SweepFrames
from sweeps.report.read.values import number, text, was_stopped
from sweeps.report.sections.lines import scatter_trials
from sweeps.report.sections.series import tidy
from sweeps.report.sections.style import GREY, legend, new_figure

_TOP1 = "val/top1"
_OF_ONE = (_TOP1, "val/top5")
_EARLY, _BEST = "#d55e00", "#0072b2"


def _stopped(frames: SweepFrames) -> pd.DataFrame | str:
    """Kind `stopped`, a row per trial that was: its value and the cutoff at the rung, how many
    peers were there, the best of them (`against`) and its key, epochs that it ran and saved, hours
    saved. Kind `epoch`: the curves of all trials in what they were stopped by; `role` says which
    were stopped, or the best."""
    ended = frames.trials[was_stopped(frames.trials)]
    if ended.empty:
        return "No trial was stopped early."
    said = text(ended, "stopped_metric")
    metric = next((name for name in said if name in frames.epochs), _TOP1)
    rows = [*_decisions(ended), *_curves(frames, ended, metric)]
    return tidy([{**row, "metric": row.get("metric") or metric} for row in rows])


def _decisions(ended: pd.DataFrame) -> list[dict[str, object]]:
    columns = {
        "name": text(ended, "label"),
        "metric": text(ended, "stopped_metric"),
        "value": number(ended, "stopped_value"),
        "cutoff": number(ended, "stopped_cutoff"),
        "peers": number(ended, "stopped_peers"),
        "against": text(ended, "stopped_best"),
        "against_key": text(ended, "stopped_best_key"),
        "rung": number(ended, "stopped_rung"),
        "epoch": number(ended, "epoch"),
        "epochs_saved": number(ended, SAVED),
        "hours_saved": number(ended, HOURS_SAVED),
        "arm": text(ended, "stopped_arm"),
        "keys": text(ended, "key"),
    }
    table = pd.DataFrame(columns).assign(kind="stopped", role="stopped")
    return [{str(name): v for name, v in row.items()} for row in table.to_dict("records")]


def _curves(frames: SweepFrames, ended: pd.DataFrame, metric: str) -> list[dict[str, object]]:
    if metric not in frames.epochs:
        return []
    trials = frames.trials
    name = dict(zip(trials["key"], trials["label"], strict=True))
    roles = dict.fromkeys(text(ended, "stopped_best_key"), "against")
    roles |= dict.fromkeys(text(ended, "key"), "stopped")
    curves = frames.epochs.dropna(subset=[metric]).sort_values("epoch", kind="stable")
    rows: list[dict[str, object]] = []
    for key, curve in curves.groupby("key", observed=True):
        row = {"kind": "epoch", "name": name.get(key, ""), "metric": metric, "keys": str(key)}
        row["role"] = roles.get(str(key), "to its end")
        for epoch, value in zip(curve["epoch"], curve[metric], strict=True):
            rows.append({**row, "epoch": epoch, "value": value})
    return rows


def _draw_stopped(table: pd.DataFrame) -> Figure:
    figure, (axes,) = new_figure()
    looks = {
        "to its end": (GREY, 0.7, 0.45),
        "against": (_BEST, 1.4, 1.0),
        "stopped": (_EARLY, 1.4, 1.0),
    }
    curves = table[table["kind"] == "epoch"]
    for role, (ink, width, alpha) in looks.items():
        for key, curve in curves[curves["role"] == role].groupby("keys", sort=False):
            axes.plot(curve["epoch"], curve["value"], color=ink, lw=width, alpha=alpha)
            last = curve.iloc[-1]
            if role == "stopped":
                scatter_trials(
                    axes, [last["epoch"]], [last["value"]], [str(key)], ink, "x", size=40
                )
    axes.set_xlabel("epoch after pruning")
    metric = str(table["metric"].iloc[0])
    axes.set_ylabel(label(metric) if metric == _TOP1 else metric)
    if metric in _OF_ONE:
        axes.set_ylim(0, 1)
    elif len(curves):  # where one has blown up, the others are to be seen
        axes.set_ylim(0, 1.3 * float(curves.loc[curves["role"] != "stopped", "value"].max()))
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    there = set(curves["role"])
    handles = {
        "stopped": Line2D([], [], color=_EARLY, marker="x", label="stopped early, then scored"),
        "against": Line2D([], [], color=_BEST, label="the best that they were measured against"),
        "to its end": Line2D([], [], color=GREY, lw=0.9, label="trained to its end"),
    }
    legend(axes, [handle for role, handle in handles.items() if role in there])
    return figure


STOPPED = Section(
    "stopped",
    "What was stopped",
    "Which trials ended early, when, against whom, and what did it save?",
    "Trials that the scheduler ended early are scored as they were then and called stopped; their "
    "accuracies are not final, and no figure or table compares them. Below: each by its name.",
    _stopped,
    _draw_stopped,
)

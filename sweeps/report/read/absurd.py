"""Runs that cannot be what a trial left: they are named and left out, and the others are shown."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

_MOST = 1e15  # no metric of a trial is above it; MLflow stores an infinity as 1.8e308
_FRACTIONS = ("val/top1", "val/top5", "prune/sparsity", "prune/sparsity_network", "mis/mean")
_LOSSES = ("train/loss", "val/loss", "val/ece")  # of a training that went astray they may be any
_NUMBERS: Mapping[str, type] = {"rate": float, "seed": int, "prune.rounds": int}
_EPS = 1e-6
_Run = TypeVar("_Run", bound=Any)  # of MLflow, or what is kept of it


def sound(runs: Sequence[_Run], gaps: list[str]) -> list[_Run]:
    """The runs that make sense; gaps: gets a sentence about each of the others."""
    kept = []
    for run in runs:
        problem = _problem(run)
        if problem is None:
            kept.append(run)
        else:
            name = f"{run.info.run_name} ({run.info.run_id})"
            gaps.append(f"the run {name} is left out: {problem}")
    return kept


def finite(metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics, NaN where one overflowed."""
    return {name: v if abs(v) <= _MOST else math.nan for name, v in metrics.items()}


def _problem(run: Any) -> str | None:
    params, metrics = run.data.params, run.data.metrics
    for name, kind in _NUMBERS.items():
        text = params.get(name)
        if text is None:
            continue
        try:
            number = kind(text)
        except ValueError:
            return f"its {name} must be a number, it is {text[:40]!r}"
        if not math.isfinite(number):
            return f"its {name} must be finite, it is {text[:40]!r}"
    if "rate" not in params and params.get("method", "none") != "none":
        return "it does not tell at which rate it was pruned"
    for name, value in metrics.items():
        if name in _FRACTIONS and not math.isnan(value) and not -_EPS <= value <= 1 + _EPS:
            return f"its {name} must lie in 0 … 1, it is {value:g}"
        if abs(value) > _MOST and name not in _LOSSES:
            return f"its {name} must be below {_MOST:g}, it is {value:g}"
    if run.info.start_time is None:
        return "it does not tell when it began"
    return None

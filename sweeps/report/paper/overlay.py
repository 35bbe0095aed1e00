"""The released points as rows of a section's table, beside those of a sweep."""

from typing import Any

import pandas as pd

from sweeps.report.paper.published import published_trials
from sweeps.report.read.values import has

_SAID = ["method", "schedule", "criterion", "retraining", "recipe", "rate"]


def released_rows(
    value: str,
    x: str = "prune/sparsity",
    *,
    retraining: str = "",
    method: str = "",
    at_rate: bool = False,
) -> list[dict[str, Any]]:
    """Kind `network`: `value` over `x` of the points of which the authors measured both.

    retraining, method: only those of that kind; "" for all. at_rate: unstructured ones whose
    sparsity no log has stand at their rate, which in one ranking is the fraction of its pool.
    """
    trials = published_trials()
    for column, wanted in (("retraining", retraining), ("method", method)):
        trials = trials[trials[column] == wanted] if wanted else trials
    if at_rate:
        ranked = trials["method"] == "unstructured"
        trials = trials.assign(**{x: trials[x].fillna(trials["rate"].where(ranked))})
    if not has(trials, value, x):
        return []
    return [_row(row, value, x) for _, row in trials.dropna(subset=[value, x]).iterrows()]


def _row(trial: pd.Series, value: str, x: str) -> dict[str, Any]:
    said = {name: trial[name] for name in (*_SAID, x)}
    found = {"metric": value, "value": trial[value], "keys": trial["key"], "released": True}
    return {"kind": "network", **said, **found}

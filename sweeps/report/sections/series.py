"""Which trials a line joins, and the rows of what is drawn of them."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from sweeps.plan.metrics import error_of
from sweeps.report.read.values import baseline, has, is_accuracy, run_to_the_end
from sweeps.report.sections.style import COLOURS, WITHOUT, in_order
from trainables.methods import ROTATED

_ALIKE = ["method", "schedule", "criterion", "retraining", "recipe"]
_LINE = ["hue", *_ALIKE, "main"]
_TEXTS = ("kind", "name", "keys", "metric", *_LINE[:-1])
_FIRST = ["kind", "name", *_LINE, "rate"]
_LAST = ["metric", "value", "error", "n", "keys", "released"]
_BASELINES = (
    ("dense", "dense", "none"),
    ("dense retrained", "dense", "finetune"),
    ("untrained", "untrained", "recalibrate"),
    ("rotated", ROTATED, "none"),
)


@dataclass(frozen=True)
class Series:
    """Rows that differ in rate and seed alone: trials, or what is drawn of them.

    hue: the method, or the criterion, whichever colours tell apart. main: whether its recipe is
    the one that most trials of its kind share; others are drawn faint.
    """

    hue: str
    method: str
    schedule: str
    criterion: str
    retraining: str
    recipe: str
    main: bool
    rows: pd.DataFrame

    @property
    def retrained(self) -> bool:
        return self.retraining not in WITHOUT

    @property
    def colour(self) -> str:
        return COLOURS[self.hue]

    def row(self, kind: str, **values: Any) -> dict[str, Any]:
        """A row of what is drawn, which belongs to this series."""
        return {"kind": kind, **{name: getattr(self, name) for name in _LINE}, **values}


def all_series(trials: pd.DataFrame) -> Iterator[Series]:
    """The series of trials that are `compared`, in the order of the palette."""
    groups = trials.groupby(_ALIKE, sort=False, dropna=False)
    sizes = groups.size()
    for key, group in sorted(groups, key=lambda item: in_order(str(item[1]["hue"].iloc[0]))):
        alike = sizes.xs(key[:4], level=_ALIKE[:4])  # type: ignore[arg-type]
        is_main = bool(key[4] == alike.idxmax())
        method, schedule, criterion, retraining, recipe = map(str, key)
        hue = str(group["hue"].iloc[0])
        yield Series(hue, method, schedule, criterion, retraining, recipe, is_main, group)


def series_in(table: pd.DataFrame) -> list[Series]:
    """The series of a section's table, in its order."""
    if "hue" not in table:  # nothing but levels
        return []
    groups = table[table["hue"] != ""].groupby(_LINE, sort=False)
    return [Series(*map(str, key[:-1]), bool(key[-1]), rows) for key, rows in groups]  # type: ignore


def main_series(trials: pd.DataFrame) -> list[Series]:
    """One series a method: retrained at once where there is such a one, else what there is."""
    found: dict[str, Series] = {}
    for series in all_series(trials):
        best = found.get(series.hue)
        if best is None or _rank(series) < _rank(best):
            found[series.hue] = series
    return list(found.values())


def _rank(series: Series) -> tuple[bool, bool, bool, bool]:
    return (
        not series.retrained,
        series.schedule != "one_shot",
        not series.main,
        series.retraining == "none",
    )


def tidy(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows as a section's table: its columns in one order, "" and NaN for what a row has not.

    Columns: kind (what is drawn: network, mean, start, level, …), name (of a level), those of the
    series, rate, others of the section's own, metric, value, error, n (networks), keys (of their
    trials, with commas), released. Columns that nothing has are left out.
    """
    table = pd.DataFrame(list(rows))
    own = [name for name in table if name not in (*_FIRST, *_LAST)]
    table = table.reindex(columns=[*_FIRST, *own, *_LAST])
    for name in _TEXTS:
        table[name] = table[name].astype(object).where(table[name].notna(), "").astype(str)
    for name in ("main", "released"):
        table[name] = table[name].eq(True)
    needed = ["kind", "name", "value", "keys", "released", *own]
    needed += _LINE if table["hue"].any() else []
    empty = [
        name for name in table if table[name].isna().all() or table[name].isin(["", False]).all()
    ]
    return table.drop(columns=[name for name in empty if name not in needed])


def mean_rows(trials: pd.DataFrame, value: str) -> list[dict[str, Any]]:
    """A row per rate, the least sparse first: means over seeds at the measured sparsity.

    error: the standard error over seeds; with one seed what the trial itself knows of its error.
    """
    trials = _final(trials, value)
    if not has(trials, value, "prune/sparsity"):
        return []
    rows: list[dict[str, Any]] = []
    for rate, seeds in trials.dropna(subset=[value, "prune/sparsity"]).groupby("rate"):
        y, n, inner = seeds[value], len(seeds), error_of(value)
        alone = seeds[inner].iloc[0] if inner in seeds else np.nan
        row = {"rate": rate, "prune/sparsity": seeds["prune/sparsity"].mean()}
        row |= {"metric": value, "value": y.mean()}
        row |= {"error": y.std(ddof=1) / np.sqrt(n) if n > 1 else alone}
        rows.append(row | {"n": n, "keys": ",".join(seeds["key"])})
    return sorted(rows, key=lambda row: row["prune/sparsity"])


def _final(trials: pd.DataFrame, value: str) -> pd.DataFrame:
    """Accuracies are compared of trials that ran to their end; a score is of the network as it
    was, whenever that was."""
    return run_to_the_end(trials) if is_accuracy(value) else trials


def line_rows(series: Series, trials: pd.DataFrame, value: str) -> list[dict[str, Any]]:
    """A line from sparsity 0 through the means: kind `start` and `mean`. trials: of the sweep."""
    means = [series.row("mean", **row) for row in mean_rows(series.rows, value)]
    level = _start(series, trials, value)
    start = {"rate": 0.0, "prune/sparsity": 0.0, "metric": value, "value": level}
    return [series.row("start", **start), *means] if means and level == level else means


def is_of_recipe(series: Series, recipe: str) -> bool:
    """Whether a control of this recipe was trained as the series was; what else sets the trials of
    the series apart stands behind it."""
    return series.recipe == recipe or series.recipe.startswith(f"{recipe}, ")


def _start(series: Series, trials: pd.DataFrame, value: str) -> float:
    """At sparsity 0 lies the dense network, or it retrained, by this recipe; where that has no
    control, as of several rounds, by the recipe of most."""
    kind = series.retraining if series.retrained else "none"
    name = "network.name"
    if name in trials and name in series.rows:
        trials = trials[trials[name].isin(set(series.rows[name]))]
    dense = trials[(trials["method"] == "dense") & (trials["retraining"] == kind)]
    alike = [is_of_recipe(series, recipe) for recipe in dense["recipe"]]
    if not any(alike):
        return baseline(trials, "dense", kind, value)
    return float(dense.loc[alike, value].mean()) if value in dense else np.nan


def level_rows(trials: pd.DataFrame, value: str) -> list[dict[str, Any]]:
    """Kind `level`: the networks that are not pruned, as far as they have the value."""
    rows = []
    for name, method, retraining in _BASELINES:
        if method == ROTATED and is_accuracy(value):  # the dense network's
            continue
        level = baseline(trials, method, retraining, value)
        if level == level:
            rows.append({"kind": "level", "name": name, "metric": value, "value": level})
    return rows


def network_rows(series: Series, x: str, value: str, **more: str) -> list[dict[str, Any]]:
    """Kind `network`, a row per trial that has both metrics: `x`, and `value` over it.

    more: column -> the trials' column that it is of.
    """
    columns = {"rate": "rate", x: x, **more, "value": value, "keys": "key"}
    trials = _final(series.rows, value)
    if not has(trials, x, value):
        return []
    there = trials.dropna(subset=[x, value, *more.values()])
    return [
        series.row("network", metric=value, **{n: row[of] for n, of in columns.items()})
        for row in there.to_dict("records")
    ]

"""Checks of what was run: masks, controls, dense networks, seeds, trials that are missing."""

from collections.abc import Hashable
from typing import Any

import numpy as np
import pandas as pd

from pruning import budget_of, n_pruned
from sweeps.report.checks.check import Check, listed
from sweeps.report.read.values import (
    flag,
    is_pruned,
    is_pruned_here,
    is_retrained,
    number,
    text,
    top1_by_recipe,
    within_layers,
)
from trainables.methods import METHODS

KEPT_TOP1 = 0.02  # a recipe that keeps the dense network's top-1 keeps it to so much
_TWO_SIDED = 1.96  # standard errors, 95 % of a normal distribution
SMALLEST_LAYER = 16  # filters, and input channels, of GoogLeNet's; other networks have more
_LAYERWISE = tuple(name for name, method in METHODS.items() if method["scope"] == "layer")


def check_masks(trials: pd.DataFrame) -> Check:
    """Is what should be zero zero: no mask let go, and the sparsity that the rate asks for?

    Counts are floored: of n groups of a layer floor(rate x n) are pruned, so a layerwise sparsity
    lies up to 1 / 16 below the rate. One of whole filters or channels in a global ranking is not
    fixed by the rate, nor that of rates for each layer, and only has to be above 0. Of a budget
    what the compacted network costs must be within it. Trials stopped between rounds are not asked.
    """
    name = "masks held"
    pruned = trials[is_pruned_here(trials) & (text(trials, "outcome") != "stopped")]
    let_go = text(pruned, "prune.held") == "False"
    if let_go.any():
        return Check(
            name,
            "failed",
            f"the masks of {let_go.sum()} of {len(pruned)} pruned trials were not held while "
            f"they were retrained: {listed(_labels(pruned[let_go]))}",
        )
    sparsity, rate = number(pruned, "prune/sparsity"), number(pruned, "rate")
    asked = pruned[sparsity.notna() & rate.notna()]
    if asked.empty:
        return Check(name, "unknown", "no pruned trial has a measured sparsity and a rate")
    wrong = asked[[not _as_asked(row) for row in asked.to_dict("records")]]
    if len(wrong):
        first = wrong.iloc[0]
        return Check(
            name,
            "failed",
            f"{len(wrong)} of {len(asked)} pruned trials have not the sparsity that was asked "
            f"for, {_label(first)} has {first['prune/sparsity']:.3f} at rate {first['rate']:g}",
        )
    return Check(name, "ok", f"{len(asked)} pruned trials have the sparsity that was asked for")


def _as_asked(row: dict[Hashable, Any]) -> bool:
    sparsity, rate = float(row["prune/sparsity"]), float(row["rate"])
    if _param(row, "prune.target"):
        return 0 < sparsity < 1 and _costs(row) <= budget_of(_param(row, "prune.target")).share
    if _param(row, "prune.rates") or _param(row, "prune.round_to") not in ("", "1"):
        return 0 < sparsity < 1
    if row["method"] in _LAYERWISE:
        return rate - 1 / SMALLEST_LAYER < sparsity <= rate + 1e-3
    if row["method"] != "unstructured":
        return 0 < sparsity < 1
    n = float(row.get("prune/n_prunable", "nan"))
    floor = n_pruned(rate, int(n)) / n if n > 0 else rate
    return abs(sparsity - floor) < 1e-3


def _costs(row: dict[Hashable, Any]) -> float:
    """What is left of the dense network's costs; 0 where that was not logged."""
    name = f"cost/{budget_of(_param(row, 'prune.target')).measure}"
    whole = float(row.get(f"{name}_dense", "nan"))
    return float(row[name]) / whole if whole > 0 else 0.0


def _param(row: dict[Hashable, Any], name: str) -> str:
    """A param of a trial; "" where it has none, or None."""
    value = row.get(name)
    return value if isinstance(value, str) and value != "None" else ""


def check_sparsity(trials: pd.DataFrame) -> Check:
    """Is it measured how much was pruned, or only known what was asked for?"""
    pruned = trials[is_pruned(trials)]
    without = pruned[~np.isfinite(number(pruned, "prune/sparsity"))]
    if pruned.empty:
        return Check("sparsity measured", "unknown", "no trial is pruned")
    if len(without):
        said = f"{len(without)} of {len(pruned)} pruned trials have only the rate asked for"
        return Check("sparsity measured", "failed", f"{said}: {listed(_labels(without))}")
    return Check("sparsity measured", "ok", f"of all {len(pruned)} pruned trials")


def check_dense(trials: pd.DataFrame) -> Check:
    """Is the network that was pruned among the trials, with its score?"""
    name, pruned = "dense network scored", trials[is_pruned(trials)]
    dense = trials[(text(trials, "method") == "dense") & ~is_retrained(trials)]
    scored = dense[np.isfinite(number(dense, "mis/mean"))]
    lacking = _seeds(pruned) - _seeds(scored)
    if scored.empty:
        what = "has no MIS" if len(dense) else "is not among the finished trials"
        return Check(
            name, "failed", f"the dense network {what}: nothing says where MIS started from"
        )
    if lacking:
        return Check(name, "failed", f"of seed {listed(sorted(lacking))} it has no MIS")
    return Check(name, "ok", f"of every seed: MIS {number(scored, 'mis/mean').mean():.3f}")


def check_retrained_control(trials: pd.DataFrame) -> Check:
    """Is there a dense network that was retrained, too? Else retraining and pruning are one."""
    name = "dense network retrained"
    pruned = trials[is_pruned(trials) & is_retrained(trials)]
    control = trials[(text(trials, "method") == "dense") & is_retrained(trials)]
    if pruned.empty:
        return Check(name, "ok", "nothing was retrained after pruning, so no control is needed")
    lacking = _seeds(pruned) - _seeds(control)
    if lacking:
        whose = "" if control.empty else f" of seed {listed(sorted(lacking))}"
        return Check(
            name,
            "failed",
            f"no dense network{whose} was retrained by the same recipe: what the retraining did "
            f"cannot be told from what pruning did in {len(pruned)} trials",
        )
    top1 = top1_by_recipe(control)
    range_ = f"{top1.min():.3f}" + (f" to {top1.max():.3f}" if len(top1) > 1 else "")
    said = f"of every seed that has retrained trials: top-1 {range_}"
    moved = _moved_by_retraining(control)
    if moved.empty:
        return Check(name, "ok", said)
    farthest = (moved["change"].abs() + moved["reach"]).to_numpy()
    change, reach = moved[["change", "reach"]].to_numpy()[farthest.argmin()]
    low, high = change - reach, change + reach
    whose = "" if len(moved) == 1 else " by the recipe that changes it least"
    said += f", {change:+.3f} from the dense network{whose} (95 % over images, paired: "
    said += f"{low:+.3f} to {high:+.3f})"
    if max(-low, high) <= KEPT_TOP1:
        return Check(name, "ok", said)
    doubt = f"; not shown to lie within {KEPT_TOP1}: the recipe itself moves accuracy"
    return Check(name, "unknown", said + doubt)


def _moved_by_retraining(control: pd.DataFrame) -> pd.DataFrame:
    """A row per recipe: change, of top-1 from the dense network; reach, half of its 95 % interval
    over images. Trainings share their images, so that the errors of several do not average out."""
    each = pd.DataFrame(
        {
            "recipe": text(control, "recipe"),
            "change": number(control, "val/top1_change"),
            "reach": _TWO_SIDED * number(control, "val/top1_change_error"),
        }
    )
    return each.dropna().groupby("recipe", as_index=False).mean()


def check_same_dense(trials: pd.DataFrame) -> Check:
    """Do all trials of a seed come from one dense network?"""
    name = "same dense network"
    columns = [column for column in trials if str(column).startswith("network.")]
    started = trials[text(trials, "method") != "untrained"]
    if not columns or started.empty:
        return Check(name, "unknown", "the trials do not say which network they started from")
    said = started[columns].astype("object").map(str).assign(seed=text(started, "seed"))
    for seed, of_seed in said.groupby("seed"):
        for column in columns:
            if of_seed[column].nunique() > 1:
                different = listed(of_seed[column].unique())
                why = f"trials of seed {seed} start from different networks, by {column}"
                return Check(name, "failed", f"{why}: {different}")
    return Check(name, "ok", f"all {len(said)} trials of each seed start from the same one")


def check_controls(trials: pd.DataFrame) -> list[Check]:
    """Is every method also run by chance, and with the most important first? And what ranks all
    layers at once by chance with its own numbers per layer?"""
    pruned = trials[is_pruned_here(trials)]
    reversed_, within = flag(pruned, "most_important_first"), within_layers(pruned)
    by_chance = (text(pruned, "criterion") == "random") & ~within
    methods = set(pruned.loc[~reversed_, "method"]) if len(pruned) else set()
    in_all_layers = {m for m in methods if m not in _LAYERWISE}
    found = []
    for name, rows, asked in (
        ("pruned by chance", by_chance, methods),
        ("by chance, as many per layer", within, in_all_layers),
        ("most important first", reversed_, methods),
    ):
        lacking = asked - set(pruned.loc[rows, "method"]) if len(pruned) else set()
        if not methods:
            found.append(Check(name, "unknown", "no trial is pruned"))
        elif not asked:
            found.append(Check(name, "ok", "every method ranks each layer alone: none is needed"))
        elif lacking:
            said = f"no such control of {listed(sorted(lacking))}: a criterion may be no better"
            found.append(Check(name, "failed", f"{said} than chance"))
        else:
            found.append(Check(name, "ok", f"a control of every method, {rows.sum()} trials"))
    return found


def check_trials(trials: pd.DataFrame, missing: int, failed: int) -> Check:
    """Is anything absent? missing, failed: planned trials without a finished run."""
    outcome = text(trials, "outcome")
    failed += int((outcome == "failed").sum())
    unscored = int((~np.isfinite(number(trials, "mis/mean"))).sum())
    counts = {
        "not finished": missing,
        "failed": failed,
        "without a MIS": unscored,
        "stopped early, and scored": int((outcome == "stopped").sum()),
        "collapsed": int((outcome == "collapsed").sum()),
    }
    said = ", ".join(f"{n} {what}" for what, n in counts.items() if n)
    bad = missing + failed + unscored > 0 or trials.empty
    there = f"{len(trials)} trials finished" if len(trials) else "no trial finished"
    return Check(
        "trials complete", "failed" if bad else "ok", f"{there}{f': {said}' if said else ''}"
    )


def _seeds(trials: pd.DataFrame) -> set[float]:
    return set(number(trials, "seed").fillna(0))


def _labels(trials: pd.DataFrame) -> list[str]:
    return [_label(row) for _, row in trials.iterrows()]


def _label(row: "pd.Series[Any]") -> str:
    return str(row.get("label", f"{row['method']} {row.get('rate', '')}"))

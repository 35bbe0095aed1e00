"""What a sweep found, in a few sentences made from its numbers."""

import re
from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from sweeps.plan.metrics import HOURS_SAVED, SAVED
from sweeps.report.read.best import optimism
from sweeps.report.read.frames import SweepFrames
from sweeps.report.read.pairs import pairs
from sweeps.report.read.values import (
    baseline,
    has,
    is_pruned,
    is_retrained,
    number,
    run_to_the_end,
    text,
    top1_by_recipe,
    was_stopped,
)
from sweeps.report.statistics.population import compared

_CLOSE = 0.02  # of top-1: what is called "as good as"


def purpose_fields(purpose: str) -> tuple[str, list[tuple[str, str]]]:
    """The first sentence of a study's docstring, and its fields: (Purpose, …), (Source, …), …."""
    head, _, rest = purpose.strip().partition("\n")
    fields: list[tuple[str, str]] = []
    for line in rest.splitlines():
        begins = re.match(r"([A-Z]\w+)\s{2,}(.*)", line)
        if begins:
            fields.append((begins[1], begins[2]))
        elif fields and line.strip():
            fields[-1] = (fields[-1][0], f"{fields[-1][1]} {line.strip()}")
        elif line.strip():
            head += f" {line.strip()}"
    return head, fields


def _retrained(controls: "pd.Series[float]") -> str:
    if controls.empty:
        return ""
    if len(controls) == 1:
        return f" ({controls.iloc[0]:.3f} retrained by the same recipe)"
    ends = f"{controls.min():.3f} to {controls.max():.3f}"
    return f" ({ends} retrained by the same {len(controls)} recipes)"


def summary_sentences(frames: SweepFrames) -> list[str]:
    """The paragraph at the head of a report; what the numbers do not tell is not said."""
    trials = frames.trials
    said = [_what_there_is(frames)]
    apart = pairs(trials)
    if len(apart) > 1:  # a mean over them is nobody's
        said += [_each_pair(trials, apart), stopped_sentence(trials)]
        return [sentence for sentence in said if sentence]
    top1 = baseline(trials, "dense", "none", "val/top1")
    retrained = text(trials, "retraining") == "finetune"
    controls = top1_by_recipe(trials[(text(trials, "method") == "dense") & retrained])
    mis = baseline(trials, "dense", "none", "mis/mean")
    if top1 == top1:
        again = _retrained(controls)
        score = f" and a MIS of {mis:.3f}" if mis == mis else ""
        said.append(f"The dense network has a top-1 accuracy of {top1:.3f}{again}{score}.")
    cut = compared(trials)
    final = run_to_the_end(cut)
    reference = top1 if controls.empty else controls.max()
    if reference == reference and has(final, "val/top1", "prune/sparsity"):
        said.append(_how_far(final, reference))
        said.append(_winners(frames.trials))
    if has(final, "mis/change"):
        said += _changes(final)
    said.append(stopped_sentence(trials))
    return [sentence for sentence in said if sentence]


def _each_pair(trials: pd.DataFrame, apart: Mapping[str, "pd.Series[bool]"]) -> str:
    """What each of several dense networks is; numbers of different ones are not pooled."""
    each = [
        f"{name} {top1:.3f}"
        for name, rows in apart.items()
        if (top1 := baseline(trials[rows], "dense", "none", "val/top1")) == top1
    ]
    return f"Top-1 accuracy of the dense networks: {', '.join(each)}." if each else ""


def stopped_sentence(trials: pd.DataFrame) -> str:
    """What early stopping saved; "" where nothing was stopped."""
    gone = trials[was_stopped(trials)]
    if gone.empty:
        return ""
    saved, hours = number(gone, SAVED).sum(), number(gone, HOURS_SAVED).sum()
    run = number(trials, "epoch").sum()
    of = f" of {run + saved:,.0f}" if run else ""
    much = f", which saved {saved:,.0f}{of} epochs" if saved else ""
    much += f" (about {hours:.1f} h of a trial's time)" if hours >= 0.05 else ""
    was = "trial was" if len(gone) == 1 else "trials were"
    return (
        f"{len(gone)} {was} stopped early{much}; they are scored as they were then, and are in no "
        "comparison of final accuracies."
    )


def _what_there_is(frames: SweepFrames) -> str:
    trials = frames.trials
    n_pruned = int(is_pruned(trials).sum())  # a weight of the dense network may be 0 by chance
    methods = ", ".join(dict.fromkeys(compared(trials)["method"].str.replace("_", " ")))
    seeds = trials["seed"].nunique()
    many = f"{seeds} seeds" if seeds > 1 else "one seed"
    lacking = f"; {frames.missing} planned trials are not finished" if frames.missing else ""
    kinds = f", {n_pruned} of them pruned ({methods})" if methods else ""
    return f"{len(trials)} networks{kinds}, with {many}{lacking}."


def _how_far(trials: pd.DataFrame, reference: float) -> str:
    """The sparsest network that is as good as the dense one."""
    there = trials.dropna(subset=["val/top1", "prune/sparsity"])
    good = there[there["val/top1"] >= reference - _CLOSE]
    if good.empty:
        best = _extreme(there, "val/top1")
        return (
            f"No pruned network comes within {_CLOSE:g} of that; the best, {best['label']}, has "
            f"{best['val/top1']:.3f}."
        )
    best = _extreme(good, "prune/sparsity")
    return (
        f"The sparsest network within {_CLOSE:g} of that is {best['label']}: "
        f"{best['val/top1']:.3f} at a sparsity of {best['prune/sparsity']:.3f}."
    )


def _winners(trials: pd.DataFrame) -> str:
    """What is chosen is told on the images that it was chosen on."""
    much = optimism(trials)
    if much != much:
        return "It was chosen on the images that its accuracy is of, which are kinder to it."
    return (
        "It was chosen on the images that its accuracy is of: the best of each method and rate on "
        f"one half of them have {much:+.3f}".replace("0.", ".")
        + " more there than on the other."
    )


def _changes(trials: pd.DataFrame) -> list[str]:
    """From what to what MIS changed, of the networks that were retrained, or else of all."""
    retrained = trials[is_retrained(trials)]
    group, name = (retrained, "retrained") if has(retrained, "mis/change") else (trials, "pruned")
    there = group.dropna(subset=["mis/change"])
    low, high = (_extreme(there, "mis/change", least) for least in (True, False))
    return [
        f"Against the same units of the dense network the MIS of {name} networks changes by "
        f"{low['mis/change']:+.3f} ({low['label']}) to {high['mis/change']:+.3f} "
        f"({high['label']}); these are the extremes of {len(there)}, and partly chance."
    ]


def _extreme(trials: pd.DataFrame, column: str, least: bool = False) -> dict[Hashable, Any]:
    """The row with the largest value, or the least."""
    return trials.sort_values(column, ascending=least, kind="stable").iloc[0].to_dict()


def beside_released(frames: SweepFrames) -> bool:
    """Whether the authors' points, of ImageNet, are shown unasked: beside its thousand classes."""
    is_folder = "image_folder" in set(frames.trials.get("data.name", []))
    classes = re.search(r"([\d,]+) classes", frames.caption)  # older runs did not note them
    return is_folder and (classes is None or classes[1] == "1,000")


def trial_sentence(row: Mapping[Hashable, Any]) -> str:
    """What a pointer over a trial's marker is told."""
    parts = []
    for name, column, error in (
        ("sparsity", "prune/sparsity", ""),
        ("top-1", "val/top1", "val/top1_error"),
        ("MIS", "mis/mean", "mis/error"),
        ("change", "mis/change", "mis/change_error"),
    ):
        value = row.get(column)
        if isinstance(value, float) and value == value:
            spread = row.get(error)
            known = isinstance(spread, float) and spread == spread
            sign = "+" if name == "change" else ""
            parts.append(f"{name} {value:{sign}.3f}" + (f" ± {spread:.3f}" if known else ""))
    return f"{row['label']}: {', '.join(parts)}" if parts else str(row["label"])

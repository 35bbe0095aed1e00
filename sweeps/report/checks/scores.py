"""Checks of what was measured: units, images, and what a score is on chance alone."""

import re
from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy import stats

from mis import images_needed
from sweeps.report.checks.check import Check, Status, listed
from sweeps.report.read.values import flag, is_retrained, number, text
from sweeps.report.statistics.margin import CLEAR, FRACTION, gaps

MOST_OF_IMAGES = 0.1
"""Share of the probe images that a unit's tasks may use: beyond, its extremes are not extreme."""
MOST_TOP1_ERROR = 0.02  # standard error of top-1 over images
LATE = 1 / 3  # of the layers


def check_dead_units(trials: pd.DataFrame, units: Mapping[str, pd.DataFrame]) -> Check:
    """Are units without extremes left out? Where ties go by class they score near 1."""
    name = "dead units left out"
    counted = flag(trials, "dead_units_counted")
    if counted.any():
        which = listed(text(trials[counted], "label"))
        said = f"dead units, which score near 1, are in the mean of {counted.sum()} trials: {which}"
        return Check(name, "failed", said)
    for key, mean in zip(text(trials, "key"), number(trials, "mis/mean"), strict=True):
        if key in units and not _mean_is_of_alive(units[key], mean):
            said = f"the MIS of trial {key} is not the mean over its alive units, {mean:.4f}"
            return Check(name, "failed", said)
    gone = number(trials, "mis/n_dead") + number(trials, "mis/n_constant")
    if not gone.notna().any():
        return Check(name, "unknown", "how many units are dead was not counted")
    n_units = number(trials, "mis/n_units")
    if (n_units == 0).any():
        said = f"{(n_units == 0).sum()} trials have no unit alive, and so no MIS"
        return Check(name, "failed", said)
    share = (gone / (gone + n_units)).max()
    said = f"{gone.sum():,.0f} dead or constant units, at most {share:.0%} of a trial, are no part"
    return Check(name, "ok", f"{said} of any mean")


def _mean_is_of_alive(units: pd.DataFrame, mean: float) -> bool:
    if not np.isfinite(mean) or not {"state", "counted", "mis"} <= set(units):
        return True
    of_alive = units.loc[(units["state"] == "alive") & units["counted"], "mis"].mean()
    return bool(abs(of_alive - mean) < 1e-5)


def check_scores_differ(trials: pd.DataFrame) -> Check:
    """Are the scores measured? Different networks do not have one and the same mean."""
    name, typed = "scores measured", flag(trials, "placeholder")
    if typed.any():
        which = listed(text(trials[typed], "label"))
        return Check(name, "failed", f"{typed.sum()} scores were typed in by hand: {which}")
    scores = number(trials, "mis/mean").dropna()
    same = scores[scores.duplicated(keep=False)]
    if len(same):
        which = listed(text(trials.loc[same.index], "label"))
        said = f"{len(same)} trials have the score of another to the last digit: {which}"
        return Check(name, "unknown", said)
    if scores.empty:
        return Check(name, "unknown", "no trial has a score")
    return Check(name, "ok", f"{len(scores)} scores, no two the same")


def check_probe_images(trials: pd.DataFrame) -> Check:
    """Are there images enough for extremes, and for a mean that other images would repeat?"""
    name = "probe images enough"
    columns = ("data.probe_images", "score.n_tasks", "score.n_explanations")
    images, tasks, k = (number(trials, column).min() for column in columns)
    error = number(trials, "mis/error_images").max()
    margin = FRACTION * max((gap.value for gap in gaps(trials).values()), default=np.nan)
    if error > margin:
        said = f"with other images a mean MIS would differ by {error:.3f} (standard error)"
        return Check(name, "failed", f"{said}, more than the {margin:.3f} that matters")
    if not np.isfinite([images, tasks, k]).all():
        return Check(name, "unknown", "how many images the scores looked at is not known")
    needed = images_needed(int(tasks), int(k))
    said = f"a unit's tasks use {needed} of {images:.0f} probe images ({needed / images:.0%})"
    if needed > images:
        return Check(name, "failed", f"{said}: too few")
    if needed > MOST_OF_IMAGES * images:
        weak = "its extremes are mild, and scores comparable within this sweep only"
        return Check(name, "unknown", f"{said}: {weak}")
    return Check(name, "ok", said)


def check_validation_images(trials: pd.DataFrame) -> Check:
    """Are there images enough for top-1?"""
    name, error = "validation images enough", number(trials, "val/top1_error")
    images, top1 = number(trials, "data.val_images"), number(trials, "val/top1")
    worst = error.fillna((top1 * (1 - top1) / images) ** 0.5).max()
    if not np.isfinite(worst):
        return Check(name, "unknown", "how many images top-1 was measured on is not known")
    said = f"the standard error of top-1 over images is at most {worst:.4f}"
    return Check(name, "failed" if worst > MOST_TOP1_ERROR else "ok", said)


def check_same_units(trials: pd.DataFrame) -> list[Check]:
    """Are changes those of the same units? Of a network that came with fewer channels it is not
    known which they were; nothing is said where there is none."""
    change, error = (number(trials, f"mis/change_unpaired{end}") for end in ("", "_error"))
    if not change.notna().any():
        return []
    rows = zip(text(trials, "label"), change, error, strict=True)
    told = [
        f"{name} {value:+.3f} (standard error {its:.3f})"
        for name, value, its in rows
        if np.isfinite(value)
    ]
    said = (
        "which channels are gone the file does not say: the change of MIS to the dense network is "
        f"of all units that are alive, and what was selected counts: {listed(told)}"
    )
    return [Check("same units compared", "failed", said)]


def check_shuffled(trials: pd.DataFrame) -> Check:
    """Do units of shuffled activations score 0.5? Else tasks or vectors are wrong.

    Of one measurement 3 standard errors are too far; of many, what as few sweeps would exceed by
    chance (0.3 %, by Bonferroni).
    """
    name = "chance is 0.5"
    pair = pd.DataFrame(
        {"mean": number(trials, "mis/shuffled_mean"), "error": number(trials, "mis/shuffled_error")}
    )
    pair = pair.dropna().drop_duplicates()  # trials of a seed share images and tasks
    if pair.empty:
        return Check(name, "unknown", "no units of shuffled activations were scored")
    errors = (pair["mean"] - 0.5).abs() / pair["error"]
    worst = pair["mean"].to_numpy()[int(errors.argmax())]
    said = f"units of shuffled activations score {worst:.4f}, {errors.max():.1f} standard errors"
    said += " from 0.5" + (f", the farthest of {len(pair)}" if len(pair) > 1 else "")
    too_far = stats.norm.isf(stats.norm.sf(3) / len(pair))
    return Check(name, "failed" if errors.max() > too_far else "ok", said)


def check_untrained(trials: pd.DataFrame) -> Check:
    """Is an untrained network less interpretable than the dense one, in the last third of layers?

    Early layers of an untrained network see edges and colours, too.
    """
    name = "untrained below dense"
    untrained = trials[text(trials, "method") == "untrained"]
    dense = trials[(text(trials, "method") == "dense") & ~is_retrained(trials)]
    late = _late_layers(trials)
    sides = [_mean_and_error(rows, late) for rows in (untrained, dense)]
    (low, low_error), (high, high_error) = sides
    if not np.isfinite([low, high]).all():
        lacking = "no untrained network" if untrained.empty else "no score per layer of both"
        return Check(name, "unknown", f"{lacking} among the trials")
    error = float(np.hypot(low_error, high_error))
    said = f"in the last {len(late)} layers the untrained network scores {low:.3f}, the dense"
    said += f" {high:.3f}"
    if not np.isfinite(error):
        status: Status = "unknown" if low < high else "failed"
        return Check(name, status, f"{said}; how sure that is was not measured")
    said += f", {(high - low) / error:.1f} standard errors more" if error > 0 else ""
    if high - low > CLEAR * error:
        return Check(name, "ok", said)
    return Check(name, "unknown" if low < high else "failed", f"{said}: no clear difference")


def _mean_and_error(rows: pd.DataFrame, layers: list[str]) -> tuple[float, float]:
    """Of the layers' mean over trials. Images are shared by layers, so their errors do not average
    out; over trials the greater of what images and what trainings leave open is taken."""
    if rows.empty or not layers:
        return float("nan"), float("nan")
    means = pd.concat([number(rows, layer) for layer in layers], axis=1).mean(axis=1).dropna()
    names = [layer.removesuffix("mean") + "error" for layer in layers]
    errors = pd.concat([number(rows, name) for name in names], axis=1).mean(axis=1)
    spread = float(means.std(ddof=1)) / len(means) ** 0.5 if len(means) > 1 else 0.0
    return float(means.mean()), max(float(errors.mean()), spread)


def _late_layers(trials: pd.DataFrame) -> list[str]:
    """Columns of the last third of layers, by the order of their names, numbers as numbers."""
    layers = [c for c in map(str, trials.columns) if re.fullmatch(r"mis/.+/mean", c)]
    layers.sort(key=lambda c: [int(p) if p.isdecimal() else p for p in re.split(r"(\d+)", c)])
    return layers[-max(1, round(len(layers) * LATE)) :] if layers else []

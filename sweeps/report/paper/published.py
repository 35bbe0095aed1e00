"""The points that von Rad & Seuffert released, as trials, with what is known to be wrong with each.

Source: arXiv 2409.19727 and its repository; see README.md beside it.
"""

from collections.abc import Hashable
from importlib.resources import files
from typing import Any

import numpy as np
import pandas as pd

from sweeps.report.read.frames import SweepFrames

SOURCE = "von Rad & Seuffert 2024, released"
RATE = "rate"
"""The column to relate their MIS to: of the unstructured points no sparsity was measured."""

FAULTS = {
    "placeholder": "the value was typed by hand, not measured",
    "placeholder_run": "the other scores of its run were typed by hand, and no table backs it",
    "other_network": "the score is of another network (TensorFlow's InceptionV1)",
    "masks_not_held": "masks were applied once and not held: the zeros grew back in retraining",
    "dead_units_counted": "dead units, which score near 1, are in the mean",
    "sparsity_not_measured": "the sparsity was not measured: only the rate is known",
    "rounded": "the value was rounded by hand",
    "other_recipe": "the learning rate is another one than that of the other rates",
}
"""Column of `published_trials` -> what is wrong with the points for which it is True."""

_KEYS = ["method", "criterion", "schedule", "optimizer", "retraining", "rate"]
_VAL_IMAGES = 50_000


def published_trials() -> pd.DataFrame:
    """A row per released network, in the columns of `SweepFrames.trials`, with the FAULTS as bools.

    rate: nominal; NaN for the rounds of an iterative run. prune/sparsity: fraction of all
    convolution weights that were zero right after pruning; NaN where no log has it.
    val/top1: NaN where only MIS was released. mis/mean: NaN where only accuracy was; dead units
    included where they were (`mis/without_dead_units` leaves them out). Accuracy and MIS belong to
    one recipe, but nothing says that they are of one and the same training.
    faults: the faults of the point, in words, "" for none that is known.
    """
    accuracy, mis = _read("accuracy"), _read("mis")
    # MIS was released for the recipes of 50 epochs; of several learning rates, of the plotted one.
    scored = accuracy[
        (accuracy["epochs_per_round"].isin([0, 50])) & ~_other_rate_of_learning(accuracy)
    ]
    scored = scored[(scored["schedule"] == "one_shot") & (scored["rounded"] == 0)]
    rest = accuracy.drop(scored.index)
    trials = pd.concat([scored.merge(mis, on=_KEYS, how="outer"), rest], ignore_index=True)
    return _columns(trials)


def published_frames() -> SweepFrames:
    """The released points as a sweep of their own: what a report of them alone is made of."""
    trials = published_trials()
    own: dict[str, Any] = {"run_id": "", "seconds": 0.0, "rounds": 1, "stopped": "", "device": ""}
    nothing = pd.DataFrame({"key": [], "label": []})
    return SweepFrames(
        study="published",
        trials=trials.assign(**own, held=trials["prune.held"]),
        units=nothing,
        missing=0,
        caption="googlenet on ImageNet, 224 px; MIS by DreamSim, 20 tasks of harder images; one "
        f"training of each setting; {SOURCE}",
        epochs=nothing,
        dissected=nothing,
        unfinished=pd.DataFrame(columns=["label", "key", "status", "outcome", "error"]),
        purpose="What von Rad & Seuffert released, asked the same questions as a sweep.\n\n"
        "Source    arXiv 2409.19727 and its repository\n"
        "Expected  that no relation between MIS and pruning is found does not survive its own data",
    )


def _read(name: str) -> pd.DataFrame:
    with (files("sweeps.report.paper") / f"{name}.csv").open() as file:
        table = pd.read_csv(file, comment="#")
    text = ["criterion", "schedule", "optimizer"]
    table[text] = table[text].fillna("none")
    epochs = table["epochs" if "epochs" in table else "epochs_per_round"]
    table["retraining"] = np.where(epochs > 0, "finetune", "none")
    return table


def _other_rate_of_learning(accuracy: pd.DataFrame) -> pd.Series:
    """The structured runs with a tenth of the learning rate, of which no MIS was released."""
    is_slow = (accuracy["optimizer"] == "sgd") & (accuracy["lr"] == 0.001)
    return is_slow & (accuracy["method"] == "structured")


def _columns(table: pd.DataFrame) -> pd.DataFrame:
    """Our names, and what is wrong with each point."""
    table = table.assign(recipe=[_recipe(row) for row in table.to_dict("records")])
    retrained = table["retraining"] == "finetune"
    pruned = ~table["method"].isin(["dense", "other_network"])
    top1 = table["top1"]
    columns: dict[str, Any] = {
        "seed": 0,
        "outcome": "completed",
        "source": SOURCE,
        "most_important_first": False,
        "by_design": True,  # what is pruned by chance is no control of theirs
        "prune/sparsity": table["conv_sparsity"],
        "val/top1": top1,
        "val/top1_error": np.sqrt(top1 * (1 - top1) / _VAL_IMAGES),
        "mis/mean": table["mis"],
        "mis/without_dead_units": table["mis_without_dead"],
        "network.name": np.where(table["method"] == "other_network", "inception_v1", "googlenet"),
        "data.val_images": _VAL_IMAGES,
        "score.n_tasks": 20,
        "placeholder": table["placeholder"].fillna(0) == 1,
        "other_network": table["method"] == "other_network",
        "masks_not_held": retrained & (table["method"] == "connection"),
        "dead_units_counted": table["mis_without_dead"].notna(),
        "sparsity_not_measured": pruned & table["conv_sparsity"].isna(),
        "rounded": table["rounded"].fillna(0) == 1,
        "other_recipe": (table["lr"] == 0.001) & (table["criterion"] == "random"),
    }
    axes = ["method", "rate", "schedule", "criterion", "retraining", "recipe"]
    trials = table[axes].copy()
    for name, values in columns.items():
        trials[name] = values
    # The iterative run has one score that is not typed in, of a run without a released table.
    scored_in_rounds = trials["mis/mean"].notna() & (trials["schedule"] == "iterative")
    trials["placeholder_run"] = scored_in_rounds & ~trials["placeholder"]
    trials["prune.held"] = ~trials["masks_not_held"]
    trials["faults"] = [
        "; ".join(said for name, said in FAULTS.items() if row[name])
        for row in trials.to_dict("records")
    ]
    trials["label"] = [_label(row) for row in trials.to_dict("records")]
    trials["key"] = [f"released {number:02d}" for number in range(len(trials))]
    return trials


def _recipe(row: dict[Hashable, Any]) -> str:
    """The recipe of a retrained point, as far as it tells recipes of one method apart."""
    if row["retraining"] == "none":
        return ""
    epochs = row.get("epochs_per_round")
    if epochs != epochs or epochs is None:
        epochs = row["epochs"]
    slow = row["lr"] == 0.001 and row["optimizer"] == "sgd" and row["criterion"] == "l1"
    return f"{row['optimizer']}{' 0.001' if slow else ''}, {epochs:g} epochs"


def _label(row: dict[Hashable, Any]) -> str:
    if row["method"] == "dense":
        return "dense, released"
    if row["method"] == "other_network":
        return "InceptionV1 of TensorFlow, released"
    amount = row["rate"] if row["rate"] == row["rate"] else row["prune/sparsity"]
    how = row["recipe"] or "as pruned"
    criterion = "" if row["criterion"] == "l1" else f" {row['criterion']}"
    return f"{row['method']} {amount:g} {row['schedule']}{criterion}, {how}, released"

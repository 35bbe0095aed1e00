"""The three questions that people ask first of a finished sweep, answered from its frames.

    python docs/three_questions.py [STUDY] [RESULTS]

Reads what `make sweep` left in MLflow (the database in RESULTS, or MLFLOW_TRACKING_URI) and prints
three small tables. In a notebook the same lines work one by one.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # where the packages are not installed

import pandas as pd

from sweeps.report import load
from trainables.methods import METHODS

study = sys.argv[1] if len(sys.argv) > 1 else "demo"
results = Path(sys.argv[2] if len(sys.argv) > 2 else "results")

sweep = load(study, results)
trials, epochs, units = sweep.trials, sweep.epochs, sweep.units
# Of the first network, where the sweep compares several: a mean over them is nobody's.
trials = trials[trials["network.name"] == trials["network.name"].iloc[0]]
pruned = trials[trials["method"].isin(METHODS) & ~trials["most_important_first"]]
pruned = pruned[pruned["outcome"] != "stopped"]  # whose values are not final
dense = trials[(trials["method"] == "dense") & (trials["retraining"] == "none")]

print(f"{study}: {len(trials)} networks. {sweep.caption}\n")

# 1. How much can be pruned before accuracy suffers? The best network of each method and rate, and
#    what it lost against the dense one.
best = pruned.sort_values("val/top1").groupby(["method", "rate"]).tail(1)
lost = best["val/top1"] - dense["val/top1"].mean()
table = best.assign(change=lost).pivot(index="rate", columns="method", values="change")
print(f"1. Top-1 of the best network, minus the dense network's {dense['val/top1'].mean():.3f}:")
print(table.round(3).to_string(), end="\n\n")

# 2. Does what is left become easier to understand? The mean over alive units, beside the change of
#    *the same units*: pruning the worst units away raises the first and not the second.
columns = {"mis/mean": "MIS", "mis/change": "change of the same units", "mis/n_units": "units"}
means = pruned.groupby(["retraining", "method", "rate"])[list(columns)].mean()
print(f"2. MIS, of the dense network {dense['mis/mean'].mean():.3f}; means over seeds:")
print(means.rename(columns=columns).round(3).to_string(), end="\n\n")

# 3. Which units changed most? Every unit of the sparsest retrained network beside itself.
retrained = pruned[~pruned["retraining"].isin(["none", "recalibrate"])]
sparsest = (retrained if len(retrained) else pruned).nlargest(1, "prune/sparsity").iloc[0]
own = units[(units["key"] == sparsest["key"]) & (units["state"] == "alive")]
own = own.assign(change=own["mis"] - own["dense_mis"]).dropna(subset=["change"])
columns = ["layer", "channel", "dense_mis", "mis", "change"]
extremes = pd.concat([own.nsmallest(5, "change"), own.nlargest(5, "change")[::-1]])
# The extremes of thousands are partly chance: the same units, asked again of other images, would
# have changed less. See the figure of all of them in the report.
print(
    f"3. Units of {sparsest['label']} that became less clear, and clearer (extremes of "
    f"{len(own):,}: part of each change is chance):"
)
print(extremes[columns].round(3).to_string(index=False))

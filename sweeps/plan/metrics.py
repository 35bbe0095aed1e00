"""The metrics of a trial: what each is called, means, and is good for, in one place.

What may be searched and stopped by, MLflow's glossary, axes, tables: all read from here.
"""

from sweeps.plan.metric import Metric
from sweeps.plan.metrics_of_units import OF_UNITS

EPOCH_SECONDS = "spent/epoch_seconds"
SAVED, HOURS_SAVED = "stopping/epochs_saved", "stopping/hours_saved"

METRICS = (
    Metric(
        "prune/sparsity",
        "fraction of the prunable weights that are zero, 0 to 1, counted",
        "sparsity (fraction of prunable weights that are zero)",
        "sparsity",
        terminal=True,
    ),
    Metric(
        "prune/rate",
        "fraction of the method's groups that are pruned, 0 to 1: what prune.target, prune.rates "
        "or prune.round_to came to",
        "rate that it came to",
        "rate reached",
    ),
    Metric(
        "val/top1",
        "accuracy on the validation images, 0 to 1; `_error`: its standard error",
        "top-1 accuracy",
        "top-1",
        error="val/top1_error",
        better=1,
        stops=True,
        terminal=True,
    ),
    Metric(
        "mis/mean",
        "Machine Interpretability Score, mean over alive units; chance is 0.5, the most 1",
        "MIS, mean over alive units",
        "MIS",
        error="mis/error",
        better=1,
        terminal=True,
    ),
    Metric(
        "mis/change",
        "MIS minus what *the same units* had in the dense network",
        "change of MIS of the same units",
        "change",
        kind="change",
        error="mis/change_error",
        better=1,
        terminal=True,
    ),
    Metric(
        "mis/change_unpaired",
        "MIS minus the dense network's, of all alive units: of a network that came with fewer "
        "channels, where the same units are not known; selection counts as change; "
        "mis/<layer>/change_unpaired: of one layer",
        error="mis/change_unpaired_error",
        better=1,
        searched=False,
    ),
    Metric("mis/n_units", "units that are scored", heading="units", kind="count", terminal=True),
    Metric(
        "mis/n_dead",
        "units that answer to no image",
        heading="dead",
        kind="count",
        better=-1,
        terminal=True,
    ),
    Metric(
        "mis/n_constant",
        "units that are the same on all images",
        heading="constant",
        kind="count",
        better=-1,
    ),
    Metric(
        "mis/n_unread",
        "units that no later layer reads any more",
        heading="unread",
        kind="count",
        better=-1,
    ),
    Metric("mis/mean_dead_as_half", heading="MIS, dead as 0.5", better=1),
    Metric(
        "mis/task_accuracy",
        "fraction of two-alternative tasks solved, 0 to 1",
        heading="tasks solved",
        better=1,
    ),
    Metric(
        "mis/pixels_mean",
        "MIS with pixels in place of a perceptual space: a control",
        "MIS with pixels as similarity",
        "by pixels",
        searched=False,
    ),
    Metric(
        "dissection/interpretable",
        "units that detect a labelled concept",
        "units that detect a concept",
        "detectors",
        kind="count",
        better=1,
    ),
    Metric(
        "dissection/unique",
        "how many different concepts they detect",
        "different concepts detected",
        "concepts",
        kind="count",
        better=1,
    ),
    Metric("val/top5", heading="top-5", better=1, stops=True),
    Metric("val/loss", "cross-entropy, nats", heading="loss", better=-1, stops=True),
    Metric("val/ece", "expected calibration error, 0 to 1", heading="calibration error", better=-1),
    Metric(
        "cost/macs",
        "multiply-adds per image of the network without what was removed; `_masked`: those with "
        "weights that are not zero; `_dense`: before pruning",
        "multiply-adds per image",
        "multiply-adds",
        kind="amount",
        better=-1,
    ),
    Metric(
        "cost/params", "parameters, likewise", "parameters", "parameters", kind="amount", better=-1
    ),
    Metric(
        "cost/latency",
        "ms per image, likewise: compare within a trial",
        "latency, ms per image",
        "latency, ms",
        better=-1,
    ),
    Metric(
        "export/bytes",
        "bytes of the network as safetensors, where `secateur export` wrote it; `_dense`: of the "
        "dense network",
        "size of the file, bytes",
        kind="amount",
        better=-1,
        searched=False,
    ),
    Metric(
        "export/latency_1",
        "median ms per image in batches of 1, as `secateur export` measured it after warm-up; "
        "`_dense`: of the dense network, by turns with it; `_spread`: between the quartiles",
        "latency in batches of 1, ms per image",
        better=-1,
        searched=False,
    ),
    Metric(
        "export/latency_64",
        "likewise, in batches of 64",
        "latency in batches of 64, ms per image",
        better=-1,
        searched=False,
    ),
    Metric(
        "prune/sparsity_network",
        "sparsity of all weights of the network",
        heading="sparsity of network",
    ),
    Metric(
        "prune/n_collapsed",
        "layers without any weight left",
        heading="collapsed layers",
        kind="count",
        better=-1,
    ),
    Metric("prune/n_zero", "weights that are zero", kind="count"),
    Metric("prune/n_prunable", "weights that may be pruned", kind="count", searched=False),
    Metric("val/top1_a", "top-1 on one half of the images: what is chosen there …", better=1),
    Metric("val/top1_b", "… is told on the other half", better=1),
    Metric("val/top1_error", searched=False),
    Metric(
        "val/top1_change",
        "top-1 minus the dense network's on the same images; `_error`: its standard error, paired",
        label="top-1 minus the dense network's",
        heading="top-1 change",
        kind="change",
        error="val/top1_change_error",
        better=1,
        searched=False,
    ),
    Metric("val/top1_change_error", searched=False),
    Metric(
        "val/agreement",
        "fraction of the validation images for which it answers the dense network's class",
        label="answers that are the dense network's",
        heading="agreement",
        better=1,
        searched=False,
    ),
    Metric(
        "same/before",
        "correlation of a unit with its twin in the dense network before the ReLU, on validation "
        "images; mean over alive units",
        label="correlation with the dense twin",
        better=1,
        searched=False,
    ),
    Metric("same/after", "the same of what is above 0", better=1, searched=False),
    Metric(
        "same/own",
        "share of units that no other unit of their layer in the dense network is as close to",
        better=1,
        searched=False,
    ),
    Metric("epoch", "epochs done, of all rounds", kind="count", searched=False),
    Metric("round", "rounds of pruning begun", kind="count", searched=False),
    Metric("train/lr", "learning rate at the start of an epoch", searched=False),
    Metric("train/loss", "mean over an epoch, nats", better=-1),
    Metric("mis/median", better=1),
    Metric("mis/error", searched=False),
    Metric("mis/error_units", "standard error of `mis/mean`: other units …", searched=False),
    Metric("mis/error_images", "… and other images", searched=False),
    Metric("mis/change_error", searched=False),
    Metric("mis/change_unpaired_error", searched=False),
    Metric("mis/n_compared", "units of which `mis/change` is", kind="count", searched=False),
    Metric("mis/slope", "how fast a difference of similarity becomes certainty", searched=False),
    Metric("mis/shuffled_mean", "MIS of shuffled images: chance", searched=False),
    Metric("mis/shuffled_error", searched=False),
    Metric(
        "mis/n_constant_scored",
        "constant units that are scored nevertheless (protocol von_rad2024_released)",
        kind="count",
        searched=False,
    ),
    Metric("mis/constant_mean", "their mean", searched=False),
    *OF_UNITS,
    Metric("mis/<layer>/mean", "mean of one layer", better=1),
    Metric("mis/<layer>/<number>", searched=False),
    Metric("dissection/<number>"),
    Metric(
        EPOCH_SECONDS,
        "what an epoch took, its evaluation included; of equal trials `spent/…` alone differs",
        searched=False,
    ),
    Metric("spent/images_per_second", "in training", searched=False),
    Metric("spent/waiting", "fraction of training that waited for images, 0 to 1", searched=False),
    Metric("spent/score_seconds", "what the scores took", searched=False),
    Metric(
        "spent/memory_host",
        "bytes at their highest, of the trial's process; `_device`: of the GPU",
        searched=False,
    ),
    Metric("spent/memory_device", searched=False),
    Metric(
        SAVED,
        "epochs that a trial which was stopped early did not run",
        "epochs saved",
        kind="count",
        searched=False,
    ),
    Metric(
        HOURS_SAVED, "and the hours that these would have taken, as its own did", searched=False
    ),
    Metric("cost/macs_masked", kind="amount", better=-1),
    Metric("cost/params_masked", kind="amount", better=-1),
    Metric("cost/latency_masked", better=-1),
    Metric("cost/macs_dense", kind="amount", searched=False),
    Metric("cost/params_dense", kind="amount", searched=False),
    Metric("cost/latency_dense", searched=False),
    Metric("export/<number>", searched=False),
)
"""All metrics; those of tables first, as their columns stand. The first that a name fits is it."""


def find(name: str) -> Metric | None:
    """The metric of this name; None where trials have none that is called so."""
    return next((metric for metric in METRICS if metric.is_called(name)), None)


def label(name: str) -> str:
    """Of an axis. Raises KeyError for a metric that has none."""
    return _LABELS[name]


def error_of(name: str) -> str:
    """The metric with the standard error of another; "" where there is none."""
    metric = find(name)
    return metric.error if metric else ""


_LABELS = {metric.name: metric.label for metric in METRICS if metric.label}

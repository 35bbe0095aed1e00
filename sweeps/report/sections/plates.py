"""The figures of a report, in their order, each with what it shows and how to read it."""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from sweeps.report.read.frames import SweepFrames
from sweeps.report.sections import (
    controls,
    cost,
    criteria,
    density,
    dissection,
    layers,
    sparsity,
    units,
)

Draw = Callable[[SweepFrames, pd.DataFrame], Figure | str]
"""Frames and released points -> a figure, or one sentence that says why there is none."""


@dataclass(frozen=True)
class Plate:
    """name: of the files. number: of the figure in the paper, "" beyond it."""

    name: str
    title: str
    reading: str
    draw: Draw
    number: str = ""


_BARS = "Bars are one standard error: over seeds where there are several, else over images."
_RELEASED = (
    "Hollow: what the authors released, on ImageNet. Their MIS was made with harder images and is "
    "on another scale."
)

PLATES = (
    Plate(
        "accuracy_without_finetuning",
        "Accuracy without fine-tuning",
        "What pruning takes away before anything is trained again, and how much of it is stale "
        f"BatchNorm statistics. {_BARS}",
        sparsity.without_finetuning,
        "1",
    ),
    Plate(
        "accuracy_over_epochs",
        "Accuracy over epochs after one-shot pruning",
        "One line a rate, the sparser the fainter; the level is the dense network's.",
        sparsity.over_epochs,
        "2",
    ),
    Plate(
        "rounds_against_once",
        "Pruned in rounds, and at once",
        "The same final rate and the same epochs in all, spent after one cut or after several.",
        sparsity.rounds_against_once,
        "3",
    ),
    Plate(
        "accuracy_vs_sparsity",
        "Accuracy and sparsity",
        "All methods at the sparsity that came out, not at the rate that was asked for. Without "
        f"colour: not fine-tuned. {_BARS}",
        sparsity.all_methods,
        "4",
    ),
    Plate(
        "mis_vs_sparsity",
        "Interpretability and sparsity",
        "Mean over the units that are left alive, which are fewer and others from point to point: "
        f"see the next figure for the same units. {_RELEASED}",
        sparsity.interpretability,
        "5",
    ),
    Plate(
        "mis_change_vs_sparsity",
        "Change of the same units",
        "MIS minus what the same units had in the dense network: without it, pruning away the "
        "worst units looks like becoming clearer.",
        sparsity.change_of_same_units,
    ),
    Plate(
        "accuracy_vs_mis",
        "Accuracy and interpretability",
        "One point a network. A network at chance that keeps a high MIS says that MIS is no "
        "certificate of a network that works.",
        sparsity.accuracy_and_mis,
        "6",
    ),
    Plate(
        "mis_by_layer",
        "Interpretability by layer",
        "One line a rate, the sparser the fainter; without colour the dense network, an untrained "
        "one (early layers score without training), and the dense network's tasks solved by raw "
        "pixels. A gap: a layer without a unit that has a score.",
        units.by_layer,
    ),
    Plate(
        "mis_by_branch",
        "By kind of branch",
        "Change of the same units in the four branches of GoogLeNet's blocks, by the kernel that a "
        "branch ends with (torchvision has 3×3 where the paper has 5×5).",
        units.by_branch,
    ),
    Plate(
        "unit_distribution",
        "The distribution over units",
        "A mean can stand still while units part. Grey: the dense network.",
        units.distribution,
    ),
    Plate(
        "units_against_dense",
        "Each surviving unit against itself",
        "At the highest rate. On the line: a unit that pruning left as clear as it was.",
        units.against_dense,
    ),
    Plate(
        "units_without_score",
        "Units without a score",
        "Dead and constant units answer to no image and have no MIS; a unit that nobody reads has "
        "one that nothing depends on.",
        units.states,
    ),
    Plate(
        "dissection",
        "Units that detect a concept",
        "Network dissection beside MIS: two answers to whether one can understand a unit.",
        dissection.dissection,
    ),
    Plate(
        "units_over_density",
        "Units and concepts over density",
        "Trials that are scored after every round, the question of Frankle & Bau 2019: at which "
        "density do units and concepts begin to go, and is it where accuracy does?",
        density.over_density,
    ),
    Plate(
        "detectors_and_mis",
        "MIS of detectors",
        "Whether units that detect a concept are those with a high MIS: the difference to other "
        "units of the same network and layer. At 0 they are no clearer.",
        dissection.detectors,
    ),
    Plate(
        "controls",
        "Controls of the criterion",
        "A criterion that means something lies above pruning by chance, and far above pruning the "
        "most important first. Over all layers at once it must lie above chance with as many per "
        "layer, too: else it has found layers that bear pruning, and any of their groups would do.",
        controls.criterion_controls,
    ),
    Plate(
        "criteria",
        "Each criterion and its own controls",
        "Where and which: above chance alone, a criterion knows how much each layer bears; above "
        "chance with as many per layer, it knows which. Turned round it must be the worst.",
        criteria.beside_controls,
    ),
    Plate(
        "share_kept",
        "Share kept of each layer",
        "Where a ranking over all layers prunes. Thin: chance, which takes the same share of each. "
        "A layer at 0 has nothing left.",
        layers.share_kept,
    ),
    Plate(
        "score_controls",
        "Controls of the score",
        "The same tasks solved by raw pixels say what the images give away by themselves; shuffled "
        "activations must give 0.5.",
        controls.score_controls,
    ),
    Plate(
        "cost",
        "Accuracy and cost",
        "Of the network without what was removed: zeros inside filters save nothing on plain "
        "hardware.",
        cost.pareto,
    ),
    Plate(
        "stopped",
        "What was stopped",
        "Trials that the scheduler ended early are scored as they were then, and counted.",
        cost.stopped,
    ),
)

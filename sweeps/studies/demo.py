"""What does pruning do to accuracy and to interpretability? The whole study at once.

Purpose   Shows every part of a study at work on a machine without a GPU and without ImageNet:
          GoogLeNet trained on generated images of composed concepts (trainables/datasets/concepts)
          is pruned by three methods, filters at five rates, and fine-tuned for three epochs, in
          which the dense network teaches, too, and BatchNorm is recalibrated after each; filters
          also in three rounds of one epoch; and, without fine-tuning, as pruned and recalibrated.
          At the highest rate of filters two learning rates compete, and the hopeless is stopped.
          Filters are also pruned by other criteria, each beside its own controls; every unit has
          four scores, and is dissected against the concepts that the images are made of.
Source    The design of von Rad & Seuffert 2024 (arXiv 2409.19727) with its faults mended: masks
          are held, the dense network and its retrained control are among the trials, dead units
          are no units.
Expected  Without fine-tuning accuracy falls with the rate, and most of the fall is outdated
          BatchNorm statistics; fine-tuning brings it back; `structured` breaks down before
          `unstructured`. Three rounds of one epoch are somewhat below three epochs at once.
          Magnitude is far better than chance for weights. Taylor of the loss, as published, is
          below chance for filters at once: so much is beyond first order, the loss of images that
          were fitted hardly changes, and recalibration gives back the mean that Taylor counts.
          Beside it stands Taylor of the label's logit, which is not saturated;
          benchmarks/RESULTS.md has four fresh trainings, and what they confirm. The trained
          network's MIS is above that of a random one, and far more of its units detect a concept.
Asked     Does the MIS of the same units change with sparsity, in networks that were retrained?
Cost      Ten minutes on two CPU cores with bf16 (AVX512-BF16 or AMX), about twice that without
          (2026-11-29); 2 GB of disk.
Command   make sweep
"""

from collections.abc import Iterable

from sweeps.plan.rungs import Stopping
from sweeps.plan.sweep import Axis, Grid, Sweep, axis, methods
from trainables.config import (
    DataConfig,
    DissectionConfig,
    NetworkConfig,
    PruneConfig,
    TrainConfig,
    TrialConfig,
)

RATES = {
    "unstructured": (0.9,),
    "structured": (0.2, 0.35, 0.5, 0.65, 0.8),
    "connection": (0.5,),
}
IN_ROUNDS = 0.65
HARDEST, LEARNING_RATES = 0.8, (0.005, 0.0005)  # which brings back most of so little?
CRITERIA = {  # L2 ranks the filters of a layer nearly as L1 does
    "l1": {"prune.criterion": "l1"},
    "taylor": {"prune.criterion": "taylor"},
    "lrp": {"prune.criterion": "lrp"},
}
OF_THE_LOGIT = {"taylor": {"prune.criterion": "taylor", "prune.change_of": "logit"}}
NOT_TRAINED = {"finetune": None}
RECALIBRATED, AS_PRUNED = (axis("recalibrate_images", (n,)) for n in (512, 0))


def at(method: str, rates: Iterable[float], **more: Axis) -> dict[str, Axis]:
    """The axes of one method at these rates, and others."""
    return {"method": methods(method), "rate": axis("prune.rate", rates), **more}


BASE = TrialConfig(
    data=DataConfig(
        train_images=1_200, val_images=2_000, val_images_per_epoch=500, probe_images=1_000
    ),
    network=NetworkConfig(
        recipe=TrainConfig(epochs=20, lr=2e-3, warmup=0.15, lr_schedule="cosine")
    ),
    prune=PruneConfig(),
    finetune=TrainConfig(
        epochs=3,
        optimizer="sgd",
        lr=0.005,
        weight_decay=1e-4,
        warmup=0.2,
        lr_schedule="cosine",
        distill=0.5,
    ),
    dissection=DissectionConfig(n_images=300),
)
"""The demo's network, images and recipe, from which other studies start, too."""
STUDY = Sweep(
    name="demo",
    purpose=__doc__,
    base=BASE.replace(
        {
            # All of it within ten minutes.
            "data.train_images": 1_000,
            "data.val_images_per_epoch": 250,
            "data.probe_images": 840,
            "dissection.n_images": 250,
            "recalibrate_images": 512,
            "scores": ("mis", "monosemanticity", "selectivity", "locality"),
        }
    ),
    stopping=Stopping(warmup=1, min_peers=2),
    grids=(
        *(Grid(at(method, rates)) for method, rates in RATES.items()),
        # In three rounds of one epoch, as many as at once.
        Grid(
            at("structured", (IN_ROUNDS,)),
            set={"prune.schedule": "iterative", "prune.rounds": 3, "finetune.epochs": 1},
        ),
        # Two recipes of one arm, of which the hopeless is stopped.
        Grid(at("structured", (HARDEST,), recipe=axis("finetune.lr", LEARNING_RATES))),
        *(
            Grid(at(method, rates, recalibrate_images=RECALIBRATED), set=NOT_TRAINED)
            for method, rates in RATES.items()
        ),
        # Filters as pruned are at chance.
        Grid(at("unstructured", (0.9,), recalibrate_images=AS_PRUNED), set=NOT_TRAINED),
        *(
            Grid(at("structured", (0.2,), **{axis_: points}), set=NOT_TRAINED)
            for axis_, points in {"criterion": CRITERIA, "logit": OF_THE_LOGIT}.items()
        ),
    ),
)

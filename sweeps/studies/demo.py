"""What does pruning do to accuracy and to interpretability? The whole study at once.

Purpose   Shows every part of a study at work on a machine without a GPU and without ImageNet:
          GoogLeNet trained on generated images of composed concepts (trainables/datasets/concepts)
          is pruned by three methods, at three rates, and fine-tuned for three epochs (at one rate
          also in three rounds of one epoch); and, without fine-tuning, as pruned and with its
          BatchNorm statistics re-estimated. Filters are also pruned by every criterion, and every
          network is dissected against the concepts that the images are made of.
Source    The design of von Rad & Seuffert 2024 (arXiv 2409.19727) with its faults mended: masks
          are held, the dense network and its retrained control are among the trials, dead units
          are no units.
Expected  Without fine-tuning accuracy falls with the rate, and most of the fall is stale BatchNorm
          statistics; fine-tuning brings it back; `structured` breaks down before `unstructured`.
          Magnitude is far better than chance for weights. For whole filters of a network that was
          trained for so short a time no criterion is clearly so: filters are nearly interchangeable
          (rate 0.25: chance .71, LRP .75, L1 .73, Taylor .64, each good to .035). The trained
          network's MIS is above that of a random one, and far more of its units detect a concept.
Asked     Does the MIS of the same units change with sparsity, in networks that were retrained?
Cost      Nine minutes on two CPU cores with bf16 (AVX512-BF16), up to twenty on two without; 2.5 GB
          of disk.
Command   make sweep
"""

from sweeps.sweep import Grid, Sweep, axis, methods
from trainables.config import (
    DataConfig,
    DissectionConfig,
    NetworkConfig,
    PruneConfig,
    TrainConfig,
    TrialConfig,
)

RATES = (0.5, 0.75, 0.9)
METHODS = ("unstructured", "structured", "connection")
CRITERIA = {
    "l1": {"prune.criterion": "l1"},
    "l2": {"prune.criterion": "l2"},
    "gradient": {"prune.criterion": "gradient"},
    "taylor": {"prune.criterion": "taylor"},
    "lrp": {"prune.criterion": "lrp"},
}

STUDY = Sweep(
    name="demo",
    purpose=__doc__,
    base=TrialConfig(
        data=DataConfig(train_images=1_200, val_images=800, probe_images=1_000),
        network=NetworkConfig(
            recipe=TrainConfig(epochs=20, lr=2e-3, warmup=0.15, lr_schedule="cosine")
        ),
        prune=PruneConfig(),
        finetune=TrainConfig(
            epochs=3, optimizer="sgd", lr=0.005, weight_decay=1e-4, warmup=0.2, lr_schedule="cosine"
        ),
        dissection=DissectionConfig(n_images=300),
    ),
    grids=(
        Grid(
            {
                "method": methods(*METHODS),
                "rate": axis("prune.rate", RATES),
            }
        ),
        Grid(
            {"method": methods(*METHODS), "rate": axis("prune.rate", (0.75,))},
            set={"prune.schedule": "iterative", "prune.rounds": 3, "finetune.epochs": 1},
        ),
        Grid(
            {
                "method": methods(*METHODS),
                "rate": axis("prune.rate", RATES),
                "recalibrate_images": axis("recalibrate_images", (0, 512)),
            },
            set={"finetune": None},
        ),
        Grid(
            {
                "method": methods("structured"),
                "criterion": CRITERIA,
                "rate": axis("prune.rate", (0.25,)),
            },
            set={"finetune": None, "recalibrate_images": 512},
        ),
    ),
)

"""What does pruning do to accuracy and to interpretability? The whole study in a quarter hour.

Purpose   Shows every part of a study at work on a machine without a GPU and without ImageNet:
          GoogLeNet trained on generated images of composed concepts (trainables/datasets/concepts)
          is pruned by three methods, at three rates, at once and in three rounds, each with the
          same three epochs of fine-tuning in all; and, without fine-tuning, as pruned and with its
          BatchNorm statistics re-estimated.
Source    The design of von Rad & Seuffert 2024 (arXiv 2409.19727) with its faults mended: masks
          are held, the dense network and its retrained control are among the trials, dead units
          are no units.
Expected  Without fine-tuning accuracy falls with the rate, and most of the fall is stale BatchNorm
          statistics; fine-tuning brings it back; `structured` breaks down before `unstructured`.
          The trained network's MIS is above that of a random one.
Cost      About a quarter of an hour on two CPU cores, a few minutes on a GPU; 1.5 GB of disk.
Command   make sweep
"""

from sweeps.sweep import Grid, Sweep, axis, methods
from trainables.config import DataConfig, NetworkConfig, PruneConfig, TrainConfig, TrialConfig

RATES = (0.5, 0.75, 0.9)
METHODS = ("unstructured", "structured", "connection")

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
    ),
    grids=(
        Grid(
            {
                "method": methods(*METHODS),
                "rate": axis("prune.rate", RATES),
                "schedule": {
                    "one_shot": {"prune.schedule": "one_shot", "prune.rounds": 1},
                    "iterative": {
                        "prune.schedule": "iterative",
                        "prune.rounds": 3,
                        "finetune.epochs": 1,
                    },
                },
            }
        ),
        Grid(
            {
                "method": methods(*METHODS),
                "rate": axis("prune.rate", RATES),
                "recalibrate_images": axis("recalibrate_images", (0, 512)),
            },
            set={"finetune": None},
        ),
    ),
)

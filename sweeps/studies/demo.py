"""What does pruning do to accuracy and to interpretability? The whole study at once.

Purpose   Shows every part of a study at work on a machine without a GPU and without ImageNet:
          GoogLeNet trained on generated images of composed concepts (trainables/datasets/concepts)
          is pruned by three methods, at three rates, and fine-tuned for three epochs (at one rate
          also in three rounds of one epoch); and, without fine-tuning, as pruned and with its
          BatchNorm statistics re-estimated. Filters are also pruned by other criteria, each beside
          its own controls, and every network is dissected against the concepts that the images are
          made of.
Source    The design of von Rad & Seuffert 2024 (arXiv 2409.19727) with its faults mended: masks
          are held, the dense network and its retrained control are among the trials, dead units
          are no units.
Expected  Without fine-tuning accuracy falls with the rate, and most of the fall is stale BatchNorm
          statistics; fine-tuning brings it back; `structured` breaks down before `unstructured`.
          Magnitude is far better than chance for weights. Gradient and Taylor of the loss, as
          published, are worse than chance for a quarter of the filters at once (three dense
          networks: Taylor .58 to .63, gradient .63 to .66, chance .68 to .72, each good to .035):
          so much is beyond first order, the loss of images that were fitted hardly changes, and
          recalibration gives back the mean that Taylor counts. Beside them stand both of the
          label's logit, which is not saturated; benchmarks/RESULTS.md has four fresh trainings, and
          what they confirm. The trained network's MIS is above that of a random one, and far more
          of its units detect a concept.
Asked     Does the MIS of the same units change with sparsity, in networks that were retrained?
Cost      Ten minutes on two CPU cores with bf16 (AVX512-BF16), up to 22 on two without; 3 GB of
          disk.
Command   make sweep
"""

from sweeps.plan.sweep import Grid, Sweep, axis, methods
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
CRITERIA = {  # L2 ranks the filters of a layer nearly as L1 does
    "l1": {"prune.criterion": "l1"},
    "gradient": {"prune.criterion": "gradient"},
    "taylor": {"prune.criterion": "taylor"},
    "lrp": {"prune.criterion": "lrp"},
}
OF_THE_LOGIT = {
    name: {"prune.criterion": name, "prune.change_of": "logit"} for name in ("gradient", "taylor")
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
                "recalibrate_images": axis("recalibrate_images", (512,)),
            },
            set={"finetune": None},
        ),
        Grid(
            {
                "method": methods("unstructured"),
                "rate": axis("prune.rate", RATES),
                "recalibrate_images": axis("recalibrate_images", (0,)),
            },
            set={"finetune": None},
        ),
        Grid(  # the others are at chance from here on
            {
                "method": methods("structured", "connection"),
                "rate": axis("prune.rate", RATES[:1]),
                "recalibrate_images": axis("recalibrate_images", (0,)),
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
        Grid(
            {
                "method": methods("structured"),
                "logit": OF_THE_LOGIT,
                "rate": axis("prune.rate", (0.25,)),
            },
            set={"finetune": None, "recalibrate_images": 512},
        ),
    ),
)

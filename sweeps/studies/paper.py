"""The study of von Rad & Seuffert 2024 (arXiv 2409.19727) on ImageNet, with its faults mended.

Purpose   Their question with their recipes: GoogLeNet of torchvision with its ImageNet weights,
          auxiliary heads untrained and trained along, pruned by all of their methods at their four
          rates and fine-tuned for 50 epochs with SGD (lr 0.01, momentum 0.9, weight decay 1e-4,
          x 0.9 an epoch, batches of 128); the same for 10 epochs, with a tenth of the learning
          rate, and with Adam, for the two methods that they tried it with (`structured`, and
          `connection` by chance); in rounds; and not fine-tuned at all.
Source    Their released code and logs. What differs, and why: masks are held (theirs regrew for
          connection sparsity: the study `released` shows it); a filter takes its BatchNorm along;
          the reference is this very network and not another one; MIS in the standard rank blocks
          of its own paper, dead units left out (SET=score.protocol=von_rad2024 for theirs). As
          theirs, `unstructured` has Linear layers and biases in its pool: its rates and sparsities
          are of that, and a nominal .922 of it was .844 of the convolutions. Their "local
          unstructured" used a table of rates per layer that was not released:
          `unstructured_layerwise` prunes every layer at one rate. Left out: Adam at 0.01, which
          ended below 5 % in their logs.
Expected  Dense top-1 0.698. Their retrained networks at rates .2 .4 .6 .8: unstructured .725 .722
          .717 .676, structured .701 .664 .591 .443; connection (.724 .722 .723 .705) was not held.
          In rounds: unstructured .686 at an actual .838, structured .469 at .763; connection, of
          whose rounds their summary speaks, is run as structured is, for want of a log.
          MIS of the dense network near 0.9 (their 0.70 is of harder ranks and another network).
Asked     Does the MIS of the same units change with sparsity, in networks that were retrained? Of
          one dense network: all seeds start from the same weights.
Cost      Three hours of an A100 a fine-tuned trial where the step is as fast as published ones of
          such a network, several times that at 800 images per second: `make plan STUDY=paper`
          with SPEED. README, "On ImageNet", has it in stages of a third of an hour to days, each
          with a question of its own. 370 GB of disk for images
          that are decoded once (SET=data.packed=None does without, and reads a tenth as fast).
Command   make sweep STUDY=paper DATA=/path/to/imagenet     (with `make dreamsim` once)
"""

from sweeps.plan.sweep import Axis, Grid, Sweep, axis, methods
from trainables.config import (
    DataConfig,
    NetworkConfig,
    PruneConfig,
    ScoreConfig,
    TrainConfig,
    TrialConfig,
)

RATES = (0.2, 0.4, 0.6, 0.8)
LINEAR_TOO = {"prune.layers": "conv+linear", "prune.biases": True}
"""Their pool of single weights over all layers: Linear layers with the others, and biases."""
EPOCHS = axis("finetune.epochs", (50,))
METHODS = ("unstructured", "unstructured_layerwise", "structured", "connection")
RECIPES: Axis = {  # beside SGD at 0.01 for 50 epochs
    "sgd for 10 epochs": {"finetune.epochs": 10},
    "sgd at 0.001": {"finetune.lr": 1e-3},
    "adam": {"finetune.optimizer": "adam", "finetune.lr": 1e-3},
    "adam for 10 epochs": {
        "finetune.optimizer": "adam",
        "finetune.lr": 1e-3,
        "finetune.epochs": 10,
    },
}
ROUNDS = {  # their schedules: method, rate, schedule, rounds, epochs per round
    "unstructured 5x50": ("unstructured", 1 - 0.6**5, "iterative", 5, 50),  # 40 % of the rest
    "unstructured 1x60": ("unstructured", 1 - 0.6**5, "one_shot", 1, 60),  # the same at once
    "structured 4x30": ("structured", 1 - 0.67**4, "iterative", 4, 30),  # 33 % of the rest
    "structured 4x50": ("structured", 1 - 0.67**4, "iterative", 4, 50),
    "connection 4x50": ("connection", 1 - 0.67**4, "iterative", 4, 50),  # no log of theirs is known
    "structured linear 4x10": ("structured", 0.8, "linear", 4, 10),  # a fifth of all
    "structured linear 4x50": ("structured", 0.8, "linear", 4, 50),
}


def as_theirs(*names: str) -> Axis:
    """Points of the axis "method", with the pool that theirs had: the heads' Linear layers, too."""
    pool = {**LINEAR_TOO, "prune.exclude": ("conv2", "conv3", "aux1.conv", "aux2.conv")}
    return {
        name: {**point, **(pool if name == "unstructured" else {})}
        for name, point in methods(*names).items()
    }


def rounds() -> Axis:
    """The points of the axis of their schedules."""
    return {
        name: {
            **as_theirs(method)[method],
            "prune.rate": round(rate, 4),
            "prune.schedule": schedule,
            "prune.rounds": n_rounds,
            "finetune.epochs": epochs,
        }
        for name, (method, rate, schedule, n_rounds, epochs) in ROUNDS.items()
    }


BASE = TrialConfig(
    data=DataConfig(
        name="image_folder",
        pixels=224,
        train_images=None,
        val_images=None,
        probe_images=50_000,
        packed=256,
        workers=8,
    ),
    network=NetworkConfig(weights="imagenet", aux_heads=True),
    prune=PruneConfig(exclude=("conv2", "conv3", "aux1", "aux2")),
    finetune=TrainConfig(
        epochs=50,
        batch_size=128,
        optimizer="sgd",
        lr=0.01,
        momentum=0.9,
        weight_decay=1e-4,
        lr_schedule="exponential",
        lr_gamma=0.9,
    ),
    score=ScoreConfig(similarity="dreamsim"),
)

STUDY = Sweep(
    name="paper",
    purpose=__doc__,
    base=BASE,
    grids=(
        Grid(
            {"method": as_theirs(*METHODS), "rate": axis("prune.rate", RATES), "epochs": EPOCHS},
        ),
        Grid(
            {"method": methods("connection"), "rate": axis("prune.rate", RATES), "epochs": EPOCHS},
            set={"prune.criterion": "random"},
        ),
        Grid(
            {
                "method": methods("structured"),
                "rate": axis("prune.rate", RATES),
                "recipe": RECIPES,
            }
        ),
        Grid(
            {
                "method": methods("connection"),
                "rate": axis("prune.rate", RATES),
                "recipe": RECIPES,
            },
            set={"prune.criterion": "random"},
        ),
        Grid({"rounds": rounds()}),
        Grid(
            {
                "method": as_theirs(*METHODS),
                "rate": axis("prune.rate", (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)),
                "recalibrate_images": axis("recalibrate_images", (0, 2048)),
            },
            set={"finetune": None},
        ),
        Grid(
            {"method": methods("connection"), "rate": axis("prune.rate", RATES)},
            set={"prune.criterion": "random", "finetune": None},
        ),
    ),
    cpus_per_trial=8,
    gpus_per_trial=1.0,
)

"""What does pruning do to a network for your own images? A small grid on any folder of classes.

Purpose   The study of `make sweep DATA=/your/folder` with nothing else given: GoogLeNet with
          ImageNet's weights gets a new head for the folder's classes, is pruned by weights and by
          filters at three rates, and fine-tuned for two epochs. Where the weights can neither be
          found nor downloaded it is trained from scratch, on small images.
Source    The transfer setting of Yeom et al. 2021 (arXiv 1912.08881), reduced; their criteria and
          steps are not.
Expected  Weights can go to a rate at which filters no longer can; MIS of the same units hardly
          changes as long as accuracy is held.
Asked     Does the MIS of the same units change with sparsity, in networks that were retrained?
Cost      Of 3,000 images at 64 pixels from scratch about half an hour on two CPU cores; with
          ImageNet's weights at 224 pixels minutes on a GPU: `make plan DATA=…` says it.
Command   make sweep DATA=/your/folder
"""

import dataclasses

from sweeps.plan.sweep import Grid, Sweep, axis, methods
from trainables.config import (
    DataConfig,
    NetworkConfig,
    PruneConfig,
    TrainConfig,
    TrialConfig,
    evaluation_side,
)

RATES = (0.5, 0.75, 0.9)
TRANSFER = TrialConfig(
    data=DataConfig(
        name="image_folder",
        pixels=224,
        packed=evaluation_side(224),
        train_images=20_000,
        val_images=5_000,
        probe_images=2_000,
    ),
    network=NetworkConfig(
        weights="imagenet",
        recipe=TrainConfig(epochs=8, head_epochs=2, lr=1e-3, body_lr=1e-4, weight_decay=0.02),
    ),
    prune=PruneConfig(),
    finetune=TrainConfig(epochs=2, optimizer="sgd", lr=0.005, weight_decay=1e-4, warmup=0.2),
)
FROM_SCRATCH = TRANSFER.replace(
    {
        "data": dataclasses.replace(TRANSFER.data, pixels=64, packed=evaluation_side(64)),
        "network": NetworkConfig(recipe=TrainConfig(epochs=20, lr=2e-3, warmup=0.15)),
    }
)
STUDY = Sweep(
    name="folder",
    purpose=__doc__,
    base=TRANSFER,
    from_scratch=FROM_SCRATCH,
    grids=(
        Grid({"method": methods("unstructured", "structured"), "rate": axis("prune.rate", RATES)}),
    ),
)

"""Do pruned networks keep the units that people can name? Frankle & Bau 2019, as a study.

Purpose   ResNet-50 is pruned by magnitude in rounds of 20 % of the remaining weights, rewound
          to an early epoch and trained again after each, and dissected at every level: how many
          units of `layer4` detect a concept, and how many different concepts they detect, against
          the density of the network; MIS beside it.
Source    Frankle & Bau 2019 (arXiv 1907.00262). Theirs is the question, the network, pruning by
          magnitude and dissection. Not told in what could be read of it, hence ours: the epoch of
          rewinding, the step of 20 % (Frankle & Carbin 2019), the recipe, the layer (`layer4`, the
          default of the published dissection code), the quantile 0.005 and the IoU of 0.04
          (Bau et al. 2017). On ImageNet the recipe is that of Frankle's later ResNet-50 work:
          90 epochs, batches of 1,024, lr 0.4 after five epochs of warm-up, a tenth after 30, 60
          and 80, rewound to epoch 5. The generated images come with exact maps of their concepts;
          on ImageNet concepts are those of a Broden folder.
Expected  Their finding: the number of units and of concepts holds until more than 90 % of the
          weights are gone and accuracy falls. Seen with ResNet-18 (benchmarks/RESULTS.md): not of
          all units, but of those that detect what the classes are made of.
Asked     Does the MIS of the same units change with sparsity, in networks that were retrained? (One
          network at the last round: the report cannot say. Its figure over density is a
          description.)
Cost      495 epochs of 1,200 images in all, and 47 dissections: three to four hours on two CPU
          cores (`make plan STUDY=dissecting` says how long on yours), half of it with five rounds;
          on ImageNet days of eight GPUs a level.
Command   make sweep STUDY=dissecting
          make sweep STUDY=dissecting SET="prune.rounds=5 prune.rate=0.67232"
          make sweep STUDY=dissecting GRID="seed=0,1,2"
          make sweep STUDY=dissecting DATA=/path/to/imagenet SET="dissection.path=/path/to/broden"
"""

from sweeps.plan.sweep import Grid, Sweep, methods
from sweeps.studies import demo
from trainables.config import (
    DataConfig,
    DissectionConfig,
    NetworkConfig,
    PruneConfig,
    ScoreConfig,
    TrainConfig,
    TrialConfig,
)

STEP = 0.2  # of the remaining weights, a round
ROUNDS = 11  # which leave 8.6 % of the weights: they say that little is lost down to 10 %
PRUNE = PruneConfig(rate=round(1 - (1 - STEP) ** ROUNDS, 6), schedule="iterative", rounds=ROUNDS)


STUDY = Sweep(
    name="dissecting",
    purpose=__doc__,
    base=TrialConfig(
        data=demo.BASE.data,
        network=NetworkConfig(
            name="resnet50",
            recipe=TrainConfig(epochs=12, lr=1e-3, warmup=0.15, lr_schedule="cosine"),
        ),
        prune=PRUNE,
        rewind="weights",
        rewind_epoch=1,
        dissection=DissectionConfig(layers=("layer4.2",)),
        score_every_round=True,
    ),
    on_folder=TrialConfig(
        data=DataConfig(
            name="image_folder",
            pixels=224,
            train_images=None,
            val_images=None,
            probe_images=50_000,
            workers=8,
        ),
        network=NetworkConfig(
            name="resnet50",
            recipe=TrainConfig(
                epochs=90,
                batch_size=1024,
                optimizer="sgd",
                lr=0.4,
                weight_decay=1e-4,
                warmup=5 / 90,
                lr_schedule="step",
                lr_gamma=0.1,
                lr_milestones=(30, 60, 80),
            ),
        ),
        prune=PRUNE,
        rewind="weights",
        rewind_epoch=5,
        score=ScoreConfig(similarity="dreamsim"),
        dissection=DissectionConfig(concepts="broden", path="broden", layers=("layer4.2",)),
        score_every_round=True,
    ),
    grids=(Grid({"method": methods("unstructured")}),),
    cpus_per_trial=1.0,
    gpus_per_trial=1.0,
)

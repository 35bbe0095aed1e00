"""What does pruning do to a network of real pictures, and to what one can understand inside it?

Purpose   GoogLeNet is trained from scratch on thirty classes of photographs and pruned by three
          methods at five rates at once, and at one rate in three rounds of as many epochs in all;
          fine-tuned with the dense network as teacher, BatchNorm recalibrated after each epoch,
          over three trainings; all scores that there are for every unit. With 3,000 photographs to
          look at, n_tasks x (n_explanations + 1) = 100 of each class, the images that a class's
          unit is shown by can all be of its class: its score is read against the accuracy of its
          class.
Source    The design of von Rad & Seuffert 2024 (arXiv 2409.19727) with its faults mended; ours: the
          photographs, the recipes, the number of trainings.
Expected  benchmarks/RESULTS.md has what was seen. Thirty classes and 3,000 photographs of 64 px are
          few for a network of six million weights: what the dense one reaches is said first.
Asked     Does the MIS of the same units change with sparsity, in networks that were retrained? Of
          three trainings, which show large changes alone: `make plan` says how large. Chance stands
          beside each method at one rate and no more, since which criterion is best is not asked.
Cost      An hour of two CPU cores with bf16: 3 dense networks of 40 epochs, 198 epochs of
          fine-tuning of 3,000 images, and 75 scores. Five trainings: GRID="seed=0,1,2,3,4".
Command   make sweep STUDY=photographs DATA=thirty \\
            SET="data.train_images=3000 data.probe_images=3000"
          The thirty that Caffe's SqueezeNet 1.1 knows best of Tiny ImageNet's 200 (20 training
          photographs of each, 144 px), linked from where it was unpacked. It has 500 photographs
          of each to train on, of which what was seen here had 100:
          for c in $(.venv/bin/python -c "import sweeps.studies.photographs as p;print(*p.CLASSES)")
          do mkdir -p thirty/train thirty/val/$c; T=$PWD/tiny-imagenet-200
          ln -s $T/train/$c thirty/train/$c
          for f in $(awk -v c=$c '$2 == c {print $1}' $T/val/val_annotations.txt)
          do ln -s $T/val/images/$f thirty/val/$c; done; done
"""

from sweeps.plan.sweep import Grid, Sweep, axis, methods
from trainables.config import (
    DataConfig,
    NetworkConfig,
    PruneConfig,
    ScoreConfig,
    TrainConfig,
    TrialConfig,
    evaluation_side,
)

CLASSES = (
    *("n01443537", "n01644900", "n02058221", "n02074367", "n02094433", "n02132136"),
    *("n02165456", "n02279972", "n02281406", "n02509815", "n02815834", "n03393912"),
    *("n03599486", "n03662601", "n03706229", "n03796401", "n03804744", "n04023962"),
    *("n04149813", "n04265275", "n04311004", "n04456115", "n04501370", "n04532106"),
    *("n06596364", "n07749582", "n07871810", "n07875152", "n09256479", "n09428293"),
)
"""WordNet ids: goldfish, tailed frog, albatross, dugong, Yorkshire terrier, brown bear, ladybug,
monarch, sulphur butterfly, lesser panda, beaker, freight car, jinrikisha, lifeboat, magnetic
compass, moving van, nail, punching bag, scoreboard, space heater, steel arch bridge, torch,
turnstile, vestment, comic book, lemon, meat loaf, potpie, coral reef, seashore."""
SEEDS = axis("seed", (0, 1, 2))
EPOCHS = 3
METHODS = methods("unstructured", "structured", "connection")
STUDY = Sweep(
    name="photographs",
    purpose=__doc__,
    base=TrialConfig(
        data=DataConfig(
            name="image_folder",
            pixels=64,
            packed=evaluation_side(64),
            train_images=None,
            val_images=None,
            val_images_per_epoch=500,
            probe_images=None,
        ),
        network=NetworkConfig(recipe=TrainConfig(epochs=40, lr=2e-3, warmup=0.15)),
        prune=PruneConfig(),
        finetune=TrainConfig(
            epochs=EPOCHS,
            optimizer="sgd",
            lr=0.005,
            weight_decay=1e-4,
            warmup=0.2,
            distill=0.5,
        ),
        recalibrate_images=512,
        score=ScoreConfig(n_tasks=10),
        scores=("mis", "monosemanticity", "selectivity", "locality"),
    ),
    grids=(
        Grid(
            {
                "method": METHODS,
                "rate": axis("prune.rate", (0.2, 0.35, 0.5, 0.65, 0.8)),
                "seed": SEEDS,
            }
        ),
        Grid(
            {"method": METHODS, "rate": axis("prune.rate", (0.65,)), "seed": SEEDS},
            set={
                "prune.schedule": "iterative",
                "prune.rounds": EPOCHS,
                "finetune.epochs": 1,
            },
        ),
        Grid(
            {"method": METHODS, "rate": axis("prune.rate", (0.5,)), "seed": SEEDS},
            set={"prune.criterion": "random"},
        ),
    ),
    controls=False,  # at every rate they would be half of the trials
)

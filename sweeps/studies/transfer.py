"""Pruning in transfer learning (Yeom et al. 2021): a pretrained network with a new head is pruned
filter by filter while it is fine-tuned, or is not, by one criterion after the other.

Purpose   VGG-16, AlexNet, ResNet-18 and ResNet-50 with ImageNet's weights get a new head for a
          folder of classes. 5 % of the initial filters go per step, of all layers in one ranking
          that is made anew at each step, down to 5 % that are left; after each step ten epochs of
          fine-tuning, or none. Criteria are LRP, Taylor, gradient and L1; beside them chance, and
          chance within the layers with the numbers of each; single weights by LRP (alpha2-beta1),
          Taylor and magnitude. The report draws accuracy against filters, parameters and
          multiply-adds that are left, at the end of every step.
Source    Yeom et al. 2021 (arXiv 1912.08881) and their released code: the networks, the step, the
          epochs (and 15 or, of ResNets, 10 more after the last step), SGD with momentum 0.9 and
          neither decay nor schedule, batches of 100. Relevance: in VGG and AlexNet z+ also in
          Linear layers, with its signs; in ResNets z+ in convolutions, epsilon in Linear layers,
          absolutes per element. A layer's scores are divided as theirs are: relevance by its sum in
          VGG and AlexNet and not in ResNets, magnitude by its sum, Taylor and gradient by the L2
          norm. Their code stops at nine tenths, after 18 steps, and knows CIFAR-10 alone; nineteen
          twentieths, Scene 15, Event 8, Cats and Dogs and Flowers 102 are the paper's as others
          tell, and could not be read. Ours: the training of the head; a learning rate of 0.01
          (theirs was 0.1 by default; a SqueezeNet in batches of 50 wanted 0.001); absolutes per
          sample for Taylor and gradient; ten images a class for the criteria (they took all); the
          first layer, which is left alone; a filter's BatchNorm goes with it; chance, and all of
          single weights. What they pruned when a layer was down to its last filter is not known,
          ours keeps it. CIFAR-10 and Flowers 102 come by name, the others are folders.
Expected  Theirs: with fine-tuning LRP is as good as the others or better; without, clearly better.
          benchmarks/RESULTS.md has a SqueezeNet 1.1 on ten classes of photographs.
Asked     Nothing beforehand: which criterion keeps most is exploratory, and all trials end at one
          rate, so that MIS cannot be asked to go with it. Intervals are over heads and draws of the
          images that criteria look at, given one pretrained body: it is one training, and other
          bodies may do otherwise.
Cost      Per data set 31,590 epochs and 324 trials, 160 GB in MLflow: on Flowers 102 (1,020 images)
          3.1 hours of a GPU on which a trial trains at 1,000 images/s and scores at 4,000, by `make
          plan STUDY=transfer DATA=… SPEED=1000,4000 GPUS=1`; no GPU was asked yet. The
          first two commands below are stages of one network, minutes and half an hour there:
          nothing is fine-tuned in the first (36 pruned networks, 19 rankings and evaluations
          each), which asks the strongest claim; the second has 4,305 epochs. A SqueezeNet 1.1 of 64
          px with one epoch a step takes nine minutes of two CPU cores.
Command   make sweep STUDY=transfer DATA=torchvision:Flowers102 \\
            GRID="plain=vgg16 residual= epochs="
          make sweep STUDY=transfer DATA=torchvision:Flowers102 \\
            GRID="plain=vgg16 residual= within=within_lrp weights="
          make sweep STUDY=transfer DATA=torchvision:Flowers102
"""

from sweeps.plan.sweep import Axis, Grid, Overrides, Sweep, axis
from sweeps.studies.scarce import FILTERS, WEIGHTS, within_layers_of
from trainables.config import (
    DataConfig,
    NetworkConfig,
    PruneConfig,
    TrainConfig,
    TrialConfig,
    evaluation_side,
)

STEPS = 19  # of 5 % of the initial filters each
SEEDS = axis("seed", (0, 1, 2))  # each another head, and other images that criteria look at
EPOCHS = axis("finetune.epochs", (10,))
NOT_FINETUNED: Axis = {"as pruned": {"finetune": None}}
OF_WEIGHTS: Axis = {name: {"prune.criterion": name} for name in ("lrp", "taylor", "l1")}


PLAIN = {"prune.normalise": "l1", "prune.lrp.head": "zplus", "prune.lrp.reduce": "signed"}
RESIDUAL = {"prune.normalise": "none", "prune.lrp.reduce": "abs_element"}
"""How they spread relevance, add it up and divide it, in VGG and AlexNet, and in ResNets."""


def criteria(relevance: Overrides) -> Axis:
    """Theirs, the scores of a layer normalised as they do."""
    return {
        "lrp": {"prune.criterion": "lrp", **relevance},
        "taylor": {"prune.criterion": "taylor", "prune.normalise": "l2"},
        "gradient": {"prune.criterion": "gradient", "prune.normalise": "l2"},
        "l1": {"prune.criterion": "l1", "prune.normalise": "l1"},
    }


def grids(
    kind: str, networks: tuple[str, ...], relevance: Overrides, last_epochs: int
) -> tuple[Grid, ...]:
    """Both scenarios of networks that are alike, with and without fine-tuning."""
    of_kind = {kind: axis("network.name", networks)}
    by = criteria(relevance)
    chance = {"random": {"prune.criterion": "random"}}
    scenarios: tuple[tuple[dict[str, Axis], dict[str, int]], ...] = (
        ({"epochs": EPOCHS}, {"finetune.last_epochs": last_epochs}),
        ({"scenario": NOT_FINETUNED}, {}),
    )
    return tuple(
        Grid({**of_kind, name: points, **scenario, "seed": SEEDS}, set={**method, **more})
        for scenario, more in scenarios
        for name, points, method in (
            ("criterion", {**by, **chance}, FILTERS),
            ("within", within_layers_of(by), FILTERS),
            ("weights", OF_WEIGHTS, WEIGHTS),
        )
    )


STUDY = Sweep(
    name="transfer",
    purpose=__doc__,
    base=TrialConfig(
        data=DataConfig(
            name="image_folder",
            pixels=224,
            packed=evaluation_side(224),
            train_images=None,
            val_images=None,
            probe_images=1_000,
        ),
        network=NetworkConfig(
            name="vgg16",
            weights="imagenet",
            recipe=TrainConfig(epochs=8, head_epochs=2, lr=1e-3, body_lr=1e-4, weight_decay=0.02),
        ),
        prune=PruneConfig(
            granularity="filter", schedule="linear", rounds=STEPS, rate=STEPS * 5 / 100
        ),
        finetune=TrainConfig(
            epochs=10,
            batch_size=100,
            optimizer="sgd",
            lr=0.01,
            momentum=0.9,
            weight_decay=0.0,
            lr_schedule="constant",
        ),
    ),
    controls=False,  # by chance and within layers they are among the grids
    primary=None,
    grids=(
        *grids("plain", ("vgg16", "alexnet"), PLAIN, last_epochs=15),
        *grids("residual", ("resnet18", "resnet50"), RESIDUAL, last_epochs=10),
    ),
)

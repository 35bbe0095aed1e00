"""Pruning with hardly any data and no retraining: where a criterion must be good at once.

Purpose   Which criterion finds the filters that can go when it sees few images a class and nothing
          is trained afterwards: LRP relevance against Taylor, gradient, magnitude and chance.
          Without DATA: the demo's networks, 1 to 50 images a class, over three trainings (each its
          own dense network and samples). With DATA, a folder of some of ImageNet's classes named
          by WordNet id: a pretrained network whose head is kept for these classes, 1 to 200 images
          a class, five draws of the images that criteria look at. Single weights by LRP (alpha2-
          beta1), by magnitude and, pretrained, by Taylor.
Controls  A ranking over all layers decides two things: where, how many filters each layer loses,
          and which of a layer's filters these are. Chance takes as much of every layer. Chance
          within layers takes of each layer as many as the criterion did, and leaves to chance
          which: three draws of it without DATA; with DATA one for every draw and number of images,
          of the numbers that this criterion left there. A criterion above the first alone has found
          the layers that bear pruning, and any other of their filters would have done; only one
          above both has found filters. The share kept per layer is drawn beside them.
Source    The second scenario of Yeom et al. 2021 (arXiv 1912.08881): filters of all layers in one
          ranking, scores of a layer normalised as they do (Taylor and gradient by the L2 norm,
          magnitude by the sum; relevance is not, as in their ResNet runs, since it is conserved
          from layer to layer; absolutes are taken per sample, which is ours). 1 to 200 samples per
          class are their toy experiment's; how many the images of their second scenario had, which
          and at which rates, could not be read: a pretrained network with its head kept and these
          rates are ours.
Expected  Their claim: LRP is clearly better than other criteria. That it needs two to five images a
          class for its final accuracy, gradients many more, and that most important first ends
          at chance is what we expect. benchmarks/RESULTS.md has SqueezeNet 1.1 and GoogLeNet on
          photographs.
Asked     Does the MIS of the same units change with sparsity, where nothing is trained again? Which
          criterion is better is exploratory: the best of many, on the trainings that chose it.
          Intervals over draws are given the one pretrained network.
Cost      About half an hour on two CPU cores, a third of it the three dense networks. On a folder
          923 trials that train nothing, about two hours at 200 images a second of one GPU:
          `make plan STUDY=scarce DATA=…`, which also says the disk (some 48 GB).
Command   make sweep STUDY=scarce
          make sweep STUDY=scarce DATA=/ten/of/imagenets/classes
          make sweep STUDY=scarce DATA=/ten/of/imagenets/classes GRID="samples=1,5,50" \
            SET="network.name=squeezenet1_1 network.weights=file network.head=kept \
                 network.checkpoint=/path.pt"
"""

from sweeps.plan.primary import Primary
from sweeps.plan.sweep import Axis, Grid, Sweep, axis, methods
from sweeps.studies import demo
from trainables.config import (
    DataConfig,
    NetworkConfig,
    PruneConfig,
    TrialConfig,
    evaluation_side,
)

SAMPLES = (1, 2, 5, 10, 20, 50)
RATES = (0.1, 0.3)
SEEDS = (0, 1, 2)
BY_IMAGES = {
    "lrp": {"prune.criterion": "lrp"},
    "taylor": {"prune.criterion": "taylor"},
    "gradient": {"prune.criterion": "gradient"},
}
BY_WEIGHTS = {
    "l1": {"prune.criterion": "l1", "prune.normalise": "l1"},
    "random": {"prune.criterion": "random"},
}
OF_WEIGHTS = {"lrp": {"prune.criterion": "lrp"}, "l1": {"prune.criterion": "l1"}}
FILTERS = methods("structured_global")["structured_global"]
WEIGHTS = methods("unstructured")["unstructured"]


def within_layers_of(criteria: Axis) -> Axis:
    """Of each layer as many as these criteria keep, and chance says which."""
    return {
        f"within_{name}": {
            **point,
            "prune.criterion": "random",
            "prune.counts_of": point["prune.criterion"],
        }
        for name, point in criteria.items()
    }


MORE_SAMPLES = axis("prune.samples_per_class", (1, 2, 5, 10, 20, 50, 100, 200))
MORE_RATES = axis("prune.rate", (0.1, 0.2, 0.3))
DRAWS = axis("seed", (0, 1, 2, 3, 4))
BY_WEIGHT = {name: BY_IMAGES[name] for name in ("lrp", "taylor")}
L1_OF_WEIGHTS = {"l1": OF_WEIGHTS["l1"]}
RATES_OF_WEIGHTS = axis("prune.rate", (0.3, 0.5, 0.7))
L1, CHANCE = ({name: BY_WEIGHTS[name]} for name in BY_WEIGHTS)
PRETRAINED = Sweep(
    name="scarce",
    purpose=__doc__,
    base=TrialConfig(
        data=DataConfig(
            name="image_folder",
            pixels=224,
            packed=evaluation_side(224),
            train_images=None,
            val_images=5_000,
            probe_images=2_000,
        ),
        network=NetworkConfig(weights="imagenet"),
        prune=PruneConfig(granularity="filter"),
    ),
    primary=Primary(networks="not retrained"),
    controls=False,  # those of this question are among the grids
    grids=(
        Grid(
            {
                "criterion": {**BY_IMAGES, **within_layers_of(BY_IMAGES)},
                "samples": MORE_SAMPLES,
                "rate": MORE_RATES,
                "seed": DRAWS,
            },
            set=FILTERS,
        ),
        Grid({"magnitude": L1, "rate": MORE_RATES}, set=FILTERS),
        Grid(
            {"chance": {**CHANCE, **within_layers_of(L1)}, "rate": MORE_RATES, "seed": DRAWS},
            set=FILTERS,
        ),
        Grid(
            {"first": {**BY_IMAGES, **L1}},
            set={**FILTERS, "prune.rate": 0.1, "prune.most_important_first": True},
        ),
        Grid(
            {
                "single_weights": {**BY_WEIGHT, **within_layers_of(BY_WEIGHT)},
                "samples_of_weights": axis("prune.samples_per_class", (1, 10)),
                "rate_of_weights": RATES_OF_WEIGHTS,
                "seed": DRAWS,
            },
            set=WEIGHTS,
        ),
        Grid({"weights": L1_OF_WEIGHTS, "rate_of_weights": RATES_OF_WEIGHTS}, set=WEIGHTS),
        Grid(
            {
                "chance_of_weights": {**CHANCE, **within_layers_of(L1_OF_WEIGHTS)},
                "rate_of_weights": RATES_OF_WEIGHTS,
                "seed": DRAWS,
            },
            set=WEIGHTS,
        ),
        Grid(
            {"first_of_weights": {**BY_WEIGHT, **L1_OF_WEIGHTS}},
            set={**WEIGHTS, "prune.rate": 0.3, "prune.most_important_first": True},
        ),
    ),
)

STUDY = Sweep(
    name="scarce",
    purpose=__doc__,
    base=demo.BASE.replace({"finetune": None, "dissection": None, **FILTERS}),
    on_folder=PRETRAINED,
    primary=Primary(networks="not retrained"),
    grids=(
        Grid(
            {
                "criterion": BY_IMAGES,
                "samples": axis("prune.samples_per_class", SAMPLES),
                "rate": axis("prune.rate", RATES),
                "seed": axis("seed", SEEDS),
            }
        ),
        Grid(
            {
                "criterion": BY_WEIGHTS,
                "rate": axis("prune.rate", RATES),
                "seed": axis("seed", SEEDS),
            }
        ),
        Grid(
            {"single_weights": OF_WEIGHTS, "seed": axis("seed", SEEDS)},
            set={**WEIGHTS, "prune.rate": 0.5},
        ),
    ),
)

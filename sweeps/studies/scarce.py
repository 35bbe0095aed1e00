"""Pruning with hardly any data and no retraining: where a criterion must be good at once.

Purpose   Which criterion finds the filters that can go when it sees 1, 2, 5, 10, 20 or 50 images
          a class and nothing is trained afterwards: LRP relevance against Taylor, gradient,
          magnitude and chance, over several seeds (each its own dense network and samples).
Source    The second scenario of Yeom et al. 2021 (arXiv 1912.08881): filters of all layers in one
          ranking, scores of a layer normalised as they do (Taylor and gradient by the L2 norm,
          magnitude by the sum; relevance is not, as in their ResNet runs, since it is conserved
          from layer to layer). Ours: the network, the images, two rates.
Expected  LRP needs two to five images a class for its final accuracy; gradients need many more;
          magnitude, which needs none, is a strong baseline; most important first ends at chance.
Asked     Does the MIS of the same units change with sparsity, where nothing is trained again? Which
          criterion is better is exploratory: the best of many, on the trainings that chose it.
Cost      About twenty minutes on two CPU cores, half of them the three dense networks.
Command   make sweep STUDY=scarce [DATA=/path/to/imagenet]
"""

from sweeps.primary import Primary
from sweeps.studies import demo, paper
from sweeps.sweep import Grid, Sweep, axis, methods
from trainables.config import TrialConfig

SAMPLES = (1, 2, 5, 10, 20, 50)
RATES = (0.1, 0.3)
SEEDS = (0, 1, 2)
BY_IMAGES = {
    "lrp": {"prune.criterion": "lrp"},
    "taylor": {"prune.criterion": "taylor", "prune.normalise": "l2"},
    "gradient": {"prune.criterion": "gradient", "prune.normalise": "l2"},
}
BY_WEIGHTS = {
    "l1": {"prune.criterion": "l1", "prune.normalise": "l1"},
    "random": {"prune.criterion": "random"},
}


def as_pruned(base: TrialConfig) -> TrialConfig:
    """The base of another study, its filters pruned over all layers and nothing trained."""
    settings = {"finetune": None, "dissection": None}
    return base.replace({**settings, **methods("structured_global")["structured_global"]})


STUDY = Sweep(
    name="scarce",
    purpose=__doc__,
    base=as_pruned(demo.STUDY.base),
    on_folder=as_pruned(paper.BASE),
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
    ),
)

"""Pruning with hardly any data and no retraining: where a criterion must be good at once.

Purpose   Which criterion finds the filters that can go when it sees 1, 2, 5, 10, 20 or 50 images
          a class and nothing is trained afterwards: LRP relevance against Taylor, gradient,
          magnitude and chance, over several seeds (each its own dense network and samples). Single
          weights, half of all, by LRP of ten images per class and by magnitude.
Controls  A ranking over all layers decides two things: where, how many filters each layer loses,
          and which of a layer's filters these are. Chance takes as much of every layer. Chance
          within layers takes of each layer as many as the criterion did, three draws, and leaves to
          chance which. A criterion above the first alone has found the layers that bear pruning,
          and any other of their filters would have done; only one above both has found filters.
          The share kept per layer is drawn beside them.
Source    The second scenario of Yeom et al. 2021 (arXiv 1912.08881): filters of all layers in one
          ranking, scores of a layer normalised as they do (Taylor and gradient by the L2 norm,
          magnitude by the sum; relevance is not, as in their ResNet runs, since it is conserved
          from layer to layer). Ours: the network, the images, two rates.
Expected  Their claim: LRP is clearly better than other criteria. That it needs two to five images a
          class for its final accuracy, gradients many more, and that most important first ends
          at chance is what we expect; no run of this study is in benchmarks/RESULTS.md.
Asked     Does the MIS of the same units change with sparsity, where nothing is trained again? Which
          criterion is better is exploratory: the best of many, on the trainings that chose it.
Cost      About half an hour on two CPU cores, a third of it the three dense networks.
Command   make sweep STUDY=scarce [DATA=/path/to/imagenet]
"""

from sweeps.plan.primary import Primary
from sweeps.plan.sweep import Grid, Sweep, axis, methods
from sweeps.studies import demo, paper
from trainables.config import TrialConfig

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
        Grid(
            {"single_weights": OF_WEIGHTS, "seed": axis("seed", SEEDS)},
            set={**methods("unstructured")["unstructured"], "prune.rate": 0.5},
        ),
    ),
)

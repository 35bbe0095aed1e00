"""Does Optuna find better networks than a grid that costs as many epochs?

Purpose   Beside a grid of twelve, nine trials are proposed by Optuna over what is pruned together
          (granularity), what competes (scope), the criterion, the rate, the rounds and the learning
          rate, for two objectives: top-1 as high and multiply-adds as few as can be. The change of
          MIS is a constraint and no goal: the maximum of a noisy score is noise.
Source    Ours. Optuna's multi-objective TPE (Ozaki et al. 2022, doi 10.1613/jair.1.13188); the
          network and the recipe are the demo's, the training images 1,200.
Expected  Of so few trials little: what the front of either covers (its hypervolume) is recorded,
          whichever way it comes out. The search begins with three trials of the grid; the rates of
          the other nine lie between its steps, so that it knows nothing of them: twelve against
          twelve, each of three epochs. Three winners of either front are run again on another
          training and other images, which chose nothing; what they lose there is the luck of the
          choice.
Asked     Does the MIS of the same units change with sparsity, in networks that were retrained?
Cost      Twenty minutes on two CPU cores; 2 GB of disk.
Command   make sweep STUDY=search
"""

from optuna.distributions import FloatDistribution

from sweeps.plan.space import Choice, Search
from sweeps.plan.sweep import Grid, Sweep, axis, methods
from sweeps.studies import demo
from trainables.methods import METHODS

KNOWN_RATE, RATES = 0.5, (0.25, 0.45, 0.65)  # the latter between the steps of the search
FILTERS = ("structured", "structured_global", "connection")
STUDY = Sweep(
    name="search",
    purpose=__doc__,
    base=demo.BASE.replace({"dissection": None, "recalibrate_images": 512}),
    grids=(
        Grid({"method": methods(*FILTERS), "rate": axis("prune.rate", (KNOWN_RATE,))}),
        Grid({"method": methods(*FILTERS), "rate": axis("prune.rate", RATES)}),
    ),
    controls=False,
    search=Search(
        {
            "method": Choice(
                {
                    name: {f"prune.{field}": value for field, value in METHODS[name].items()}
                    for name in (*FILTERS, "connection_global")
                }
            ),
            "prune.criterion": Choice(("l1", "outgoing_l1", "bn_scale", "taylor")),
            "prune.rate": FloatDistribution(0.2, 0.8, step=0.1),
            "rounds": Choice(
                {
                    "at once": {},
                    "in rounds": {
                        "prune.schedule": "iterative",
                        "prune.rounds": 3,
                        "finetune.epochs": 1,
                    },
                }
            ),
            "finetune.lr": FloatDistribution(1e-3, 3e-2, log=True),
        },
        {"val/top1": "max", "cost/macs": "min"},
        n_trials=9,
        constraints={"mis/change": (-0.03, None)},
        winners=3,
    ),
)

"""The released runs of von Rad & Seuffert 2024 as they really were, beside the same runs held.

Purpose   Shows what the faults of the released code do to its conclusions: their connection
          sparsity multiplied the weights by the mask once and then trained all of them, so that
          the zeros grew back and the networks were dense again; their structured pruning left the
          BatchNorm of a removed filter, so that it went on emitting a constant. Each such trial
          stands beside the same trial with its mask held and its BatchNorm removed. The methods
          whose masks were held, and the runs in rounds, are there as they were; connection in
          rounds, too, which their summary praises: zeroed again in each round, and held. Structured
          pruning is scored at their ranks, and once more as in their pipeline: units that are the
          same on all images stay in (filters of zeros alone are left out), and as the order of
          files breaks their ties, each of their extremes is of one class, which looks clear.
Source    Their released code (arXiv 2409.19727): `prune_channels` zeroes once and installs no hook;
          `ln_structured` masks the convolution alone. All share one recipe here: SGD, lr 0.01,
          momentum 0.9, weight decay 1e-4, x 0.9 an epoch, 50 epochs per round, batches of 128; but
          where scores are compared, Adam at 0.001 beside it, with which units died. Theirs with
          others, and without retraining, are in the study `paper`. Their
          unstructured pool held Linear layers and biases, and does so here but for those of the
          auxiliary heads. What is not reproduced: the network that their dense score came from.
Expected  The trials that are not held end with a sparsity near 0 whatever their rate: their
          accuracy (.705 at rate 0.8 in their logs) is that of a dense network that was damaged and
          trained again. Held, the same rate costs what structured pruning costs. An unheld
          trial's MIS is a dense network's MIS, hence flat over rates. Where units died in
          training the released pipeline's MIS is higher than that of the units that live: in their
          logs .703 and .674 with Adam at rate 0.2, of which 621 of 8,300 units are dead; with SGD,
          where hardly any died, they agree. `mis/n_constant_scored` counts such units, and
          `mis/constant_mean` says what they score.
Asked     Does MIS change with sparsity, in networks that were retrained? As they asked it: of
          whichever units are left.
Cost      Tens of GPU-hours a trial on ImageNet; without DATA on generated images, 64 px, three
          epochs per round: about three quarters of an hour on two CPU cores.
Command   make sweep STUDY=released [DATA=/path/to/imagenet]
"""

from sweeps.plan.primary import Primary
from sweeps.plan.sweep import Grid, Sweep, axis, methods
from sweeps.studies import demo, paper

RATES = (0.2, 0.4, 0.6, 0.8)
AS_RELEASED = {"prune.batchnorm_follows": False}
ROUNDS = {
    "unstructured 5": {  # of 40 % of the rest
        **methods("unstructured")["unstructured"],
        **paper.LINEAR_TOO,
        "prune.rate": round(1 - 0.6**5, 4),
        "prune.rounds": 5,
    },
    "structured 4": {  # of 33 % of the rest
        **methods("structured")["structured"],
        "prune.rate": round(1 - 0.67**4, 4),
        "prune.rounds": 4,
    },
}
CONNECTION_ROUNDS = {  # as those of structured: no log of theirs is known
    "connection 4": {**ROUNDS["structured 4"], **methods("connection")["connection"]}
}

STUDY = Sweep(
    name="released",
    purpose=__doc__,
    # Two hundred of each class, so that the first and the last two hundred files are of one.
    base=demo.BASE.replace({"data.probe_images": 4_000}),
    on_folder=paper.BASE,
    primary=Primary(outcome="mis/mean"),
    grids=(
        Grid(
            {
                "method": methods("connection"),
                "criterion": axis("prune.criterion", ("l1", "random")),
                "rate": axis("prune.rate", RATES),
                "held": axis("prune.held", (False, True)),
            }
        ),
        Grid(
            {
                "method": methods("structured"),
                "rate": axis("prune.rate", RATES),
                "batchnorm_follows": axis("prune.batchnorm_follows", (False, True)),
            }
        ),
        Grid(
            {"method": methods("unstructured"), "rate": axis("prune.rate", RATES)},
            set={**AS_RELEASED, **paper.LINEAR_TOO},
        ),
        Grid(
            {"method": methods("unstructured_layerwise"), "rate": axis("prune.rate", RATES)},
            set=AS_RELEASED,
        ),
        Grid(
            {
                "method": methods("structured"),
                "rate": axis("prune.rate", RATES),
                "optimizer": {
                    "sgd": {},
                    "adam": {"finetune.optimizer": "adam", "finetune.lr": 1e-3},
                },
                "protocol": axis("score.protocol", ("von_rad2024", "von_rad2024_released")),
            },
            set=AS_RELEASED,
        ),
        Grid({"rounds": ROUNDS}, set={**AS_RELEASED, "prune.schedule": "iterative"}),
        Grid(
            {
                "connection_rounds": CONNECTION_ROUNDS,
                "held": axis("prune.held", (False, True)),
            },
            set={"prune.schedule": "iterative"},
        ),
    ),
)

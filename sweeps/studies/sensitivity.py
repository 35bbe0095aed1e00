"""How much accuracy does each layer cost when it alone is pruned, and nothing is trained again?

Purpose   Each layer of the demo's dense network is pruned alone, at nine rates, by the L1 norm of
          its weights, and for comparison of its filters; accuracy is measured on the validation
          images. What comes before a layer is computed once per batch, so that all of GoogLeNet's
          curves cost about as much as half of the evaluations that they are. The report draws them
          and writes sensitivity.csv; from it the study `local` takes a rate for every layer.
Source    The procedure behind "local unstructured" of von Rad & Seuffert 2024 (arXiv 2409.19727;
          released code): per layer the rate up to which accuracy stays above .68 of .70. Which
          rates and images they measured at is not known.
Expected  Single weights of most layers can go to a rate of .5 or more alone; layers differ, the
          1x1 reductions of the first blocks bear least; whole filters bear much less.
Asked     Does the MIS of the same units change with sparsity, in networks that were retrained? (No
          network here was pruned for good: the report cannot say.)
Cost      Two times 56 layers at nine rates on 400 images: half an hour on one CPU core, minutes on
          a GPU.
Command   make sweep STUDY=sensitivity
          make sweep STUDY=sensitivity SET="sensitivity.rates=(0.3,0.6,0.9)"
          make sweep STUDY=local
"""

from sweeps.plan.sweep import Grid, Sweep, axis
from sweeps.studies import demo, folder
from trainables.config import ScoreConfig, SensitivityConfig

STUDY = Sweep(
    name="sensitivity",
    purpose=__doc__,
    base=demo.BASE.replace(
        {
            "prune": None,
            "finetune": None,
            "dissection": None,
            "score": ScoreConfig(n_tasks=10),
            "sensitivity": SensitivityConfig(n_images=400),
        }
    ),
    on_folder=folder.TRANSFER.replace(
        {"prune": None, "finetune": None, "sensitivity": SensitivityConfig(n_images=1_000)}
    ),
    grids=(Grid({"granularity": axis("sensitivity.granularity", ("weight", "filter"))}),),
)

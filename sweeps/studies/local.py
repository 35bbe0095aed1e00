"""Does a rate of its own for each layer, by what it bears alone, keep more than one rate for all?

Purpose   Weights are pruned within layers, each layer at the rate that it bears alone (study
          `sensitivity`, which must have run), times a factor; beside it one rate for all layers,
          and the weights of all layers in one ranking. Fine-tuned as the demo's.
Source    "Local unstructured" of von Rad & Seuffert 2024 (arXiv 2409.19727; released code): rates
          per layer at which accuracy stays above .68 of .70, times .26, .53, .79 and 1.06, which
          came to .2, .4, .6 and .8 on average.
Expected  Theirs, after 50 epochs on ImageNet: .723, .720, .712, .685, against .725, .722, .717,
          .676 of one ranking over all layers: hardly another.
Asked     Does the MIS of the same units change with sparsity, in networks that were retrained?
Cost      Twenty minutes on two CPU cores.
Command   make sweep STUDY=sensitivity && make sweep STUDY=local
          make sweep STUDY=local GRID=table=results/report/sensitivity/sensitivity.csv@0.9
"""

from sweeps.plan.sweep import Grid, Sweep, axis, methods
from sweeps.studies import demo, folder

FACTORS = (0.26, 0.53, 0.79, 1.06)
RATES = (0.2, 0.4, 0.6, 0.8)
BY_LAYER = {
    **methods("unstructured_layerwise")["unstructured_layerwise"],
    "prune.rate": None,
}
TABLE = axis("prune.rates", ("results/report/sensitivity/sensitivity.csv",))
STUDY = Sweep(
    name="local",
    purpose=__doc__,
    base=demo.BASE.replace({"dissection": None}),
    on_folder=folder.TRANSFER,
    grids=(
        Grid({"table": TABLE, "factor": axis("prune.rates_factor", FACTORS)}, set=BY_LAYER),
        Grid(
            {
                "method": methods("unstructured_layerwise", "unstructured"),
                "rate": axis("prune.rate", RATES),
            }
        ),
    ),
)

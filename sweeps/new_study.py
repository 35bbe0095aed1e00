"""A study of the user's own to begin with, commented."""

from rich.console import Console
from rich.markup import escape

from sweeps.plan.sweep import require_name
from sweeps.studies import study_names
from trainables.workspace import at_home

TEMPLATE = '''\
"""What do I want to know? One sentence.

Purpose   What is pruned, how, and what is compared with what.
Expected  What should come out, and what would surprise me.
Asked     Does the MIS of the same units change with sparsity, in networks that were retrained?
"""

from sweeps.plan.sweep import Grid, Sweep, axis, methods
from trainables.config import DataConfig, NetworkConfig, PruneConfig, TrainConfig, TrialConfig

# One trial: every other is this one with some of its fields changed. All fields of TrialConfig and
# of its parts, with what they mean, are in the README and in trainables/config/.
BASE = TrialConfig(
    # Your images, a folder per class: data=DataConfig(name="image_folder", path="/my/photos", …),
    # or DATA=/my/photos on the command line; else images of 20 classes are generated.
    data=DataConfig(pixels=64, train_images=1_200, val_images=800, probe_images=800),
    # Your network: name="my_nets:small", a function beside this file. weights="imagenet" trains a
    # new head by the recipe, weights="file" takes checkpoint="/my/weights.pt".
    network=NetworkConfig(name="googlenet", recipe=TrainConfig(epochs=15, lr=2e-3, warmup=0.15)),
    # Your criterion: criterion="my_criteria:Smallest", a class beside this file; your schedule:
    # schedule="my_schedules:late". Your similarity: score=ScoreConfig(similarity="my_spaces:mine").
    prune=PruneConfig(criterion="l1"),
    # After pruning. None leaves the network as pruned.
    finetune=TrainConfig(epochs=2, optimizer="sgd", lr=0.005, weight_decay=1e-4),
)

STUDY = Sweep(
    name="called as this file is",
    purpose=__doc__,
    base=BASE,
    # Each grid is all combinations of its axes. The dense network, an untrained one and pruning by
    # chance come along by themselves.
    grids=(
        Grid(
            {
                "method": methods("unstructured", "structured"),
                "rate": axis("prune.rate", (0.5, 0.8)),
                # Any field is an axis: "seed": axis("seed", (0, 1, 2)) trains three networks, from
                # which on the report speaks of trainings in general.
            }
        ),
    ),
    # What STOP=1 takes nothing away from: of trials that agree on all of it, and differ in settings
    # such as finetune.lr, hopeless ones are stopped.
    question=("method", "rate", "schedule", "criterion"),
)
'''
"""What is written: it runs as it stands, in about ten minutes on two cores."""


def write_new(name: str, console: Console) -> int:
    """Write the template to a file; the exit code.

    Raises ValueError for a file that is there, or cannot be called so.
    """
    path = at_home(name)
    if path.suffix != ".py":
        raise ValueError(f"FILE must be the name of a Python file, such as mine.py, got {name!r}")
    require_name(path.stem)
    if path.stem in study_names():
        raise ValueError(
            f"a study is called as its file is, and {path.stem} is one that comes with Secateur"
        )
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(TEMPLATE.replace("called as this file is", path.stem))
    except FileExistsError as error:
        raise ValueError(f"FILE must not be there yet, {path} is") from error
    console.print(
        escape(f"{path} is a study to begin with: make plan STUDY={path}, then make sweep"),
        soft_wrap=True,
    )
    return 0

"""A study of seconds: GoogLeNet itself, a few dozen images of 32 px, tasks of few images."""

from sweeps.plan.sweep import Grid, Sweep, axis, methods
from trainables.config import (
    ComputeConfig,
    DataConfig,
    NetworkConfig,
    PruneConfig,
    ScoreConfig,
    TrainConfig,
    TrialConfig,
)
from trainables.training.spent import MEASURED


def small_base(**changes):
    base = TrialConfig(
        data=DataConfig(pixels=32, train_images=96, val_images=60, probe_images=60),
        network=NetworkConfig(recipe=TrainConfig(epochs=2, batch_size=32)),
        prune=PruneConfig(),
        finetune=TrainConfig(epochs=1, batch_size=32),
        score=ScoreConfig(n_tasks=5, n_explanations=3),
        compute=ComputeConfig(device="cpu", precision="fp32", threads=1),
    )
    return base.replace(changes)


def small_sweep(name="small", **changes):
    return Sweep(
        name=name,
        purpose="A study of seconds, for the tests.",
        base=small_base(**changes),
        grids=(
            Grid(
                {
                    "method": methods("structured", "connection"),
                    "rate": axis("prune.rate", (0.5,)),
                    "schedule": {
                        "one_shot": {"prune.schedule": "one_shot", "prune.rounds": 1},
                        "iterative": {"prune.schedule": "iterative", "prune.rounds": 2},
                    },
                }
            ),
            Grid(
                {
                    "method": methods("unstructured"),
                    "recalibrate_images": axis("recalibrate_images", (0, 64)),
                },
                set={"finetune": None},
            ),
        ),
        recalibrate_images=64,
    )


def computed(metrics):
    """Those that do not tell how long it took, which is another number each time."""
    return {name: value for name, value in metrics.items() if not name.startswith(MEASURED)}

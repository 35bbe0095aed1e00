"""One run of Ray Tune, which no worker that dies brings to an end, of whatever it dies."""

import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.air.execution._internal import RayActorManager, TrackedActor
from ray.exceptions import OutOfMemoryError, RayActorError, RayTaskError
from ray.tune.execution import tune_controller

from sweeps.addresses import without_secrets
from sweeps.plan.sweep import Sweep
from sweeps.tune.events import DEATHS, SweepCallback
from sweeps.tune.searcher import PlannedSearch
from sweeps.tune.worker import PruningTrial
from trainables.config import TrialConfig

_NO_MEMORY = (
    "Ray killed it, the memory of its machine was used up: run fewer trials at a time "
    "(cpus_per_trial of the study) or smaller batches"
)


class ActorManager(RayActorManager):
    """Takes every error that comes in the place of a worker's answer for the worker's death.

    Ray's own (2.60) knows two classes and raises all others, through Tune: that of a worker which
    Ray's memory monitor has killed is one of these.
    """

    def _actor_start_failed(self, tracked_actor: TrackedActor, exception: Exception) -> None:
        super()._actor_start_failed(tracked_actor, _as_death(exception))

    def _actor_task_failed(self, tracked_actor_task: Any, exception: Exception) -> None:
        super()._actor_task_failed(tracked_actor_task, _as_death(exception))


def _as_death(exception: Exception) -> Exception:
    if isinstance(exception, OutOfMemoryError):
        return RayActorError(error_msg=_NO_MEMORY)
    if isinstance(exception, (RayActorError, RayTaskError)):
        return exception
    return RayActorError(error_msg=f"{type(exception).__name__}: {exception}")


tune_controller.RayActorManager = ActorManager  # type: ignore[misc]


def fit(
    sweep: Sweep,
    configs: Sequence[TrialConfig],
    search: PlannedSearch | None,
    resources: dict[str, float],
    callback: SweepCallback,
    results: Path,
) -> str:
    """Have Ray Tune run the trials, or those of the search, until it has no more, or is broken off.

    Returns why Tune gave up, "" where it did not. Then this process has no Ray any more, and no
    worker writes: trials that have not ended may be run again.
    """
    on_sigint = signal.getsignal(signal.SIGINT)
    try:
        _tuner(sweep, configs, search, resources, callback, results).fit()
    except Exception as error:
        first = next((line for line in str(error).splitlines() if line.strip()), "")
        why = f"{type(error).__name__}: {without_secrets(first.strip())[:300]}"
    else:
        return ""
    finally:
        signal.signal(signal.SIGINT, on_sigint)  # Tune leaves its own in its place
    ray.shutdown()
    return why


def _tuner(
    sweep: Sweep,
    configs: Sequence[TrialConfig],
    search: PlannedSearch | None,
    resources: dict[str, float],
    callback: SweepCallback,
    results: Path,
) -> tune.Tuner:
    space = {
        "results": str(results),
        "study": sweep.name,
        "retry_smaller_batch": sweep.retry_smaller_batch,
        "processes": max(1, int(resources["gpu"])),
    }
    if search is None:
        space["trial"] = tune.grid_search(list(configs))
    return tune.Tuner(
        tune.with_resources(PruningTrial, resources),
        param_space=space,
        tune_config=tune.TuneConfig(
            reuse_actors=True,
            num_samples=search.n_to_come if search else 1,
            search_alg=search,
            scheduler=callback.stopping,
        ),
        run_config=tune.RunConfig(
            name=sweep.name,
            storage_path=str(results / "ray"),
            verbose=0,
            callbacks=[callback],
            # Trials keep their own state, which a new driver finds as well.
            checkpoint_config=tune.CheckpointConfig(
                checkpoint_frequency=0, checkpoint_at_end=False
            ),
            failure_config=tune.FailureConfig(max_failures=DEATHS),
            log_to_file=True,
        ),
    )

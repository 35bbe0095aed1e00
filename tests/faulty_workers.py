"""Workers that do what workers should not; apart from faults.py, since they need Ray.

Ray reads how it is to authenticate when it is imported: a driver must have its environment by then.
"""

import os
import signal
import time
from pathlib import Path

import sweeps.tune.launch  # noqa: F401  (first: it switches Ray's authentication on)
from sweeps.tune.worker import PruningTrial


class WaitsForAll(PruningTrial):
    """Does nothing until it is told to, so that there is one on every node, however slow one is."""

    def step(self):
        while not (self.workspace.root / "go").exists():
            time.sleep(0.05)
        return super().step()


class DiesOfAll(PruningTrial):
    """Its worker dies while it is set up for the first time; in a step, the driver is told that
    memory ran out; while it takes on another trial; and Tune itself fails when the first trial has
    reported."""

    def setup(self, config):
        if not marked(config["results"], "died setting up"):
            os._exit(1)
        super().setup(config)

    def reset_config(self, new_config):
        if not marked(new_config["results"], "died taking on"):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().reset_config(new_config)

    def step(self):
        if not marked(self.workspace.root, "died of memory"):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().step()


def marked(results, what):
    """Whether it was marked before."""
    mark = Path(results) / what
    if mark.exists():
        return True
    mark.touch()
    return False


def fail_around(worker):
    """What goes wrong in the driver of a sweep with DiesOfAll, once each."""
    if worker != "DiesOfAll":
        return
    from ray.exceptions import OutOfMemoryError, RayActorError
    from ray.tune.execution import tune_controller

    manager, controller, done = tune_controller.RayActorManager, tune_controller.TuneController, []
    real_failed, real_step = manager._actor_task_failed, controller.step

    def failed(self, tracked_actor_task, exception):  # Ray names them, sometimes
        if "memory" not in done and isinstance(exception, RayActorError):
            done.append("memory")  # what Ray says of a worker that its memory monitor has killed
            exception = OutOfMemoryError("1 worker(s) were killed, the node is low on memory")
        real_failed(self, tracked_actor_task, exception)

    def step(self):
        if "Tune" not in done and any(trial.last_result for trial in self.get_trials()):
            done.append("Tune")
            raise RuntimeError("Caught unexpected exception")
        real_step(self)

    manager._actor_task_failed, controller.step = failed, step

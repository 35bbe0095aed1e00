"""What trials share, made ready on a node of the cluster: that of the driver may have no GPU."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError
from rich.console import Console

from sweeps.plan.machine import trial_resources
from sweeps.plan.prepare import prepare
from sweeps.plan.sweep import Sweep
from sweeps.tracking.outbox import Outbox
from sweeps.tracking.sync import outbox_path
from sweeps.tune.launch import connect
from trainables.config import TrialConfig
from trainables.workspace import add_line, read_own

_DEATHS = 3  # of its node that the work survives: it goes on from what it has cached


class Notes:
    """Stands for the outbox on a node, and is a file there: the driver may die before it reads it.

    path: in the results folder, which all nodes see.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def start(self, *arguments: Any, **more: Any) -> None:
        self._note("start", arguments, more)

    def metrics(self, *arguments: Any, **more: Any) -> None:
        self._note("metrics", arguments, more)

    def end(self, *arguments: Any, **more: Any) -> None:
        self._note("end", arguments, more)

    def _note(self, *told: Any) -> None:
        add_line(self.path, json.dumps(told, default=str))

    def pass_on(self, outbox: Outbox) -> None:
        """Tell the outbox all that was told here; then forget it."""
        for line in read_own(self.path).decode(errors="replace").splitlines():
            try:
                what, arguments, more = json.loads(line)
            except ValueError:
                continue  # the first, or one that was being written when the node went down
            getattr(outbox, what)(*arguments, **more)
        self.path.unlink(missing_ok=True)


def prepare_remotely(
    sweep: Sweep, configs: Sequence[TrialConfig], results: Path, outbox: Outbox, console: Console
) -> None:
    """`prepare`, with what a trial has of a node. What it has to tell is told at its end.

    Raises what `prepare` raises, and OSError when its nodes die again and again.
    """
    notes = Notes(outbox_path(results, sweep.name).with_suffix(".notes"))
    resources = trial_resources(sweep, connect(), may_grow=True)
    work = ray.remote(_prepare).options(
        num_cpus=resources["cpu"],
        num_gpus=resources["gpu"],
        memory=resources["memory"],
        max_retries=_DEATHS,
    )
    console.print("what trials share is made ready on the cluster …")
    try:
        ray.get(work.remote(list(configs), results, notes.path))
    except RayTaskError as error:
        raise (error.cause or error) from None
    except RayError as error:
        raise OSError(
            "what trials share must be made ready on a node of the cluster, "
            f"{_DEATHS + 1} have died of it: {type(error).__name__}"
        ) from error
    finally:
        notes.pass_on(outbox)


def _prepare(configs: list[TrialConfig], results: Path, path: Path) -> None:
    prepare(configs, results, Notes(path), Console(file=io.StringIO()))

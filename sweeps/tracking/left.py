"""The network that a trial left with its run in MLflow."""

import json
from collections.abc import Sequence
from pathlib import Path

from mlflow.exceptions import MlflowException
from torch import nn

from sweeps.tracking.tracker import Tracker
from trainables.artifacts import CHECKPOINT, COMPACTED, NETWORK
from trainables.networks import (
    Compacted,
    load_by_shapes,
    offer_code,
    read_compacted,
    rebuild,
)


def trial_network(tracker: Tracker, run_id: str, folder: Path) -> Compacted:
    """Without what was removed, where it removed anything; on the CPU, in evaluation mode.

    folder: for its files. Raises ValueError where a trial left none, or none that loads.
    """
    if COMPACTED in _names(tracker, run_id):
        (file,) = _files(tracker, run_id, [COMPACTED], folder)
        return read_compacted(file, tracker.results)
    arguments = json.loads(_files(tracker, run_id, [NETWORK], folder)[0].read_text())
    return Compacted(masked_network(tracker, run_id, folder), arguments, None)


def masked_network(tracker: Tracker, run_id: str, folder: Path) -> nn.Module:
    """As the trial had it: of full shape, with zeros for what was pruned; else as above."""
    checkpoint, about = _files(tracker, run_id, [CHECKPOINT, NETWORK], folder)
    arguments = json.loads(about.read_text())
    offer_code(arguments.get("code", ""), tracker.results)
    return load_by_shapes(rebuild(arguments), checkpoint)


def _names(tracker: Tracker, run_id: str) -> set[str]:
    try:
        return {file.path for file in tracker.client.list_artifacts(run_id)}
    except (MlflowException, OSError) as error:
        raise _nothing_left(run_id, error) from error


def _files(tracker: Tracker, run_id: str, names: Sequence[str], folder: Path) -> list[Path]:
    client = tracker.client
    try:
        return [Path(client.download_artifacts(run_id, name, str(folder))) for name in names]
    except (MlflowException, OSError) as error:
        raise _nothing_left(run_id, error) from error


def _nothing_left(run_id: str, error: Exception) -> ValueError:
    first = (str(error).splitlines() or [type(error).__name__])[0]
    return ValueError(
        f"a trial must have left its network to be taken away, run {run_id} has not: {first}"
    )

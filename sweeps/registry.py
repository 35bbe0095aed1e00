"""The best network of every method and rate in MLflow's model registry, ready to predict."""

import os
import tempfile
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

# It would ask an index whether the requirements, which are given, can be installed.
os.environ.setdefault("MLFLOW_SKIP_PIP_REQUIREMENTS_CHECK", "true")

import mlflow.pytorch
import numpy as np
import torch
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.types import Schema, TensorSpec
from rich.console import Console
from rich.markup import escape
from torch import Tensor, nn

from sweeps.report.page.words import trial_sentence
from sweeps.report.read.best import best_trials
from sweeps.report.read.frames import latest_sweep, open_tracker, read_trials
from sweeps.report.read.pairs import pairs, stems
from sweeps.tracking.left import trial_network
from sweeps.tracking.tracker import TRIAL_KEY, Tracker, Unavailable
from trainables.datasets.images import normalise
from trainables.networks import logits_of

ALIAS = "best"
_FOLDER = "model"  # of the trial's run
_TAGS = {"sparsity": "prune/sparsity", "top1": "val/top1", "mis": "mis/mean"}


class FromPixels(nn.Module):
    """uint8 images [n, 3, h, w], RGB, to logits float32 [n, class]: scaled as in training."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return logits_of(self.network(normalise(images)))[0]


def register_study(study: str, results: Path, sweep: str | None, console: Console) -> int:
    """`make register`: the networks of a study's latest sweep, or of the one of a key.

    The exit code: 1 when a network could not be registered. Raises ValueError, in one sentence,
    for what `report_study` refuses, and where the server has no registry. A network that is there
    already is not registered again.
    """
    tracker = open_tracker(study, results.resolve())
    _require_registry(tracker)
    trials = read_trials(tracker, latest_sweep(tracker, sweep))
    apart = pairs(trials)
    best = [
        (model_name(stem, row), row)
        for stem, rows in zip(stems(study, apart), apart.values(), strict=True)
        for row in best_trials(trials[rows]).to_dict("records")
    ]
    n_failed = 0
    for name, row in best:
        try:
            version, is_new = register(tracker, name, row)
            news = "" if is_new else ", as before"
            console.print(f"{name} version {version}{news}: {escape(trial_sentence(row))}")
        except (*Unavailable, OSError, ValueError) as error:
            n_failed += 1
            first = (str(error).splitlines() or [type(error).__name__])[0][:300]
            console.print(f"[red]problem:[/] {escape(name)}: {escape(first)}", soft_wrap=True)
    console.print(
        f"{len(best) - n_failed} of {len(best)} networks are in the registry; load one with "
        f"mlflow.pyfunc.load_model('models:/NAME@{ALIAS}'), MLflow at {escape(tracker.uri)}",
        soft_wrap=True,
    )
    return int(n_failed > 0)


def model_name(stem: str, row: Mapping[Hashable, Any]) -> str:
    """ "demo-structured-0.5", "demo-dense". stem: the study and, of a sweep of several pairs of
    network and data, which is meant: "transfer-vgg16"."""
    rate = f"-{row['rate']:g}" if row["rate"] else ""
    return f"{stem}-{row['method']}{rate}"


def register(tracker: Tracker, name: str, row: Mapping[Hashable, Any]) -> tuple[str, bool]:
    """The version of a trial's network under a name, and whether it is new; the alias leads to it.

    row: of the trials' frame. The model is an artifact of the trial's own run. Raises ValueError
    where the trial left no network that can be loaded, and what MLflow raises.
    """
    client, key = tracker.client, str(row["key"])
    found = {v.tags.get(TRIAL_KEY): v.version for v in _versions(tracker, name)}
    version, is_new = found.get(key), key not in found
    if version is None:
        run_id = str(row["run_id"])
        with tempfile.TemporaryDirectory() as folder:
            network = trial_network(tracker, run_id, Path(folder)).network
            model = Path(folder) / _FOLDER
            save_model(FromPixels(network), model, run_id, int(row["data.pixels"]))
            tracker.log_folder(run_id, model, _FOLDER)
        version = client.create_model_version(
            name,
            source=f"runs:/{run_id}/{_FOLDER}",
            run_id=run_id,
            tags=_tags(row),
            description=trial_sentence(row),
        ).version
    client.set_registered_model_alias(name, ALIAS, version)
    return str(version), is_new


def save_model(network: nn.Module, folder: Path, run_id: str, pixels: int) -> None:
    """An MLflow model of a network of images as a graph (torch.export), with signature and example.

    Nothing but torch is needed to load it, and loading it runs no code of its maker.
    """
    generator = torch.Generator().manual_seed(0)
    # Two images: a batch of one would be exported as a batch that is always one.
    example = torch.randint(256, (2, 3, pixels, pixels), dtype=torch.uint8, generator=generator)
    network = network.eval().requires_grad_(False)
    n_classes = network(example).shape[1]
    mlflow.pytorch.save_model(
        network,
        str(folder),
        mlflow_model=Model(artifact_path=_FOLDER, run_id=run_id),
        signature=ModelSignature(  # without names, with which arrays would have to be dicts
            Schema([TensorSpec(np.dtype(np.uint8), (-1, 3, pixels, pixels))]),
            Schema([TensorSpec(np.dtype(np.float32), (-1, n_classes))]),
        ),
        input_example=example.numpy(),
        pip_requirements=[f"torch=={torch.__version__.partition('+')[0]}", "mlflow", "numpy"],
        serialization_format="pt2",
    )


def _tags(row: Mapping[Hashable, Any]) -> dict[str, str]:
    numbers = {name: row.get(metric, float("nan")) for name, metric in _TAGS.items()}
    return {TRIAL_KEY: str(row["key"]), **{name: f"{v:.4f}" for name, v in numbers.items()}}


def _versions(tracker: Tracker, name: str) -> list[Any]:
    """The versions under a name, which is made where there is none."""
    try:
        tracker.client.create_registered_model(
            name,
            description="The network of its method and rate with the highest top-1 accuracy: "
            f"uint8 images in, logits out. The alias `{ALIAS}` is the one to use.",
        )
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    return list(tracker.client.search_model_versions(f"name = '{name}'"))


def _require_registry(tracker: Tracker) -> None:
    try:
        tracker.client.search_registered_models(max_results=1)
    except Unavailable as error:
        first = (str(error).splitlines() or [""])[0][:200]
        raise ValueError(
            f"the MLflow server must have a model registry, {tracker.uri} has none or refuses "
            f"({type(error).__name__}: {first})"
        ) from error

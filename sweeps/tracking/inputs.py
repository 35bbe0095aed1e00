"""The image sets that a trial read, as MLflow's pages show them beside its run."""

import json
from collections.abc import Iterable, Mapping

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag

_MAX_NAME, _MAX_DIGEST = 500, 36  # characters; MLflow refuses longer ones


def log_inputs(client: MlflowClient, run_id: str, inputs: Iterable[Mapping[str, str]]) -> None:
    """Log sets to a run; once more changes nothing.

    inputs: context (training, validation, probe), name, digest, source, n_images, n_classes.
    """
    client.log_inputs(run_id, [_dataset(each) for each in inputs])


def _dataset(said: Mapping[str, str]) -> DatasetInput:
    dataset = Dataset(
        name=said["name"][:_MAX_NAME],
        digest=said["digest"][:_MAX_DIGEST],
        source_type="local",
        source=json.dumps({"uri": said["source"]}),
        profile=json.dumps({name: int(said[name]) for name in ("n_images", "n_classes")}),
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", said["context"])])

"""What the files of one trial hold, named in its config, as the planner of a sweep names it."""

from pathlib import Path

from trainables.config import TrialConfig
from trainables.datasets.broden import broden_digest
from trainables.datasets.folders import look_at
from trainables.networks import file_digest


def with_contents(config: TrialConfig) -> TrialConfig:
    """The config with the digests that no planner has filled in: for a trial in a notebook, whose
    key, folder and cached scores would else be those of any other file.

    Raises ValueError for what is not there.
    """
    data, network, dissection = config.data, config.network, config.dissection
    found: dict[str, str] = {}
    if data.name == "image_folder" and data.path and not data.digest:
        found["data.digest"] = look_at(data.path).digest
    if network.checkpoint and not network.digest:
        found["network.digest"] = file_digest(Path(network.checkpoint))
    if dissection is not None and dissection.path and not dissection.digest:
        found["dissection.digest"] = broden_digest(Path(dissection.path), dissection.n_images)
    return config.replace(found)

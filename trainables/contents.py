"""What the files of one trial hold, named in its config, as the planner of a sweep names it."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from trainables.config import TrialConfig
from trainables.config.scores import FIELD as SCORES
from trainables.data_names import is_set
from trainables.datasets.broden import broden_digest
from trainables.datasets.folders import classes_of, look_at_data
from trainables.networks import file_digest, find_code, for_classes, hold_code
from trainables.own_code import Own
from trainables.rates_file import read_rates


def with_contents(config: TrialConfig, results: Path | None = None) -> TrialConfig:
    """The config with the digests that no planner has filled in: for a trial in a notebook, whose
    key, folder and cached scores would else be those of any other file.

    results: the folder that keeps the code of a user's own network, see `hold_code`. Raises
    ValueError for what is not there.
    """
    if results is not None:
        hold_own_code([config], results)
    data, network, dissection = config.data, config.network, config.dissection
    found: dict[str, Any] = {}
    folder = None
    if data.name != "concepts" and not data.digest and (data.path or is_set(data.name)):
        folder = look_at_data(data)
        found |= {"data.digest": folder.digest, "data.code": folder.code}
    missing = [own for own in own_code_of(config) if not own.digest]
    found |= code_digests(missing, lambda own: find_code(own.name, own.field).digest)
    if config.prune is not None and isinstance(of := config.prune.rates, str):
        found["prune.rates"] = read_rates(of, config.prune.granularity, config.prune.criterion)
    if network.checkpoint and not network.digest:
        found["network.digest"] = file_digest(Path(network.checkpoint))
    if config.given is not None and not config.given.digest:
        found["given.digest"] = file_digest(Path(config.given.path))
    if dissection is not None and dissection.path and not dissection.digest:
        found["dissection.digest"] = broden_digest(Path(dissection.path), dissection.n_images)
    config = config.replace(found)
    if folder is not None or (data.name == "concepts" and not network.digest):
        config = config.replace({"network": for_classes(config.network, classes_of(folder))})
    if results is not None:
        hold_own_code([config], results)
    return config


def hold_own_code(configs: Iterable[TrialConfig], results: Path) -> None:
    """`hold_code` of all that is the user's own in these trials, each code once. Before a config is
    made anew, which looks at the class of its criterion."""
    for own in dict.fromkeys(own for config in configs for own in own_code_of(config)):
        hold_code(own, results)


def own_code_of(config: TrialConfig) -> list[Own]:
    """What the trial names of the user's own code."""
    parts = (config.network, config.data, config.prune, config.score, config)
    return [own for part in parts if part is not None for own in part.own]


def code_digests(
    named: Iterable[Own], digest: Callable[[Own], str]
) -> dict[str, str | tuple[str, ...]]:
    """Field -> digest of the code that it stands for; of scores, of which there may be several,
    the digest of each."""
    found: dict[str, str | tuple[str, ...]] = {}
    for own in named:
        if own.field == "data.name":  # whose is found with its images
            continue
        if own.field == SCORES:
            before = found.get(own.digest_field, ())
            found[own.digest_field] = (*before, digest(own))
        else:
            found[own.digest_field] = digest(own)
    return found

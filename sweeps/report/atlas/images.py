"""The images that an atlas shows: found again by what a trial says that it read, or a sentence."""

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sweeps.report.read.artifacts import Source, artifact
from sweeps.tracking.tracker import Tracker, Unavailable
from trainables.config import DataConfig, DissectionConfig, TrialConfig
from trainables.data_names import is_own_data
from trainables.datasets.concept_maps import ConceptSource
from trainables.datasets.images import ImageSet
from trainables.datasets.loading import probe_images
from trainables.own_code import CODE_FOLDER
from trainables.own_import import offer_code
from trainables.scores.dissection import concept_source


@dataclass(frozen=True)
class Probe:
    """images: that units were asked about. classes: names of their classes. config: of the trial
    that says so, with its data and dissection alone."""

    images: ImageSet
    classes: tuple[str, ...]
    config: TrialConfig

    def concepts(self, cache: Path) -> ConceptSource:
        """The images with concept maps. Raises ValueError or OSError where they are not here."""
        return concept_source(self.config, cache)


def find_probe(tracker: Tracker, source: Source, digest: str) -> Probe:
    """The images that a trial was asked about. digest: of the set that is wanted.

    What a run says of where its images lie is believed only where the images there have the digest
    that its trials noted. Raises ValueError in one sentence where they are not on this machine, or
    not as they were.
    """
    try:
        with artifact(tracker, source, "config.json") as path:
            said = json.loads(path.read_text())
        config = _config(said)
        _offer_own(config.data, tracker.results)
        images, classes = probe_images(config.data, tracker.results / "cache")
    except (*Unavailable, OSError, ValueError, TypeError, LookupError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0][:300]
        raise ValueError(f"the images of the trials cannot be read here: {first}") from error
    if images.digest != digest:
        raise ValueError("the images are not those that the trials were asked about")
    return Probe(images, classes, config)


def used_images(images: ImageSet, *ids: np.ndarray) -> torch.Tensor:
    """int64: the images that are shown, ascending; all of them where most are, so that the next
    report finds the same. Raises ValueError for an id that the set has not."""
    there = np.unique(np.concatenate([each.ravel() for each in ids]))
    if len(there) and there[-1] >= len(images):
        raise ValueError(f"image ids must be below {len(images)}, there is {there[-1]}")
    if 2 * len(there) > len(images):
        return torch.arange(len(images))
    return torch.from_numpy(there.astype(np.int64))


def _config(said: Any) -> TrialConfig:
    return TrialConfig(
        data=_part(DataConfig, said, "data"),
        dissection=_part(DissectionConfig, said, "dissection")
        if "dissection.concepts" in said
        else None,
    )


def _part(kind: Any, said: dict[str, Any], name: str) -> Any:
    """A stage of a trial from its fields under dotted names; those of later versions are passed."""
    known = {item.name for item in fields(kind)}
    values = {n.removeprefix(f"{name}."): v for n, v in said.items() if n.startswith(f"{name}.")}
    tuples = {n: tuple(v) if isinstance(v, list) else v for n, v in values.items() if n in known}
    return kind(**tuples)


def _offer_own(data: DataConfig, results: Path) -> None:
    """Code of the user's own is run from the copy that the sweep made, or not at all."""
    if not is_own_data(data.name):
        return
    if not data.code or not (results / CODE_FOLDER / data.code).is_dir():
        raise ValueError(f"the code of {data.name} is not in {results / CODE_FOLDER}")
    offer_code(data.code, results)

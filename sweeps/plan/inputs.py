"""What the trials of a plan read: named by what it holds, and what a study adapts to it."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainables.config import TrialConfig
from trainables.contents import code_digests, own_code_of
from trainables.datasets.broden import broden_digest
from trainables.datasets.folders import Folder, Source, classes_of, look_at_all, source_of
from trainables.datasets.names import shown
from trainables.networks import file_digest, find_code, for_classes, given_said, head_said
from trainables.rates_file import read_rates

_SPLITS = ("train", "val", "probe")


@dataclass(frozen=True)
class Inputs:
    """folders: what a split depends on -> the images that there are.

    adapted: sentences on the study's own numbers that were larger than what there is. heads: on
    those that given weights get for the data's classes, and on a network that is given pruned.
    lost: on what pruning cannot do in networks whose channels cannot be followed.
    """

    folders: Mapping[Source, Folder] = field(default_factory=dict)
    adapted: tuple[str, ...] = ()
    heads: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()

    def counted(self, config: TrialConfig) -> TrialConfig:
        """The config with numbers where it takes all that a folder holds."""
        folder = self.folders.get(source_of(config.data))
        if folder is None:
            return config
        return config.replace({f"data.{n}": v for n, v in folder.counted(config.data).items()})

    def n_classes(self, config: TrialConfig) -> int | None:
        """How many classes its data has; None where it has no folder, of which nothing is known."""
        folder = self.folders.get(source_of(config.data))
        if folder is None and config.data.name != "concepts":
            return None
        return len(classes_of(folder))

    def per_class(self, config: TrialConfig) -> tuple[int, ...]:
        """Training images of each class that its folder has; none where it has no folder."""
        folder = self.folders.get(source_of(config.data))
        return () if folder is None else folder.per_class["train"]

    @property
    def sentences(self) -> list[str]:
        """For people, before anything runs: the images of each folder, and what was adapted."""
        images = [
            f"images: {folder.said} ({shown(s[1] or s[0])})" for s, folder in self.folders.items()
        ]
        images = list(dict.fromkeys(images))
        return [*images, *self.notes]

    @property
    def notes(self) -> list[str]:
        """Those of them that nothing else says while a sweep runs."""
        return [*self.adapted, *self.heads, *self.lost]


def look_at_inputs(
    configs: Sequence[TrialConfig], given: Collection[str] = (), varied: Collection[str] = ()
) -> tuple[list[TrialConfig], Inputs]:
    """The trials with the digests of all they read, so that their keys depend on it.

    given: fields that the command line sets, and `varied`, for the trials of a grid: they are
    taken at their word. Of the study's own numbers those that ask for more images than there are
    take all there are.
    Raises ValueError for what is not there or not as it must be.
    """
    folders = look_at_all(config.data for config in configs)
    adapted: dict[str, None] = {}
    heads: dict[str, None] = {}
    digests: dict[tuple[object, ...], str] = {}
    named = {}
    for config in configs:
        changes = _digests(config, folders, digests)
        for name, (number, want) in _too_many(config, folders.get(source_of(config.data))).items():
            if name not in given and (config.prune is None or name not in varied):
                changes[name] = number
                text = "all" if number is None else f"{number:,}"
                adapted[f"{name} takes {text} that there are, the study asks for {want:,}"] = None
        config = config.replace(changes)
        folder = folders.get(source_of(config.data))
        if folder is not None or config.data.name == "concepts":  # else no class is known yet
            classes = classes_of(folder)
            config = config.replace({"network": for_classes(config.network, classes)})
            heads[head_said(config.network, classes)] = None
            if config.given is not None:
                which = (config.network, config.given, len(classes), config.data.pixels)
                heads[given_said(*which)] = None
        named[config.key] = config
    said = tuple(sentence for sentence in heads if sentence)
    return list(named.values()), Inputs(folders, tuple(adapted), said)


def _digests(
    config: TrialConfig, folders: Mapping[Source, Folder], known: dict[tuple[object, ...], str]
) -> dict[str, Any]:
    """Field -> digest of what it stands for. known: of files that other trials read, too."""

    def once(make: Callable[..., str], *of: object) -> str:
        if (make, *of) not in known:
            known[make, *of] = make(*of)
        return known[make, *of]

    changes: dict[str, Any] = {}
    if folder := folders.get(source_of(config.data)):
        changes |= {"data.digest": folder.digest, "data.code": folder.code}
    named = own_code_of(config)
    changes |= code_digests(named, lambda own: once(_code_digest, own.field, own.name))
    if config.prune is not None and isinstance(of := config.prune.rates, str):
        prune = config.prune
        changes["prune.rates"] = read_rates(of, prune.granularity, prune.criterion)
    if config.network.checkpoint:
        changes["network.digest"] = once(file_digest, Path(config.network.checkpoint))
    if config.given is not None:
        changes["given.digest"] = once(file_digest, Path(config.given.path))
    dissection = config.dissection
    if dissection is not None and dissection.path is not None:
        which = (Path(dissection.path), dissection.n_images)
        changes["dissection.digest"] = once(broden_digest, *which)
    return changes


def _code_digest(field: str, name: str) -> str:
    return find_code(name, field).digest


def _too_many(config: TrialConfig, folder: Folder | None) -> dict[str, tuple[int | None, int]]:
    """Field -> (what there is, what it asks for), where it asks for more; None is all."""
    found: dict[str, tuple[int | None, int]] = {}
    train = config.data.train_images
    if folder is not None:
        for split in _SPLITS:
            wanted = getattr(config.data, f"{split}_images")
            if wanted is not None and wanted > folder.available(split):
                found[f"data.{split}_images"] = (None, wanted)
        there = folder.available("train")
        train = there if train is None else min(train, there)
    if train is not None and config.recalibrate_images > train:
        found["recalibrate_images"] = (train, config.recalibrate_images)
    return found

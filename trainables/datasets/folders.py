"""What is known of the images of a study before anything of it runs."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from trainables.config import DataConfig
from trainables.datasets.concepts import class_names
from trainables.datasets.listing import Listing, list_folder
from trainables.datasets.remote import is_remote, remote_counts, remote_digest
from trainables.datasets.set_listing import list_sets
from trainables.datasets.sets import coded
from trainables.datasets.splitting import with_split

Source = tuple[str, str | None, int, float]
"""What a split depends on: data.name, data.path, data.seed, data.val_share."""


@dataclass(frozen=True)
class Folder:
    """digest: of what it holds. counts: "train", "val" -> images. said: for people. classes: their
    names, by label. per_class: "train", "val" -> images of each class. faults: name -> why a file
    that ends as a picture is none. code: digest of a user's own function's."""

    digest: str
    counts: Mapping[str, int]
    said: str
    classes: tuple[str, ...]
    per_class: Mapping[str, tuple[int, ...]]
    faults: Mapping[str, str] = field(default_factory=dict)
    code: str = ""

    def available(self, split: str) -> int:
        """How many images "train", "val" or "probe" can have."""
        return self.counts["val" if split == "val" else "train"]

    def counted(self, data: DataConfig) -> dict[str, int]:
        """Field of `data` -> its number, where it says to take all there are."""
        names = {f"{split}_images": split for split in ("train", "val", "probe")}
        return {n: self.available(s) for n, s in names.items() if getattr(data, n) is None}


def source_of(data: DataConfig) -> Source:
    return data.name, data.path, data.seed, data.val_share


def look_at(path: str) -> Folder:
    """Raises ValueError for what is no image folder, OSError for a disk that is away."""
    return look_at_data(DataConfig(name="image_folder", path=path, broken_images="skip"))


def look_at_data(data: DataConfig) -> Folder:
    """Of a data set as well. Raises as `look_at`, and for a fault that is not to be skipped."""
    return look_at_all([data])[source_of(data)]


def look_at_all(datas: Iterable[DataConfig]) -> dict[Source, Folder]:
    """Each folder that is named, looked through once. Raises as `look_at`."""
    found: dict[Source, Folder] = {}
    listings: dict[tuple[str, str | None], Listing] = {}
    for data in datas:
        source, path = source_of(data), data.path
        if data.name == "concepts" or (data.name == "image_folder" and not path):
            continue
        if data.name == "image_folder" and path and is_remote(path):
            found[source] = found.get(source) or _remote(path)
            continue
        data, pool = coded(data), source[:2]
        if pool not in listings:
            listings[pool] = list_images(data)
        if data.broken_images == "refuse":
            listings[pool].require_pictures(path)
        if source not in found:
            found[source] = _folder(listings[pool], data)
    return found


def list_images(data: DataConfig) -> Listing:
    """Of a folder on a disk, or of a data set. Raises as `look_at`."""
    if data.name != "image_folder":
        return list_sets(data)
    return list_folder(Path(data.path or ""))


def _folder(listing: Listing, data: DataConfig) -> Folder:
    split = with_split(listing, data)
    counts = (split.counts, split.said(), split.classes, split.counts_per_class)
    return Folder(listing.digest, *counts, split.faults, data.code)


def _remote(uri: str) -> Folder:
    classes, per_class = remote_counts(uri)
    counts = {split: sum(its) for split, its in per_class.items()}
    said = f"{len(classes):,} classes, {counts['train']:,} images in train/ and "
    said += f"{counts['val']:,} in val/"
    return Folder(remote_digest(uri), counts, said, classes, per_class)


def classes_of(folder: Folder | None) -> tuple[str, ...]:
    """The names of the classes, by label. folder: what was found, of an image folder; None of
    generated images."""
    return tuple(class_names()) if folder is None else folder.classes

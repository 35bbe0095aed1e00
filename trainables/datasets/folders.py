"""What is known of an image folder before anything of a study runs."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from trainables.config import DataConfig
from trainables.datasets.listing import list_folder
from trainables.datasets.remote import is_remote, remote_counts, remote_digest


@dataclass(frozen=True)
class Folder:
    """digest: of what it holds. counts: "train", "val" -> images. said: for people. classes: their
    names, by label."""

    digest: str
    counts: Mapping[str, int]
    said: str
    classes: tuple[str, ...]

    def available(self, split: str) -> int:
        """How many images "train", "val" or "probe" can have."""
        return self.counts["val" if split == "val" else "train"]

    def counted(self, data: DataConfig) -> dict[str, int]:
        """Field of `data` -> its number, where it says to take all there are."""
        names = {f"{split}_images": split for split in ("train", "val", "probe")}
        return {n: self.available(s) for n, s in names.items() if getattr(data, n) is None}


def look_at(path: str) -> Folder:
    """Raises ValueError for what is no image folder, OSError for a disk that is away."""
    if is_remote(path):
        classes, counts = remote_counts(path)
        said = f"{len(classes):,} classes, {counts['train']:,} images in train/ and "
        return Folder(remote_digest(path), counts, said + f"{counts['val']:,} in val/", classes)
    listing = list_folder(Path(path))
    return Folder(listing.digest, listing.counts, listing.said(), listing.classes)

"""From a folder of pictures to image sets: which of them are chosen, and that they can be read."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from trainables.config import DataConfig
from trainables.datasets.files import Files, Pictures
from trainables.datasets.image_folder import FolderImages, find_broken
from trainables.datasets.images import Data, ImageSet, Progress
from trainables.datasets.known import known_broken, known_listing, note_broken
from trainables.datasets.listing import Listing, Split, list_folder, refuse_broken, some_broken
from trainables.datasets.names import shown
from trainables.datasets.pack import BrokenImagesError, open_pack
from trainables.datasets.packed_images import PackedImages
from trainables.datasets.remote import fetched, is_remote, remote_digest
from trainables.datasets.set_listing import list_sets
from trainables.datasets.sets import Items, Sets, coded
from trainables.datasets.splitting import drawn_digest, with_split
from trainables.fields import digest_of


def folder_data(config: DataConfig, cache: Path, progress: Progress | None = None) -> Data:
    """The image sets of a folder, of its copy where it lies in an object store, or of a data set.

    Pictures that cannot be read are refused by name, or skipped where the config says so: then the
    next ones in the order that the seed draws stand in for them. Raises as `load_data`.
    """
    config, listing, pictures = _ready(config, cache, progress)
    where = config.path or config.name
    n_listed = sum(len(split) for split in listing.splits.values())
    looks = [_Look(config, split, pictures, listing, cache) for split in ("train", "val", "probe")]
    sets = [look.images(progress) for look in looks]
    broken = listing.faults | {name: why for look in looks for name, why in look.broken.items()}
    if broken and config.broken_images == "refuse":
        refuse_broken(where, broken, n_listed)
    train, val, probe = (images for images in sets if images is not None)
    said = (
        f"{listing.said()}; taken are {len(train):,} to train, {len(val):,} to validate and "
        f"{len(probe):,} to score"
    )
    if broken:
        said += f"; skipped, since they cannot be read: {some_broken(where, broken)}"
    return Data(train, val, probe, listing.classes, said)


def folder_probe(config: DataConfig, cache: Path) -> tuple[ImageSet, tuple[str, ...]]:
    """The images that units are scored on alone, as `folder_data` gives them, and the classes."""
    config, listing, pictures = _ready(config, cache, None)
    look = _Look(config, "probe", pictures, listing, cache)
    images = look.images(None)
    if images is None:
        refuse_broken(config.path or config.name, look.broken, len(look.of))
    return images, listing.classes


def _ready(
    config: DataConfig, cache: Path, progress: Progress | None
) -> tuple[DataConfig, Listing, Callable[[Split], Pictures]]:
    """As `_opened`, with the split that is drawn where the folder has none."""
    config, listing, pictures = _opened(config, cache, progress)
    config = replace(config, digest=drawn_digest(listing, config.digest, config))
    if config.broken_images == "refuse":
        listing.require_pictures(config.path or config.name)
    return config, with_split(listing, config), pictures


def require_named(path: str | None) -> str:
    """The path of an image folder. Raises ValueError where there is none."""
    if path is None:
        raise ValueError(
            "data.name='image_folder' needs data.path, a folder with train/ and val/, or with one "
            "folder per class: make sweep STUDY=… DATA=/path/to/folder"
        )
    return path


def _opened(
    config: DataConfig, cache: Path, progress: Progress | None
) -> tuple[DataConfig, Listing, Callable[[Split], Pictures]]:
    """The config with its digest, what there is, and what opens some of the pictures."""
    path = config.path
    if config.name != "image_folder":
        config = coded(config)
        config, listing = _listed(config, lambda: list_sets(config), cache)
        sets = Sets(config)
        return config, listing, lambda some: Items(sets, some.names, some.marks)
    path = require_named(path)
    root = Path(path)
    if is_remote(path):
        digest = config.digest or remote_digest(path)
        config, root = replace(config, digest=digest), fetched(path, digest, cache, progress)
        listing = known_listing(cache / f"listing-{digest}.npz", lambda: list_folder(root))
    else:
        config, listing = _listed(config, lambda: list_folder(root), cache)
    return config, listing, lambda some: Files(str(root), some.names, some.marks)


def _listed(
    config: DataConfig, find: Callable[[], Listing], cache: Path
) -> tuple[DataConfig, Listing]:
    """The listing that the digest is of. A sweep names it when it is planned, a notebook may not.

    Raises ValueError for images that have changed since.
    """
    if not config.digest:
        listing = find()
        return replace(config, digest=listing.digest), listing

    def make() -> Listing:
        listing = find()
        if listing.digest != config.digest:
            raise ValueError(
                f"the images must stay as they were when the sweep was planned, those of "
                f"{shown(config.path or config.name)} have changed; plan it anew"
            )
        return listing

    return config, known_listing(cache / f"listing-{config.digest}.npz", make)


@dataclass
class _Look:
    """The images of one split that a study takes."""

    config: DataConfig
    split: str
    pictures: Callable[[Split], Pictures]
    listing: Listing
    cache: Path

    def __post_init__(self) -> None:
        config = self.config
        self.of = self.listing.splits["val" if self.split == "val" else "train"]
        self.count: int | None = getattr(config, f"{self.split}_images")
        self._require(len(self.of))
        what = [config.digest, self.split, self.count, config.seed]
        self.note = self.cache / f"looked-{digest_of(what)[:16]}.json"
        self.broken, self.all_seen = known_broken(self.note)

    def images(self, progress: Progress | None) -> ImageSet | None:
        """The image set; None where images are broken, which are in `broken`, and refused."""
        order, refuses = self._order(), self.config.broken_images == "refuse"
        while not (refuses and self.broken):
            marks, names = self.of.marks, self.of.names
            sound = [i for i in order if marks[i] >= 0 and names[i] not in self.broken]
            self._require(len(sound))
            chosen = np.sort(np.array(sound[: self.count], np.int64))
            images, broken = self._open(chosen, progress)
            self.broken |= {names[chosen[i]]: why for i, why in broken.items()}
            if broken or not self.all_seen:
                note_broken(self.note, self.broken, all_seen=not broken)
            if not broken:
                return images
        return None

    def _open(
        self, chosen: np.ndarray, progress: Progress | None
    ) -> tuple[ImageSet | None, Mapping[int, str]]:
        """The images at these positions, or which of them cannot be read."""
        config = self.config
        taken = self.of.at(chosen)
        files, labels = self.pictures(taken), torch.from_numpy(taken.labels)
        depends_on = [config.digest, self.split, self.count, config.seed, config.pixels]
        digest = digest_of([*depends_on, config.broken_images])[:16]
        if config.packed is None:
            broken = {}
            if not self.all_seen:
                broken = find_broken(files, range(len(files)), config.workers, progress)
            return FolderImages(files, labels, digest, config.pixels, config.workers), broken
        whose = config.path or config.name
        of = {"folder": whose, "split": self.split, "count": self.count, "seed": config.seed}
        side, workers = config.packed, config.workers
        try:
            pack = open_pack(files, side, self.cache, of=of, workers=workers, progress=progress)
        except BrokenImagesError as error:
            return None, error.broken
        digest = digest_of([digest, side])[:16]
        return PackedImages(pack, labels, digest, config.pixels, workers), {}

    def _order(self) -> list[int]:
        """All positions, in the order in which they are chosen."""
        n = len(self.of)
        if self.count is None:
            return list(range(n))
        stream = int(digest_of([self.split, self.config.seed])[:12], 16)
        return torch.randperm(n, generator=torch.Generator().manual_seed(stream)).tolist()

    def _require(self, n: int) -> None:
        if self.count is not None and self.count > n:
            raise ValueError(
                f"data.{self.split}_images must be at most the {n} images that "
                f"{shown(self.config.path or self.config.name)} holds for it, got {self.count}; "
                f"SET=data.{self.split}_images=None takes all"
            )

"""From a config to the image sets of a trial."""

from pathlib import Path

import torch

from trainables.config import DataConfig
from trainables.datasets import concepts
from trainables.datasets.folder_data import folder_data, folder_probe
from trainables.datasets.images import ArrayImages, Data, ImageSet, Progress
from trainables.datasets.remote import is_remote
from trainables.fields import digest_of
from trainables.workspace import node_cache


def load_data(config: DataConfig, cache: Path, progress: Progress | None = None) -> Data:
    """The image sets of `config`; generated ones are drawn once and cached under `cache`, and so
    are a folder's decoded images where `config.packed` asks for it.

    A machine with a cache of its own (`node_cache`) keeps them there, and a copy of what lies in
    an object store.

    Raises ValueError for a folder that is missing or not as it must be, or holds fewer images
    than asked for, and OSError when the disk has no room for the cache.
    """
    cache = node_cache(cache)
    made = _concepts if config.name == "concepts" else folder_data
    data, few = made(config, cache, progress), config.val_images_per_epoch
    if few is not None and few > len(data.val):
        raise ValueError(
            f"data.val_images_per_epoch must be at most the {len(data.val):,} images to validate "
            f"that are there, got {few:,}"
        )
    return data


def probe_images(config: DataConfig, cache: Path) -> tuple[ImageSet, tuple[str, ...]]:
    """The images that units are scored on alone, and the names of the classes; nothing is
    downloaded.

    Raises ValueError for images that are not on this machine, or not as they were.
    """
    cache = node_cache(cache)
    if config.name == "concepts":
        return _drawn(config, "probe", cache, None), tuple(concepts.class_names())
    local = config.name == "image_folder" and not is_remote(config.path or "")
    if not local and not (cache / f"listing-{config.digest}.npz").exists():
        raise ValueError(f"the images of {config.path or config.name} are not on this machine")
    return folder_probe(config, cache)


def _concepts(config: DataConfig, cache: Path, progress: Progress | None) -> Data:
    sets = {split: _drawn(config, split, cache, progress) for split in ("train", "val", "probe")}
    return Data(
        train=sets["train"],
        val=sets["val"],
        probe=sets["probe"],
        class_names=tuple(concepts.class_names()),
        said=f"{len(concepts.class_names())} classes, drawn: {config.train_images:,} images to "
        f"train, {config.val_images:,} to validate and {config.probe_images:,} to score",
    )


def _drawn(config: DataConfig, split: str, cache: Path, progress: Progress | None) -> ImageSet:
    count = getattr(config, f"{split}_images")
    drawn = concepts.load(
        split, count, seed=config.seed, pixels=config.pixels, root=cache, progress=progress
    )
    depends_on = ["concepts", concepts.VERSION, split, count, config.seed, config.pixels]
    return ArrayImages(
        drawn.images, torch.from_numpy(drawn.labels.copy()), digest_of(depends_on)[:16]
    )

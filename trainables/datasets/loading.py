"""From a config to the image sets of a trial."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainables.config import DataConfig, evaluation_side
from trainables.datasets import concepts
from trainables.datasets.image_folder import (
    FolderImages,
    find_broken,
    folder_digest,
    refuse_broken,
    scan_both,
)
from trainables.datasets.images import ArrayImages, Data, ImageSet, Progress
from trainables.datasets.pack import open_pack
from trainables.datasets.packed_images import PackedImages
from trainables.datasets.remote import fetched, is_remote, remote_digest
from trainables.fields import digest_of
from trainables.workspace import node_cache, whole_file


def load_data(config: DataConfig, cache: Path, progress: Progress | None = None) -> Data:
    """The image sets of `config`; generated ones are drawn once and cached under `cache`, and so
    are a folder's decoded images where `config.packed` asks for it.

    A machine with a cache of its own (`node_cache`) keeps them there, and a copy of what lies in
    an object store.

    Raises ValueError for a folder that is missing or not as it must be, or holds fewer images
    than asked for, and OSError when the disk has no room for the cache.
    """
    cache = node_cache(cache)
    if config.name == "concepts":
        return _concepts(config, cache, progress)
    return _image_folder(config, cache, progress)


def _concepts(config: DataConfig, cache: Path, progress: Progress | None) -> Data:
    sets: dict[str, ImageSet] = {}
    for split in ("train", "val", "probe"):
        count = getattr(config, f"{split}_images")
        drawn = concepts.load(
            split, count, seed=config.seed, pixels=config.pixels, root=cache, progress=progress
        )
        depends_on = ["concepts", concepts.VERSION, split, count, config.seed, config.pixels]
        sets[split] = ArrayImages(
            drawn.images, torch.from_numpy(drawn.labels.copy()), digest_of(depends_on)[:16]
        )
    return Data(
        train=sets["train"],
        val=sets["val"],
        probe=sets["probe"],
        class_names=tuple(concepts.class_names()),
    )


def _image_folder(config: DataConfig, cache: Path, progress: Progress | None) -> Data:
    if config.path is None:
        raise ValueError(
            "data.name='image_folder' needs data.path, a folder with train/ and val/: "
            "make sweep STUDY=… DATA=/path/to/folder"
        )
    root = Path(config.path)
    if is_remote(config.path):
        digest = config.digest or remote_digest(config.path)
        root = fetched(config.path, digest, cache, progress)
    train, val = scan_both(root)
    if not config.digest:  # a sweep fills it in when it is planned, a notebook may not
        config = replace(config, digest=folder_digest(root))
    names = tuple(train)
    listed = {
        split: [(file, label) for label, name in enumerate(names) for file in classes[name]]
        for split, classes in (("train", train), ("val", val))
    }
    broken = _broken_files(root, config, cache, [f for files in listed.values() for f, _ in files])
    listed = {s: [(f, y) for f, y in files if f not in broken] for s, files in listed.items()}
    listed["probe"] = listed["train"]
    sets: dict[str, Any] = {
        split: _subset(config, split, files, getattr(config, f"{split}_images"))
        for split, files in listed.items()
    }
    if config.packed is not None:
        sets = {split: _packed(config, s, cache, progress) for split, s in sets.items()}
    return Data(class_names=names, **sets)


def _packed(
    config: DataConfig, images: FolderImages, cache: Path, progress: Progress | None
) -> PackedImages:
    """The same images, decoded once."""
    side = config.packed or evaluation_side(config.pixels)
    pack = open_pack(
        images.paths, config.digest, side, cache, workers=images.workers, progress=progress
    )
    digest = digest_of([images.digest, side])[:16]
    return PackedImages(pack, images.labels, digest, config.pixels, images.workers)


def _broken_files(root: Path, config: DataConfig, cache: Path, files: list[Path]) -> set[Path]:
    """What cannot be read, looked up once a folder; refused unless the study skips it."""
    known = cache / f"broken-{config.digest}.json"
    if not known.exists():
        found = [str(file.relative_to(root)) for file in find_broken(files)]
        with whole_file(known) as partial:
            partial.write_text(json.dumps(found))
    broken = [root / name for name in json.loads(known.read_text())]
    if config.broken_images == "refuse":
        refuse_broken(broken, len(files))
    return set(broken)


def _subset(
    config: DataConfig, split: str, files: list[tuple[Path, int]], count: int | None
) -> FolderImages:
    if count is not None and count > len(files):
        raise ValueError(
            f"data.{split}_images must be at most the {len(files)} images that "
            f"{config.path} holds for it, got {count}"
        )
    chosen = _choose(len(files), count, config.seed, split)
    depends_on = [config.digest, split, count, config.seed, config.pixels, config.broken_images]
    return FolderImages(
        paths=tuple(files[i][0] for i in chosen.tolist()),
        labels=torch.tensor([files[i][1] for i in chosen.tolist()]),
        digest=digest_of(depends_on)[:16],
        pixels=config.pixels,
        workers=config.workers,
    )


def _choose(n: int, count: int | None, seed: int, split: str) -> Tensor:
    if count is None:
        return torch.arange(n)
    stream = int(digest_of([split, seed])[:12], 16)
    return torch.randperm(n, generator=torch.Generator().manual_seed(stream))[:count].sort().values

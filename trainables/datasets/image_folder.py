"""A folder in ImageNet's layout: train/ and val/, in each a folder a class, in each its images."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Generator, Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.datasets.folder import IMG_EXTENSIONS
from torchvision.transforms import v2

from trainables.config import evaluation_side
from trainables.datasets.images import WHOLE, Batch, Share, split_batches
from trainables.fields import digest_of

# Ends of complete files. A file that ends otherwise is decoded in full before it is called broken.
_ENDINGS = {".jpg": b"\xff\xd9", ".jpeg": b"\xff\xd9", ".png": b"IEND\xaeB`\x82"}


def scan(root: Path, split: str) -> dict[str, list[Path]]:
    """Class name -> its image files, both sorted. Raises ValueError for what is not there."""
    folder = root / split
    if not folder.is_dir():
        raise ValueError(
            f"an image folder must hold train/ and val/, a folder a class in each: no {folder}"
        )
    classes = {
        entry.name: sorted(f for f in entry.iterdir() if f.suffix.lower() in IMG_EXTENSIONS)
        for entry in sorted(folder.iterdir())
        if entry.is_dir()
    }
    if not classes:
        raise ValueError(f"{folder} must hold one folder a class, it holds none")
    empty = [name for name, files in classes.items() if not files]
    if empty:
        raise ValueError(f"every class must have images, {_some(empty)} of {folder} have none")
    return classes


def scan_both(root: Path) -> tuple[dict[str, list[Path]], dict[str, list[Path]]]:
    """The classes of train/ and of val/, which must be the same ones."""
    if not root.is_dir():
        raise ValueError(f"the data folder must exist, {root} does not")
    train, val = scan(root, "train"), scan(root, "val")
    for here, there, place in ((train, val, "val"), (val, train, "train")):
        missing = [name for name in here if name not in there]
        if missing:
            raise ValueError(
                f"both splits must hold the same classes, {root / place} lacks {_some(missing)}"
            )
    return train, val


def folder_digest(root: Path) -> str:
    """Changes when a file is added, removed, renamed or changes its size."""
    listing = [
        [split, name, file.name, file.stat().st_size]
        for split, classes in zip(("train", "val"), scan_both(root), strict=True)
        for name, files in classes.items()
        for file in files
    ]
    return digest_of(listing)[:16]


def is_broken(path: Path) -> bool:
    """Whether an image cannot be decoded to its end.

    Complete files are told by their last bytes, which costs one read; only the others are
    decoded, since a few sound files of ImageNet carry bytes after their end or a wrong suffix.
    """
    ending = _ENDINGS.get(path.suffix.lower())
    if ending is not None:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - len(ending)))
            if file.read() == ending:
                return False
    try:
        Image.open(path).convert("RGB")
    except Exception:
        # Pillow raises OSError, SyntaxError, ValueError, … by format: any of them means broken.
        return True
    return False


def find_broken(paths: Sequence[Path]) -> list[Path]:
    """Those of the images that cannot be decoded; many are looked at side by side."""
    with ThreadPoolExecutor(16) as threads:
        # Chunks, since a future an image would need gigabytes for ImageNet.
        chunks = [paths[i : i + 256] for i in range(0, len(paths), 256)]
        found = threads.map(lambda chunk: [path for path in chunk if is_broken(path)], chunks)
        return [path for broken in found for path in broken]


def _some(names: Sequence[object], n: int = 3) -> str:
    shown = ", ".join(str(name) for name in names[:n])
    return shown if len(names) <= n else f"{shown} and {len(names) - n} more"


def refuse_broken(broken: Sequence[Path], n_images: int) -> None:
    """Raise ValueError if any of the n_images images is broken."""
    if broken:
        raise ValueError(
            f"every image must be readable to its end, {len(broken)} of {n_images} are not: "
            f"{_some(broken)}; data.broken_images='skip' leaves them out"
        )


class _Decoded(Dataset):
    """Files to uint8 tensors [3, pixels, pixels], each augmented from a seed of its own.

    A file that cannot be read becomes a sentence: an error raised in a worker would come wrapped
    in that process's traceback, and keep its iterator alive, whose workers then end seconds late.
    """

    def __init__(self, paths: list[Path], pixels: int, seeds: list[int] | None) -> None:
        self.paths, self.seeds = paths, seeds
        to_tensor = [v2.PILToTensor()]
        if seeds is not None:
            views = [v2.RandomResizedCrop(pixels, antialias=True), v2.RandomHorizontalFlip()]
        else:
            views = [v2.Resize(evaluation_side(pixels), antialias=True), v2.CenterCrop(pixels)]
        self.view = v2.Compose([*views, *to_tensor])

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> Tensor | str:
        try:
            image = Image.open(self.paths[i]).convert("RGB")
        except Exception as error:
            return f"the image {self.paths[i]} cannot be read: {error}"
        if self.seeds is None:
            return self.view(image)
        with torch.random.fork_rng(devices=[]):
            # Not torch.manual_seed, which seeds the GPU, too: dropout would repeat itself.
            torch.default_generator.manual_seed(self.seeds[i])
            return self.view(image)


def _stack(images: list[Tensor | str]) -> Tensor | str:
    tensors = [image for image in images if isinstance(image, Tensor)]
    broken = [image for image in images if isinstance(image, str)]
    return broken[0] if broken else torch.stack(tensors)


@dataclass(frozen=True)
class FolderImages:
    """Image files, decoded when asked for; augmented by random resized crop and flip.

    Raises ValueError, naming the file, when one cannot be read.
    """

    paths: tuple[Path, ...]
    labels: Tensor
    digest: str
    pixels: int
    workers: int = 0

    def __len__(self) -> int:
        return len(self.paths)

    def batches(
        self,
        order: Tensor,
        batch_size: int,
        *,
        augment: Generator | None = None,
        share: Share = WHOLE,
    ) -> Iterator[Batch]:
        seeds = None
        if augment is not None:
            seeds = torch.randint(2**62, (len(order),), generator=augment).tolist()
        decoded = _Decoded([self.paths[i] for i in order.tolist()], self.pixels, seeds)
        whole = split_batches(torch.arange(len(order)), batch_size, share[1])
        positions = [batch[share[0] :: share[1]] for batch in whole]
        loader = DataLoader(
            decoded,
            batch_sampler=[p.tolist() for p in positions],
            num_workers=self.workers,
            collate_fn=_stack,
        )
        for chosen, images in zip(positions, loader, strict=True):
            if isinstance(images, str):
                raise ValueError(images)
            ids = order[chosen]
            yield ids, images, self.labels[ids]

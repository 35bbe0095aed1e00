"""Packed images against the loaders of others: python -m benchmarks loaders [--workers N].

The peers are no dependencies; install them beside the project to compare (those that are missing
are left out): litdata, mosaicml-streaming. Both are given pictures decoded and resized once, as
ours are, and torchvision's crop and flip; litdata's usual form, JPEG, is there too.
"""

import argparse
import importlib.util
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.transforms.v2 import functional as F

from benchmarks.loading import BATCH, PIXELS, SIDE, _epoch, _folder, _torchvision
from benchmarks.timing import median_seconds, ratio
from trainables.datasets.crops import random_crops

# torch's own processes must not fork a process with threads.
_LOADER: dict[str, Any] = {"batch_size": BATCH, "multiprocessing_context": "spawn"}


def _view(image: Tensor) -> Tensor:
    """torchvision's crop and flip of a picture, uint8 [3, height, width]."""
    crop = random_crops(torch.tensor([image.shape[1:]]), torch.default_generator)[0].tolist()
    view = F.resized_crop(image, *crop, size=[PIXELS, PIXELS], antialias=True)
    return view.flip(2) if torch.rand(()) < 0.5 else view


def _small(path: Path) -> Image.Image:
    image = Image.open(path).convert("RGB")
    larger = SIDE / min(image.size)
    size = (round(image.width * larger), round(image.height * larger))
    return image.resize(size, Image.Resampling.BILINEAR)


def _raw(path: Path) -> Tensor:
    return torch.from_numpy(np.array(_small(path))).permute(2, 0, 1).contiguous()


def _litdata(paths: list[Path], out: Path, read: Callable[[Path], Any]) -> Any:
    import litdata

    litdata.optimize(
        read,
        paths,
        str(out),
        chunk_bytes="64MB",
        num_workers=1,
        start_method="spawn",
        verbose=False,
    )

    class Images(litdata.StreamingDataset):
        def __getitem__(self, index: int) -> Tensor:
            item = super().__getitem__(index)
            return _view(item if isinstance(item, Tensor) else F.pil_to_tensor(item))

    return Images(str(out), shuffle=True)


def _mosaic(paths: list[Path], out: Path) -> Any:
    import streaming

    with streaming.MDSWriter(out=str(out), columns={"image": "ndarray:uint8"}) as writer:
        for path in paths:
            writer.write({"image": np.array(_small(path))})

    class Images(streaming.StreamingDataset):
        def __getitem__(self, index: int) -> Tensor:
            return _view(torch.from_numpy(super().__getitem__(index)["image"]).permute(2, 0, 1))

    return Images(local=str(out), shuffle=True, batch_size=BATCH)


def _read_all(make: Callable[[], Iterator[Any]]) -> Callable[[], None]:
    def epoch() -> None:
        for _ in make():
            pass

    return epoch


def _peers(folder: Path, workers: int, root: Path) -> dict[str, Callable[[], None]]:
    paths = sorted(folder.glob("*/*.*"))
    loader = dict(_LOADER, num_workers=workers)
    if workers == 0:
        del loader["multiprocessing_context"]
    peers = {"torchvision, files": _torchvision(folder, workers, train=True)}
    if importlib.util.find_spec("litdata"):
        import litdata

        for name, read in (("decoded", _raw), ("JPEG", _small)):
            images = _litdata(paths, root / f"litdata-{name}", read)
            make = partial(litdata.StreamingDataLoader, images, **loader)
            peers[f"litdata {litdata.__version__}, {name}"] = _read_all(make)
    if importlib.util.find_spec("streaming"):
        import streaming

        images = _mosaic(paths, root / "mosaic")
        name = f"mosaicml-streaming {streaming.__version__}, decoded"
        peers[name] = _read_all(partial(DataLoader, images, **loader))
    return peers


def main(arguments: list[str]) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="benchmarks loaders", description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=0)
    workers = parser.parse_args(arguments).workers
    table = Table(title=f"training batches of {PIXELS} px on the host, {workers} workers")
    for heading in ("packed images /", "ratio", "images/s: ours", "theirs"):
        table.add_column(heading)
    with _folder(workers) as (folder, packed), tempfile.TemporaryDirectory() as root:
        ours = _epoch(packed, train=True)
        for name, theirs in _peers(folder, workers, Path(root)).items():
            found = ratio(ours, theirs, rounds=3)
            speed = len(packed) / median_seconds(ours, rounds=3)
            table.add_row(name, f"{found:.3f}", f"{speed:,.0f}", f"{found * speed:,.0f}")
    Console(width=110).print(table)

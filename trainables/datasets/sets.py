"""Map-style data sets of torchvision, or of a user's own function: opened, and what they hold."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from threading import Lock
from typing import Any

import numpy as np
import torch
from PIL import Image

from trainables.config import DataConfig
from trainables.data_names import is_own_data, is_torchvision
from trainables.datasets.decoding import require_shape, to_rgb
from trainables.datasets.layouts import POOL
from trainables.datasets.names import shown
from trainables.datasets.regular import LASTING, UnreadableError
from trainables.datasets.torchvision_sets import open_torchvision
from trainables.own_code import find_code
from trainables.own_import import own_function
from trainables.own_settings import called


@dataclass
class Sets:
    """The data sets of a config, opened when they are asked for."""

    config: DataConfig
    lock: Any = field(default_factory=Lock)  # few data sets may be read by several threads at once

    @cached_property
    def opened(self) -> dict[str, Any]:
        """ "train" and "val", or `POOL` alone. Raises ValueError where they cannot be had."""
        if is_torchvision(self.config.name):
            return open_torchvision(self.config)
        return _of_function(self.config)

    def read(self, name: str) -> Image.Image:
        """The picture of that name, "train/17", as 8-bit RGB.

        Raises UnreadableError for what is none, and where the data set raises; OSError for what may
        pass.
        """
        split, _, n = name.partition("/")
        with self.lock:
            dataset = self.opened[split]
        try:
            with self.lock:
                picture = dataset[int(n)][0]
        except MemoryError:
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno not in (None, *LASTING):
                raise
            said = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
            raise UnreadableError(shown(said)) from error
        return _rgb(picture)


@dataclass(frozen=True, eq=False)
class Items:
    """Pictures of data sets; see `files.Pictures`."""

    sets: Sets
    names: Sequence[str]
    marks: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    def read(self, i: int) -> Image.Image:
        try:
            return self.sets.read(self.names[i])
        except UnreadableError as error:
            raise UnreadableError(error.why, self.where(i)) from error

    def where(self, i: int) -> str:
        return f"{self.sets.config.name}/{self.names[i]}"


def _rgb(picture: Any) -> Image.Image:
    if isinstance(picture, torch.Tensor) and picture.dtype == torch.uint8 and picture.ndim == 3:
        picture = picture.permute(1, 2, 0).numpy()
    if isinstance(picture, np.ndarray) and picture.dtype == np.uint8:
        if picture.ndim == 3 and picture.shape[2] == 1:
            picture = picture[:, :, 0]
        if picture.ndim == 2 or (picture.ndim == 3 and picture.shape[2] == 3):
            picture = Image.fromarray(np.ascontiguousarray(picture))
    if not isinstance(picture, Image.Image):
        of = f" of {picture.dtype}" if hasattr(picture, "dtype") else ""
        shape = f" {list(picture.shape)}" if hasattr(picture, "shape") else ""
        raise UnreadableError(
            "a picture must be a PIL image or of uint8 [3, height, width], "
            f"it is a {type(picture).__name__}{of}{shape}"
        )
    require_shape(picture.size)
    return to_rgb(picture)


def coded(config: DataConfig) -> DataConfig:
    """The config with the digest of a user's own function's code, where it has none yet."""
    if config.code or not is_own_data(config.name):
        return config
    return replace(config, code=find_code(config.name, "data.name").digest)


def _of_function(config: DataConfig) -> dict[str, Any]:
    """What a user's own function gives for "train" and "val"; None for val: none of its own."""
    function = own_function(config.name, config.code, "data.name")
    called = config.name.partition(":")[2]
    found: dict[str, Any] = {}
    for split in ("train", "val"):
        given = tried(config, f"{called}({split!r})", partial(function, split))
        if given is None and split == "val":
            return {POOL: found["train"]}
        if not hasattr(given, "__getitem__") or not hasattr(given, "__len__"):
            raise ValueError(
                f"data.name={config.name!r} must give a map-style Dataset, with [i] and len(), "
                f"{called}({split!r}) gives a {type(given).__name__}"
            )
        found[split] = given
    return found


def tried(config: DataConfig, what: str, call: Callable[[], Any]) -> Any:
    return called("data.name", config.name, f"give pictures and labels, {what}", call, shown)

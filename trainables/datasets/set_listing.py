"""What map-style data sets hold: labels of all, and what some of the pictures look like."""

import hashlib
import operator
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from trainables.config import DataConfig
from trainables.data_names import TORCHVISION, TORCHVISION_SETS, is_torchvision
from trainables.datasets.layouts import POOL
from trainables.datasets.listing import Listing, Split
from trainables.datasets.many_names import Names
from trainables.datasets.names import some
from trainables.datasets.regular import UnreadableError
from trainables.datasets.sets import Sets, tried
from trainables.fields import digest_of

_SAMPLED = 64  # pictures per split that a set is known by
# Where data sets keep their labels, so that no picture is decoded for them.
_LABELS = ("targets", "labels", "_labels", "y", "_samples")
_CLASSES = ("wnids", "classes", "categories")


def list_sets(config: DataConfig) -> Listing:
    """What the data sets of a config hold: labels of all, and what some of the pictures look like.

    Raises ValueError for what is no data set, or not as it must be.
    """
    sets = Sets(config)
    labels = {split: _labels(config, split, each) for split, each in sets.opened.items()}
    classes = _classes(config, next(iter(sets.opened.values())), labels)
    for split, its in labels.items():
        if len(its) and not 0 <= its.min() <= its.max() < len(classes):
            raise ValueError(
                f"the labels of {config.name} must lie in 0 … {len(classes) - 1}, one per name in "
                f"classes, in {split} they lie in {its.min()} … {its.max()}"
            )
        _require_every_class(config.name, classes, split, its)
    seen_pixels = {split: _sample(sets, split, len(its)) for split, its in labels.items()}
    known_by = [config.name, config.code, classes, {s: i.tolist() for s, i in labels.items()}]
    digest = digest_of([*known_by, seen_pixels])
    splits = {split: _split(split, its, digest) for split, its in labels.items()}
    called = ("train", "val")
    if is_torchvision(config.name) and POOL not in splits:
        of_train, of_val = TORCHVISION_SETS[config.name.removeprefix(TORCHVISION)]
        called = (_said(of_train), _said(of_val or {}))
    return Listing(classes, splits, {}, {}, called)


def _require_every_class(name: str, classes: Sequence[str], split: str, labels: np.ndarray) -> None:
    if len(classes) < 2:
        raise ValueError(f"{name} must have at least two classes, it has {len(classes)}")
    least = 2 if split == POOL else 1  # one to train, one to validate
    counts = np.bincount(labels, minlength=len(classes))
    if few := [classes[i] for i in np.flatnonzero(counts < least).tolist()]:
        many = "at least 2 images where a split is drawn" if split == POOL else f"images in {split}"
        raise ValueError(f"every class of {name} must have {many}, {some(few)} have not")


def _said(arguments: Mapping[str, object]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in arguments.items())


def _split(split: str, labels: np.ndarray, digest: str) -> Split:
    """In order of class, as of a folder."""
    order = np.argsort(labels, kind="stable")
    names = Names.of(f"{split}/{i}" for i in order)
    seen = (hashlib.blake2b(f"{digest} {name}".encode(), digest_size=8) for name in names)
    marks = [int.from_bytes(each.digest(), "big") >> 1 for each in seen]
    return Split(names, labels[order], np.array(marks, np.int64))


def _sample(sets: Sets, split: str, n: int) -> list[str]:
    """A hash each of pictures at even distances, or why it is none."""
    found, faults = [], 0
    for i in np.unique(np.linspace(0, n - 1, min(n, _SAMPLED)).round().astype(int)):
        try:
            picture = sets.read(f"{split}/{i}")
            pixels = f"{picture.size}".encode() + picture.tobytes()
            found.append(hashlib.blake2b(pixels, digest_size=16).hexdigest())
        except UnreadableError as error:
            found.append(error.why)
            faults += 1
    if found and faults == len(found):
        raise ValueError(f"{sets.config.name} must give pictures, {split}[0] is none: {found[0]}")
    return found


def _labels(config: DataConfig, split: str, dataset: Any) -> np.ndarray:
    """int64 [picture]"""
    n = len(dataset)
    if n == 0:
        raise ValueError(f"{config.name} must hold images, {split} has none")
    for name in _LABELS:
        known = getattr(dataset, name, None)
        if known is None or len(known) != n:
            continue
        if name == "_samples":
            known = [sample[1] for sample in known]
        labels = np.asarray(known)
        if labels.ndim == 1 and labels.dtype.kind in "iu":
            return labels.astype(np.int64)
    # Else each is asked for, with its picture.
    asked = np.empty(n, np.int64)
    for i in range(n):
        item = tried(config, f"{split}[{i}]", partial(dataset.__getitem__, i))
        try:
            _, label = item
            asked[i] = operator.index(label.item() if hasattr(label, "item") else label)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{config.name} must give a picture and the number of its class, {split}[{i}] is "
                f"{_kind(item)}"
            ) from error
    return asked


def _kind(item: Any) -> str:
    if isinstance(item, (tuple, list)):
        return f"({', '.join(type(part).__name__ for part in item)})"
    return f"a {type(item).__name__}"


def _classes(config: DataConfig, dataset: Any, labels: Mapping[str, np.ndarray]) -> tuple[str, ...]:
    """As the data set names them; one of torchvision that names none has numbers."""
    for name in _CLASSES:
        named = getattr(dataset, name, None) or getattr(
            getattr(dataset, "dataset", None), name, None
        )
        if isinstance(named, (list, tuple)) and named:
            return tuple(str(c[0] if isinstance(c, tuple) else c) for c in named)
    if not is_torchvision(config.name):
        raise ValueError(
            f"the data set of {config.name} must have classes, the names of its classes by number, "
            f"{type(dataset).__name__} has none"
        )
    return tuple(str(i) for i in range(max(int(its.max()) for its in labels.values()) + 1))

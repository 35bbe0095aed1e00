"""A split of what has none: of each class a share, drawn by a seed."""

from dataclasses import replace

import numpy as np
import torch

from trainables.config import DataConfig
from trainables.datasets.layouts import POOL
from trainables.datasets.listing import Listing
from trainables.datasets.names import shown, some
from trainables.fields import digest_of


def with_split(listing: Listing, data: DataConfig) -> Listing:
    """The listing itself where it has train and val; else one with a split drawn.

    Of each class `data.val_share` of the images that can be read are drawn to validate, rounded, at
    least one; and one at least is left to train. It depends on data.seed, on the class's name and
    on how many images it has. Raises ValueError for a share that is given where nothing is drawn,
    and for a class of which a split has no image that can be read.
    """
    split = _drawn(listing, data)
    for name, counts in split.counts_per_class.items():
        if none := [split.classes[i] for i, n in enumerate(counts) if n == 0]:
            raise ValueError(
                f"every class must have an image in {name} that can be read, {some(none)} of "
                f"{shown(data.path or data.name)} have none"
            )
    return split


def _drawn(listing: Listing, data: DataConfig) -> Listing:
    if POOL not in listing.splits:
        if data.val_share != DataConfig.val_share:
            raise ValueError(
                f"data.val_share must be left alone (at {DataConfig.val_share}) where the images "
                f"have a split of their own, got {data.val_share}"
            )
        return listing
    pool = listing.splits[POOL]
    is_val = np.zeros(len(pool), bool)
    ends = np.searchsorted(pool.labels, np.arange(len(listing.classes)), "right")
    for name, places in zip(
        listing.classes, np.split(np.arange(len(pool)), ends[:-1]), strict=True
    ):
        stream = int(digest_of(["split", data.seed, name])[:12], 16)
        order = torch.randperm(len(places), generator=torch.Generator().manual_seed(stream))
        drawn = places[order.numpy()]
        sound = drawn[pool.marks[drawn] >= 0]
        n = min(max(round(data.val_share * len(sound)), 1), max(len(sound) - 1, 0))
        is_val[sound[:n]] = True
    splits = {
        name: pool.at(np.flatnonzero(which))
        for name, which in (("train", ~is_val), ("val", is_val))
    }
    share = f"{data.val_share:.0%} of each class, drawn by data.seed={data.seed}"
    called = ("train", f"val, {share} (data.val_share={data.val_share})")
    return replace(listing, splits=splits, called=called)


def drawn_digest(listing: Listing, digest: str, data: DataConfig) -> str:
    """What its images are known by: the digest of all, and what the split was drawn by."""
    if POOL not in listing.splits:
        return digest
    return digest_of([digest, "drawn", data.seed, data.val_share])[:16]

"""What a concept looks like: pictures that show it, and nothing else of them in full light."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from mis import ConceptSpec
from sweeps.report.atlas.thumbnails import resized
from trainables.datasets.concept_maps import ConceptSource

N_EXAMPLES = 6  # pictures of a concept
_BATCH = 64
_LOOKED_AT = 2_000  # images with concept maps, of which examples are taken
_DIMMED = 0.28  # of the light of what is not of the concept


@dataclass(frozen=True)
class _Example:
    share: float  # of the picture that shows the concept
    picture: np.ndarray  # uint8 [side, side, 3]


def examples_of(
    source: ConceptSource, wanted: Sequence[tuple[str, str]], side: int
) -> tuple[list[list[int]], list[np.ndarray]]:
    """Of each concept (category, name) the numbers of its pictures, those that show most of it
    first, and the pictures, uint8 [side, side, 3].

    Of a concept of whole images (a scene) all of the picture is lit.
    """
    numbers = _numbers(source.spec, wanted)
    found: list[list[_Example]] = [[] for _ in wanted]
    seen = 0
    for _, images, pixel_labels, image_labels in source.batches(_BATCH):
        small = resized(images, side)
        for place, number in enumerate(numbers):
            if number >= 0:
                lit = _lit(pixel_labels, image_labels, number)
                found[place] = _best(found[place], small, lit, side)
        seen += len(images)
        if seen >= _LOOKED_AT:
            break
    pictures: list[np.ndarray] = []
    places = []
    for of_concept in found:
        places.append(list(range(len(pictures), len(pictures) + len(of_concept))))
        pictures += [example.picture for example in of_concept]
    return places, pictures


def _numbers(spec: ConceptSpec, wanted: Sequence[tuple[str, str]]) -> list[int]:
    at = {both: n for n, both in enumerate(zip(spec.category, spec.names, strict=True))}
    return [at.get(both, -1) for both in wanted]


def _lit(pixel_labels: Tensor, image_labels: Tensor, number: int) -> Tensor:
    """bool [image, h, w]: where the concept is."""
    where = (pixel_labels == number + 1).any(1)
    return where | image_labels[:, number, None, None]


def _best(known: list[_Example], small: np.ndarray, lit: Tensor, side: int) -> list[_Example]:
    """The examples with the largest share, of those known and a batch."""
    shares = lit.double().mean((1, 2))
    least = known[-1].share if len(known) == N_EXAMPLES else 0.0
    chosen = [i for i in shares.argsort(descending=True)[:N_EXAMPLES].tolist() if shares[i] > least]
    if not chosen:
        return known
    size = (side, side)
    masks = F.interpolate(lit[chosen].float().unsqueeze(1), size, mode="bilinear", antialias=True)
    new = [
        _Example(float(shares[i]), _dimmed(small[i], mask))
        for i, mask in zip(chosen, masks.permute(0, 2, 3, 1).numpy(), strict=True)
    ]
    # Stable: of equals the first that came stays.
    return sorted([*known, *new], key=lambda example: -example.share)[:N_EXAMPLES]


def _dimmed(picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    grey = picture.mean(axis=2, keepdims=True) * _DIMMED
    return (picture * mask + grey * (1 - mask)).round().clip(0, 255).astype(np.uint8)

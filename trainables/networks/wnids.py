"""ImageNet's thousand classes by WordNet id, in the order of every ImageNet network's logits."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

_LIST = Path(__file__).with_name("imagenet_wnids.txt")


@cache
def imagenet_wnids() -> tuple[str, ...]:
    """The ids of ILSVRC 2012-2017 (Russakovsky et al. 2015, arXiv 1409.0575), sorted: the place of
    one is the number of its class in the weights of torchvision and timm."""
    lines = _LIST.read_text(encoding="ascii").splitlines()
    return tuple(line for line in lines if not line.startswith("#"))


def places_in_imagenet(classes: Sequence[str]) -> tuple[int, ...] | None:
    """Which of the thousand each class is; None unless all are WordNet ids among them."""
    places = {wnid: place for place, wnid in enumerate(imagenet_wnids())}
    if not classes or any(name not in places for name in classes):
        return None
    return tuple(places[name] for name in classes)

"""Generated images of composed concepts, with pixel-exact maps of what is where."""

from trainables.datasets.concepts.classes import (
    CLASSES,
    COLOURS,
    CONCEPTS,
    PREFERRED,
    SHAPES,
    TEXTURES,
    class_names,
)
from trainables.datasets.concepts.draw import ConceptImages, draw, require_pixels_drawn
from trainables.datasets.concepts.plan import SPLITS, first_labels
from trainables.datasets.concepts.scenes import SCENES
from trainables.datasets.concepts.store import VERSION, load

__all__ = [
    "CLASSES",
    "COLOURS",
    "CONCEPTS",
    "PREFERRED",
    "SCENES",
    "SHAPES",
    "SPLITS",
    "TEXTURES",
    "VERSION",
    "ConceptImages",
    "class_names",
    "draw",
    "first_labels",
    "load",
    "require_pixels_drawn",
]

"""What there is to see, and which pairs of it make a class."""

from trainables.datasets.concepts.scenes import SCENES
from trainables.datasets.concepts.shapes import OUTLINES
from trainables.datasets.concepts.textures import PATTERNS

SHAPES = tuple(OUTLINES)
TEXTURES = tuple(PATTERNS)

PALETTE = {
    "red": (208, 40, 42),
    "orange": (240, 132, 30),
    "yellow": (246, 216, 52),
    "green": (52, 164, 62),
    "teal": (38, 178, 172),
    "blue": (46, 92, 210),
    "purple": (128, 60, 178),
    "pink": (242, 130, 182),
    "brown": (126, 78, 44),
    "grey": (152, 152, 156),
}
"""Colour name -> RGB, 0 to 255."""

COLOURS = tuple(PALETTE)

CONCEPTS: dict[str, tuple[str, ...]] = {
    "shape": SHAPES,
    "texture": TEXTURES,
    "colour": COLOURS,
    "scene": SCENES,
}
"""Category -> its concepts. A map holds position + 1, and 0 where there is no object."""

# Shape, texture, and the colour and scene that the class comes with more often than not. Every
# shape is in two classes, every texture, colour and scene in two or three: none tells the class.
_TABLE = (
    ("disc", "rings", "red", "snow"),
    ("disc", "dots", "yellow", "night"),
    ("square", "plain", "blue", "sand"),
    ("square", "checks", "brown", "grass"),
    ("triangle", "stripes", "orange", "sky"),
    ("triangle", "camouflage", "green", "water"),
    ("star", "bricks", "grey", "soil"),
    ("star", "plain", "yellow", "water"),
    ("cross", "camouflage", "teal", "forest"),
    ("cross", "chevrons", "red", "grass"),
    ("ring", "stripes", "purple", "water"),
    ("ring", "checks", "teal", "sky"),
    ("hexagon", "dots", "pink", "forest"),
    ("hexagon", "bricks", "brown", "sand"),
    ("crescent", "chevrons", "blue", "snow"),
    ("crescent", "plain", "grey", "night"),
    ("heart", "dots", "purple", "sky"),
    ("heart", "rings", "pink", "grass"),
    ("bar", "stripes", "green", "soil"),
    ("bar", "bricks", "orange", "forest"),
)

CLASSES: tuple[tuple[str, str], ...] = tuple((shape, texture) for shape, texture, _, _ in _TABLE)
"""(shape, texture) of every class, by label."""

PREFERRED: tuple[tuple[str, str], ...] = tuple((colour, scene) for _, _, colour, scene in _TABLE)
"""(colour, scene) that a class prefers, by label."""

PREFERRED_COLOUR_SHARE = 0.5  # of a class's images; in the others the colour is any of the ten
PREFERRED_SCENE_SHARE = 0.4


def class_names() -> tuple[str, ...]:
    """One name per class, by label: "disc-rings", …"""
    return tuple(f"{shape}-{texture}" for shape, texture in CLASSES)

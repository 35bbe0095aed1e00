"""One object, painted alone: its picture, cover, shadow and exact inside."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from trainables.datasets.concepts.classes import SHAPES, TEXTURES
from trainables.datasets.concepts.plan import Objects
from trainables.datasets.concepts.shapes import OUTLINES
from trainables.datasets.concepts.textures import PATTERNS

_SHADOW_SOFTNESS = 3.5  # 64ths of the side over which a shadow fades
_SHADOW_STRENGTH = 0.5


@dataclass(frozen=True)
class Sprite:
    """A square around one object. The arrays are views into those of its group."""

    top: int  # of the square in its image; may lie outside
    left: int
    picture: np.ndarray  # float32 [3, side, side], 0 to 255 and beyond
    cover: np.ndarray  # float32 [side, side] in [0, 1], share of the pixel that is the object's
    shadow: np.ndarray  # float32 [side, side] in [0, 1], share of the light that it takes
    inside: np.ndarray  # bool [side, side], pixel centre within the outline


def paint_objects(objects: Objects, light: np.ndarray, unit: float) -> list[Sprite]:
    """A sprite of each object, in their order.

    light: float32 [object], where the light comes from. unit: a 64th of the image's side in
    pixels. Objects of one shape and texture are painted together.
    """
    sprites: dict[int, Sprite] = {}
    kind = objects.shape * len(TEXTURES) + objects.texture
    for value in np.unique(kind):
        # Large and small apart: a group's squares are as large as its largest needs.
        for large in (False, True):
            rows = np.nonzero((kind == value) & ((objects.radius > 8 * unit) == large))[0]
            if len(rows):
                sprites.update(
                    zip(rows, _group(objects.take(rows), light[rows], unit), strict=True)
                )
    return [sprites[row] for row in range(len(kind))]


def _group(objects: Objects, light: np.ndarray, unit: float) -> Iterator[Sprite]:
    outline = OUTLINES[SHAPES[objects.shape[0]]]
    pattern = PATTERNS[TEXTURES[objects.texture[0]]]
    top, left, right, down = _offsets(objects, unit)
    cos, sin = np.cos(objects.angle)[:, None, None], np.sin(objects.angle)[:, None, None]
    x, y = right * cos + down * sin, down * cos - right * sin
    radius, period = objects.radius[:, None, None], objects.period[:, None, None]
    distance = outline(x / radius, y / radius) * radius
    share = pattern(x / period, y / period, objects.phase)
    shade = _shade(distance, right, down, radius, light, unit)
    first, second = objects.tones[:, 0, :, None, None], objects.tones[:, 1, :, None, None]
    picture = (first + (second - first) * share[:, None]) * shade[:, None]
    cover = np.clip(0.5 - distance, 0, 1)
    shadow = np.clip(0.5 - distance / (_SHADOW_SOFTNESS * unit), 0, 1) * _SHADOW_STRENGTH
    inside = distance < 0
    return map(Sprite, top.tolist(), left.tolist(), picture, cover, shadow, inside)


def _offsets(objects: Objects, unit: float) -> tuple[np.ndarray, ...]:
    """Tops and lefts of the squares, and their pixel centres right and down of the object's."""
    # 1.12 radii hold every outline (corners of the square), the rest the softest of the shadow.
    half = int(np.ceil(1.12 * objects.radius.max() + _SHADOW_SOFTNESS * unit / 2))
    steps = np.arange(2 * half + 1, dtype=np.float32)
    top, left = (np.floor(centre).astype(int) - half for centre in (objects.y, objects.x))
    right = (left + np.float32(0.5) - objects.x).astype(np.float32)[:, None] + steps
    down = (top + np.float32(0.5) - objects.y).astype(np.float32)[:, None] + steps
    return top, left, right[:, None, :], down[:, :, None]


def _shade(
    distance: np.ndarray,
    right: np.ndarray,
    down: np.ndarray,
    radius: np.ndarray,
    light: np.ndarray,
    unit: float,
) -> np.ndarray:
    """Brightness of the surface: brighter towards the light, a bevel, a thin dark rim."""
    to_right, to_down = np.cos(light)[:, None, None], np.sin(light)[:, None, None]
    steepness_down, steepness_right = np.gradient(distance, axis=(1, 2))
    facing = steepness_right * to_right + steepness_down * to_down
    bevel = np.clip(1 + distance / (0.2 * radius), 0, 1)
    rim = np.clip(1 + distance / (1.5 * unit), 0, 1)
    overall = (right * (to_right / radius)) + (down * (to_down / radius))
    return 1 + 0.14 * overall + 0.3 * bevel * facing - 0.25 * rim

"""Outlines of the objects, as signed distance functions.

Each takes coordinates in units of the object's radius (x right, y down, centre 0) and gives the
distance to the outline in the same unit, negative inside. The sign and the zero are exact; away
from the outline the value may be a bound, which is all that antialiasing and shading need.
"""

from collections.abc import Callable

import numpy as np

Floats = np.ndarray  # float32, any shape; both arguments and the result have the same
Outline = Callable[[Floats, Floats], Floats]


def _box(x: Floats, y: Floats, half_width: float, half_height: float) -> Floats:
    return np.maximum(np.abs(x) - half_width, np.abs(y) - half_height)


def _disc(x: Floats, y: Floats) -> Floats:
    return np.hypot(x, y) - 0.94


def _square(x: Floats, y: Floats) -> Floats:
    return _box(x, y, 0.78, 0.78)


def _triangle(x: Floats, y: Floats) -> Floats:
    """Equilateral, a corner up; lowered by 0.2 so that its extent is centred."""
    y = y - 0.2
    return np.maximum(y, 0.8660254 * np.abs(x) - 0.5 * y) - 0.58


def _star(x: Floats, y: Floats) -> Floats:
    """Five points, one up: folded into half a point, whose edge is one straight line."""
    tip, notch, half = 1.05, 0.5, np.pi / 5
    turn = np.arctan2(x, -y)
    turn = np.abs(turn - (2 * half) * np.round(turn / (2 * half)))
    reach = np.hypot(x, y)
    # The edge runs from (tip, 0) to the notch at angle `half`.
    along, across = notch * np.cos(half) - tip, notch * np.sin(half)
    length = np.hypot(along, across)
    off_tip = reach * np.cos(turn) - tip
    return (off_tip * float(across / length)) - (reach * np.sin(turn)) * float(along / length)


def _cross(x: Floats, y: Floats) -> Floats:
    return np.minimum(_box(x, y, 0.96, 0.34), _box(x, y, 0.34, 0.96))


def _ring(x: Floats, y: Floats) -> Floats:
    return np.abs(np.hypot(x, y) - 0.66) - 0.3


def _hexagon(x: Floats, y: Floats) -> Floats:
    x, y = np.abs(x), np.abs(y)
    return np.maximum(y, 0.8660254 * x + 0.5 * y) - 0.84


def _crescent(x: Floats, y: Floats) -> Floats:
    return np.maximum(np.hypot(x, y) - 0.98, 0.66 - np.hypot(x - 0.5, y))


def _heart(x: Floats, y: Floats) -> Floats:
    """A square standing on its corner, and a disc on each of its two upper sides."""
    half = 0.58
    x, y = np.abs(x), y - 0.08
    diagonal = 0.70710678 * half
    square = 0.70710678 * (x + np.abs(y)) - half
    return np.minimum(square, np.hypot(x - diagonal, y + diagonal) - half)


def _bar(x: Floats, y: Floats) -> Floats:
    return _box(x, y, 1.0, 0.4)


OUTLINES: dict[str, Outline] = {
    "disc": _disc,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "cross": _cross,
    "ring": _ring,
    "hexagon": _hexagon,
    "crescent": _crescent,
    "heart": _heart,
    "bar": _bar,
}
"""Shape name -> its signed distance function. The order is that of the concept indices."""

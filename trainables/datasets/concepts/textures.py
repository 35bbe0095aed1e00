"""Patterns of two tones that cover the objects.

Each takes coordinates in periods of the pattern (in the object's own frame, centre 0) and random
`phase` [object, 6] in [0, 1), and gives the share of the second tone in [0, 1]. A pattern is a
smooth function whose sign says the tone; its steep, clipped slope makes edges a pixel soft.
"""

from collections.abc import Callable

import numpy as np

Floats = np.ndarray  # float32 [object, height, width]
Pattern = Callable[[Floats, Floats, np.ndarray], Floats]

_TURN = 2 * np.pi


def _two_tones(wave: Floats, steepness: float) -> Floats:
    return np.clip(wave * steepness + 0.5, 0, 1)


def _shift(phase: np.ndarray, i: int) -> Floats:
    return phase[:, i, None, None]


def _zigzag(x: Floats) -> Floats:
    """A triangle wave of period 1 between 0 and 1."""
    return 2 * np.abs(x - np.round(x))


def _plain(x: Floats, y: Floats, phase: np.ndarray) -> Floats:
    return np.zeros_like(x)


def _dots(x: Floats, y: Floats, phase: np.ndarray) -> Floats:
    """Round dots, every second row moved by half a gap."""
    height = 0.8660254
    y = y / height + _shift(phase, 0)
    row = np.round(y)
    x = x + _shift(phase, 1) + 0.5 * row
    return _two_tones(0.3 - np.hypot(x - np.round(x), height * (y - row)), 7)


def _stripes(x: Floats, y: Floats, phase: np.ndarray) -> Floats:
    return _two_tones(np.sin(_TURN * (x + _shift(phase, 0))), 1.5)


def _chevrons(x: Floats, y: Floats, phase: np.ndarray) -> Floats:
    bent = y + _zigzag(0.62 * x + _shift(phase, 1))
    return _two_tones(np.sin(_TURN * (bent + _shift(phase, 0))), 1.3)


def _checks(x: Floats, y: Floats, phase: np.ndarray) -> Floats:
    wave = np.sin(4.2 * x + _TURN * _shift(phase, 0))
    wave *= np.sin(4.2 * y + _TURN * _shift(phase, 1))
    return _two_tones(wave, 2.2)


def _camouflage(x: Floats, y: Floats, phase: np.ndarray) -> Floats:
    """Blobs: the sign of a sum of plane waves of unlike directions and lengths."""
    sum_of_waves = np.zeros_like(x)
    for i in range(phase.shape[1]):
        direction, frequency = 0.3 + i * np.pi / phase.shape[1], 0.45 + 0.08 * (i * 2 % 5)
        across, down = frequency * np.cos(direction), frequency * np.sin(direction)
        wave = float(_TURN * across) * x + float(_TURN * down) * y
        sum_of_waves += np.cos(wave + _TURN * _shift(phase, i))
    return _two_tones(sum_of_waves, 1.1)


def _bricks(x: Floats, y: Floats, phase: np.ndarray) -> Floats:
    """Courses of bricks, every second one moved by half a brick; the mortar is the second tone."""
    course, brick, mortar = 0.75, 1.5, 0.11
    y = y / course + _shift(phase, 0)
    row = np.floor(y)
    x = x / brick + _shift(phase, 1) + 0.5 * row
    to_joint = np.minimum(
        course * (0.5 - np.abs(y - row - 0.5)), brick * (0.5 - np.abs(x - np.floor(x) - 0.5))
    )
    return _two_tones(mortar - to_joint, 7)


def _rings(x: Floats, y: Floats, phase: np.ndarray) -> Floats:
    return _two_tones(np.sin(_TURN * (np.hypot(x, y) + _shift(phase, 0))), 1.5)


PATTERNS: dict[str, Pattern] = {
    "plain": _plain,
    "dots": _dots,
    "stripes": _stripes,
    "chevrons": _chevrons,
    "checks": _checks,
    "camouflage": _camouflage,
    "bricks": _bricks,
    "rings": _rings,
}
"""Texture name -> its pattern. The order is that of the concept indices."""

"""Natural-looking backgrounds: value noise of several scales, coloured by a palette."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.random import Generator

RGB = tuple[int, int, int]


@dataclass(frozen=True)
class _Scene:
    """How one kind of scene looks. Lengths are in 64ths of the picture's side."""

    palette: tuple[RGB, ...]  # colours of the field, evenly spaced, from low to high
    noise: tuple[tuple[float, float, float], ...]  # (period down, period across, deviation)
    slope: float = 0.0  # what the field gains from top to bottom
    ripples: tuple[float, float, float] = (1.0, 0.0, 0.0)  # (period down, bend, amplitude)
    specks: int = 0  # bright or dark points in a picture
    speck: RGB = (0, 0, 0)


# The field of a scene lies around 0.5 and is cut to [0, 1]; deviations are in its unit.
_SCENES = {
    "sky": _Scene(
        palette=((52, 112, 196), (98, 156, 220), (158, 198, 236), (226, 236, 246), (252, 252, 252)),
        noise=((15, 30, 0.17), (6, 11, 0.08), (3, 5, 0.03)),
        slope=0.35,
    ),
    "night": _Scene(
        palette=((6, 6, 22), (14, 14, 44), (30, 24, 70), (66, 44, 104), (104, 78, 134)),
        noise=((22, 26, 0.15), (9, 10, 0.06), (3, 3, 0.02)),
        slope=0.2,
        specks=18,
        speck=(236, 236, 255),
    ),
    "water": _Scene(
        palette=((8, 54, 92), (20, 90, 136), (38, 124, 166), (84, 164, 194), (190, 226, 234)),
        noise=((18, 30, 0.08), (3.2, 15, 0.13), (1.8, 7, 0.06)),
        slope=-0.15,
    ),
    "grass": _Scene(
        palette=((24, 58, 12), (50, 98, 22), (84, 140, 34), (128, 178, 54), (182, 208, 96)),
        noise=((20, 20, 0.08), (7, 1.9, 0.14), (3.5, 1.3, 0.08)),
    ),
    "forest": _Scene(
        palette=((8, 18, 10), (20, 40, 20), (36, 64, 30), (66, 92, 44), (128, 146, 84)),
        noise=((34, 7, 0.13), (8, 6, 0.10), (2.6, 2.6, 0.09)),
        slope=-0.15,
    ),
    "sand": _Scene(
        palette=((148, 110, 66), (188, 150, 98), (214, 180, 126), (234, 208, 158), (246, 230, 190)),
        noise=((24, 30, 0.11), (1.6, 1.6, 0.05)),
        ripples=(7.5, 0.34, 0.14),
    ),
    "soil": _Scene(
        palette=((40, 26, 18), (72, 48, 34), (102, 72, 50), (134, 100, 74), (176, 146, 116)),
        noise=((14, 16, 0.08), (4.5, 4.5, 0.11), (1.9, 1.9, 0.10)),
        specks=14,
        speck=(186, 170, 148),
    ),
    "snow": _Scene(
        palette=(
            (150, 172, 208),
            (190, 206, 230),
            (220, 230, 242),
            (240, 244, 250),
            (254, 254, 254),
        ),
        noise=((20, 28, 0.16), (7, 9, 0.07), (2, 2, 0.03)),
        slope=-0.1,
        specks=10,
        speck=(255, 255, 255),
    ),
}

SCENES = tuple(_SCENES)


@lru_cache(maxsize=256)
def _spline(pixels: int, period: float) -> np.ndarray:
    """Cubic B-spline weights, float32 [pixel, knot], of knots `period` 64ths of the side apart."""
    at = (np.arange(pixels) + 0.5) * 64 / (pixels * period) + 1
    knots = np.arange(int(np.ceil(64 / period)) + 3)
    away = np.abs(at[:, None] - knots)
    near, far = 2 / 3 - away**2 + away**3 / 2, np.maximum(2 - away, 0) ** 3 / 6
    return np.where(away < 1, near, far).astype(np.float32)


def _noise(rng: Generator, n: int, pixels: int, down: float, across: float) -> np.ndarray:
    """Smooth noise of deviation about 1, float32 [n, pixels, pixels]."""
    rows, columns = _spline(pixels, down), _spline(pixels, across)
    knots = rng.random((n, rows.shape[1], columns.shape[1]), dtype=np.float32) - 0.5
    # Uniform knots deviate by 1 / sqrt(12); the spline leaves 151 / 315 of that on the average.
    return rows @ ((knots * (np.sqrt(12) * 315 / 151)).astype(np.float32) @ columns.T)


def _field(scene: _Scene, rng: Generator, n: int, pixels: int) -> np.ndarray:
    height = (np.arange(pixels, dtype=np.float32) + 0.5) / pixels
    field = np.empty((n, pixels, pixels), dtype=np.float32)
    field[:] = (0.5 + scene.slope * (height - 0.5))[:, None]
    for down, across, deviation in scene.noise:
        field += deviation * _noise(rng, n, pixels, down, across)
    period, bend, amplitude = scene.ripples
    if amplitude:
        crests = (height * (64 / period))[:, None] + bend * _noise(rng, n, pixels, 16, 24)
        field += amplitude * np.sin(2 * np.pi * crests)
    return field


def paint_scenes(name: str, rng: Generator, n: int, pixels: int) -> np.ndarray:
    """`n` pictures of the scene `name`: float32 [n, 3, pixels, pixels], about 0 to 255."""
    scene = _SCENES[name]
    levels = np.clip(_field(scene, rng, n, pixels) * 255, 0, 255).astype(np.intp)
    stops = np.linspace(0, 255, len(scene.palette))
    pictures = np.empty((n, 3, pixels, pixels), dtype=np.float32)
    for channel, values in enumerate(zip(*scene.palette, strict=True)):
        ramp = np.interp(np.arange(256), stops, values).astype(np.float32)
        np.take(ramp, levels, out=pictures[:, channel], mode="clip")
    if scene.specks:
        _sprinkle(pictures, scene, rng)
    return pictures


def _sprinkle(pictures: np.ndarray, scene: _Scene, rng: Generator) -> None:
    n, pixels = len(pictures), pictures.shape[-1]
    rows, columns = rng.integers(0, pixels, (2, n, scene.specks))
    share = rng.random((n, scene.specks, 1), dtype=np.float32) ** 2
    which = np.arange(n)[:, None]
    under = pictures[which, :, rows, columns]
    pictures[which, :, rows, columns] = under + share * (
        np.array(scene.speck, dtype=np.float32) - under
    )

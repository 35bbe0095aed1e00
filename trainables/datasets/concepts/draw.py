"""Composing images and their concept maps, a chunk at a time."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from trainables.datasets.concepts.plan import CHUNK, SPLITS, Plan, plan_chunk
from trainables.datasets.concepts.scenes import SCENES, paint_scenes
from trainables.datasets.concepts.sprites import Sprite, paint_objects

PIXELS = range(32, 257)  # legal sides of an image
_BLOCK = 16  # images that are lit together: few enough to stay in the processor's cache


@dataclass(frozen=True)
class ConceptImages:
    """Images with, for every pixel, which concepts it shows.

    Maps hold position in CONCEPTS + 1, and 0 where a pixel's centre lies in no object. Where
    objects overlap they tell of the one on top, as the image does.
    """

    images: np.ndarray  # uint8 [image, height, width, 3], RGB
    labels: np.ndarray  # int64 [image]
    shape: np.ndarray  # uint8 [image, height, width]
    texture: np.ndarray  # uint8 [image, height, width]
    colour: np.ndarray  # uint8 [image, height, width]
    scene: np.ndarray  # uint8 [image], 1 to 8


def draw(split: str, n_images: int, *, seed: int = 0, pixels: int = 64) -> ConceptImages:
    """The first `n_images` images of a split; the same at every call, whatever the number.

    split: "train", "val" or "probe", which share no randomness. pixels: side, 32 to 256.
    Every 20 images hold each class once.

    Raises ValueError for anything else.
    """
    chunks = list(draw_chunks(split, n_images, seed=seed, pixels=pixels))
    fields = {name: [vars(chunk)[name] for chunk in chunks] for name in vars(chunks[0])}
    return ConceptImages(**{name: np.concatenate(parts) for name, parts in fields.items()})


def draw_chunks(
    split: str, n_images: int, *, seed: int = 0, pixels: int = 64
) -> Iterator[ConceptImages]:
    """As `draw`, in pieces of CHUNK images (the last may be shorter), one at a time in memory."""
    check(split, n_images, seed, pixels)
    return _chunks(split, n_images, seed, pixels)


def check(split: str, n_images: int, seed: int, pixels: int) -> None:
    """Raise ValueError unless `draw` can be called like this."""
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    if n_images < 1:
        raise ValueError(f"n_images must be at least 1, got {n_images}")
    if not 0 <= seed < 2**64:
        raise ValueError(f"seed must be at least 0 and below 2**64, got {seed}")
    require_pixels_drawn(pixels)


def require_pixels_drawn(pixels: int) -> None:
    """Raise ValueError for a size in which no images are drawn."""
    if pixels not in PIXELS:
        raise ValueError(
            f"data.pixels of generated images must be a whole number from {PIXELS[0]} to "
            f"{PIXELS[-1]}, got {pixels}"
        )


def _chunks(split: str, n_images: int, seed: int, pixels: int) -> Iterator[ConceptImages]:
    for chunk in range(-(-n_images // CHUNK)):
        drawn = draw_chunk(split, chunk, seed=seed, pixels=pixels)
        wanted = min(CHUNK, n_images - chunk * CHUNK)
        yield ConceptImages(**{name: values[:wanted] for name, values in vars(drawn).items()})


def draw_chunk(split: str, chunk: int, *, seed: int, pixels: int) -> ConceptImages:
    """Images `chunk * CHUNK` to `(chunk + 1) * CHUNK` of a split, whole."""
    plan, rng = plan_chunk(split, chunk, seed=seed, pixels=pixels)
    canvas = _scenes(plan, rng, pixels)
    maps = np.zeros((3, CHUNK, pixels, pixels), dtype=np.uint8)
    objects, unit = plan.objects, pixels / 64
    concepts = np.stack([objects.shape, objects.texture, objects.colour]).astype(np.uint8) + 1
    light = plan.light[objects.image]
    # A shadow falls away from the light, farther for a larger object.
    reach = -(0.6 * unit + 0.13 * objects.radius)
    fall = np.rint(np.stack([reach * np.sin(light), reach * np.cos(light)], axis=1)).astype(int)
    sprites = paint_objects(objects, light, unit)
    for i, sprite in enumerate(sprites):
        image = objects.image[i]
        _paste(canvas[image], maps[:, image], sprite, fall[i].tolist(), concepts[:, i])
    images = _light(canvas, plan.light, rng)
    shape, texture, colour = maps
    scene = (plan.scene + 1).astype(np.uint8)
    return ConceptImages(images, plan.labels, shape, texture, colour, scene)


def _scenes(plan: Plan, rng: Generator, pixels: int) -> np.ndarray:
    canvas = np.empty((CHUNK, 3, pixels, pixels), dtype=np.float32)
    for scene, name in enumerate(SCENES):
        rows = np.nonzero(plan.scene == scene)[0]
        canvas[rows] = paint_scenes(name, rng, len(rows), pixels)
    return canvas


def _paste(
    canvas: np.ndarray, maps: np.ndarray, sprite: Sprite, fall: list[int], concepts: np.ndarray
) -> None:
    """Paint a shadow and then its object onto one image; fall: rows and columns between them."""
    side, pixels = len(sprite.cover), canvas.shape[-1]
    there, here = _overlap(sprite.top + fall[0], sprite.left + fall[1], side, pixels)
    canvas[:, *there] *= 1 - sprite.shadow[here]
    there, here = _overlap(sprite.top, sprite.left, side, pixels)
    under = canvas[:, *there]
    under += sprite.cover[here] * (sprite.picture[:, *here] - under)
    np.copyto(maps[:, *there], concepts[:, None, None], where=sprite.inside[here])


def _overlap(
    top: int, left: int, side: int, pixels: int
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Where a square lies in the image, and which part of the square that is."""
    ranges = [(max(start, 0), min(start + side, pixels), start) for start in (top, left)]
    there = tuple(slice(first, max(first, last)) for first, last, _ in ranges)
    here = tuple(slice(first - start, max(first, last) - start) for first, last, start in ranges)
    return (there[0], there[1]), (here[0], here[1])


def _light(canvas: np.ndarray, light: np.ndarray, rng: Generator) -> np.ndarray:
    """Light from one side, brightness, contrast and sensor noise; uint8 [n, pixels, pixels, 3]."""
    n, _, pixels, _ = canvas.shape
    ramp = (np.arange(pixels, dtype=np.float32) + 0.5) * (2 / pixels) - 1
    contrast = _between(rng, 0.85, 1.15, n)
    brightness = 128 * (1 - contrast) + _between(rng, -18, 18, n)
    slope = _between(rng, 0, 0.2, n) * contrast
    across = (slope * np.cos(light)[:, None, None]) * ramp
    down = (slope * np.sin(light)[:, None, None]) * ramp[:, None]
    gain = contrast + across + down
    grain = _between(rng, 0.03, 0.12, n)
    images = np.empty((n, pixels, pixels, 3), dtype=np.uint8)
    for first in range(0, n, _BLOCK):
        block = slice(first, first + _BLOCK)
        lit = canvas[block] * gain[block, None]
        noise = np.frombuffer(rng.bytes(lit.size), dtype=np.int8).reshape(lit.shape)
        lit += noise * grain[block, None] + brightness[block, None]
        np.clip(lit, 0, 255, out=lit)
        images[block] = lit.astype(np.uint8).transpose(0, 2, 3, 1)
    return images


def _between(rng: Generator, low: float, high: float, n: int) -> np.ndarray:
    """float32 [n, 1, 1]"""
    return rng.random((n, 1, 1), dtype=np.float32) * np.float32(high - low) + np.float32(low)

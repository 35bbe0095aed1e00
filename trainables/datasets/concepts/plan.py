"""What is in each image of a chunk: drawn from random streams that depend on nothing else."""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator, Philox

from trainables.datasets.concepts.classes import (
    CLASSES,
    COLOURS,
    PALETTE,
    PREFERRED,
    PREFERRED_COLOUR_SHARE,
    PREFERRED_SCENE_SHARE,
    SCENES,
    SHAPES,
    TEXTURES,
)

CHUNK = 256  # images drawn together; never changed by how many are asked for
SPLITS = ("train", "val", "probe")

_LABELS, _CONTENTS = 0, 1  # what a stream is for
_N_PHASES = 6

_CLASS_SHAPE = np.array([SHAPES.index(shape) for shape, _ in CLASSES])
_CLASS_TEXTURE = np.array([TEXTURES.index(texture) for _, texture in CLASSES])
_CLASS_COLOUR = np.array([COLOURS.index(colour) for colour, _ in PREFERRED])
_CLASS_SCENE = np.array([SCENES.index(scene) for _, scene in PREFERRED])
_COLOUR_RGB = np.array(list(PALETTE.values()), dtype=np.float32)


@dataclass(frozen=True)
class Objects:
    """Everything painted over the scenes of a chunk, in the order of painting within an image.

    Concepts are positions in SHAPES, TEXTURES and COLOURS; lengths are in pixels, x to the right
    and y down from the image's corner; angles in radians. float32 unless an index.
    """

    image: np.ndarray  # int64 [object], its image's place in the chunk
    shape: np.ndarray  # int64 [object]
    texture: np.ndarray
    colour: np.ndarray
    x: np.ndarray  # [object], centre
    y: np.ndarray
    radius: np.ndarray  # [object], the unit of the outline's coordinates
    angle: np.ndarray  # [object], by which the outline and the pattern are turned
    period: np.ndarray  # [object], of the pattern
    phase: np.ndarray  # [object, 6] in [0, 1), of the pattern
    tones: np.ndarray  # [object, 2, 3], RGB of the pattern's two tones

    def take(self, rows: np.ndarray) -> "Objects":
        """The objects `rows` (int64 or bool)."""
        return Objects(**{name: values[rows] for name, values in vars(self).items()})


@dataclass(frozen=True)
class Plan:
    """A chunk before it is painted; [image] arrays of CHUNK entries."""

    labels: np.ndarray  # int64
    scene: np.ndarray  # int64, position in SCENES
    light: np.ndarray  # float32, direction the light comes from, radians
    objects: Objects


def stream(seed: int, split: str, purpose: int, index: int) -> Generator:
    """A random stream of its own for every seed, split, purpose and index."""
    key = np.array([seed, SPLITS.index(split)], dtype=np.uint64)
    # The counter's two low words count within a stream: no stream runs into the next.
    counter = np.array([0, 0, purpose, index], dtype=np.uint64)
    return Generator(Philox(key=key, counter=counter))


def chunk_labels(split: str, chunk: int, seed: int) -> np.ndarray:
    """Labels of a chunk's images, int64 [CHUNK]: every 20 images hold each class once."""
    n = len(CLASSES)
    first, last = chunk * CHUNK, (chunk + 1) * CHUNK
    blocks = range(first // n, -(-last // n))
    labels = [stream(seed, split, _LABELS, block).permutation(n) for block in blocks]
    return np.concatenate(labels)[first - blocks[0] * n :][:CHUNK]


def first_labels(split: str, n_images: int, seed: int) -> np.ndarray:
    """Labels of the first images, int64 [n_images], of which none is drawn."""
    chunks = [chunk_labels(split, chunk, seed) for chunk in range(-(-n_images // CHUNK))]
    return np.concatenate(chunks)[:n_images]


def plan_chunk(split: str, chunk: int, *, seed: int, pixels: int) -> tuple[Plan, Generator]:
    """What the images `chunk * CHUNK …` show, and the stream to paint them from."""
    labels = chunk_labels(split, chunk, seed)
    rng = stream(seed, split, _CONTENTS, chunk)
    uniform = rng.random(CHUNK) >= PREFERRED_SCENE_SHARE
    scene = np.where(uniform, rng.integers(0, len(SCENES), CHUNK), _CLASS_SCENE[labels])
    light = (rng.random(CHUNK, dtype=np.float32) - 0.5) * np.float32(2.4) - np.float32(np.pi / 2)
    return Plan(labels, scene, light, _objects(rng, labels, pixels)), rng


def _objects(rng: Generator, labels: np.ndarray, pixels: int) -> Objects:
    """Three places an image: under the main object, the main object, over it.

    The outer two are distractors, each there with probability 1/2.
    """
    n = len(labels)
    main = np.tile([False, True, False], (n, 1))
    shape = np.where(main, _CLASS_SHAPE[labels][:, None], rng.integers(0, len(SHAPES), (n, 3)))
    texture = np.where(
        main, _CLASS_TEXTURE[labels][:, None], rng.integers(0, len(TEXTURES), (n, 3))
    )
    preferred = main & (rng.random((n, 3)) < PREFERRED_COLOUR_SHARE)
    colour = np.where(
        preferred, _CLASS_COLOUR[labels][:, None], rng.integers(0, len(COLOURS), (n, 3))
    )
    unit = pixels / 64
    radius = unit * np.where(main, _between(rng, 12, 23, (n, 3)), _between(rng, 3, 5, (n, 3)))
    # A main object is wholly in the picture; of a distractor at least a half is.
    margin = np.where(main, radius + unit, 0)
    x, y = margin + (pixels - 2 * margin) * rng.random((2, n, 3))
    angle = np.where(main, 0.6, np.pi) * _between(rng, -1, 1, (n, 3))
    period = unit * np.where(main, _between(rng, 6, 9, (n, 3)), 3.5)
    phase = rng.random((n, 3, _N_PHASES))
    tones = _tones(rng, colour)
    present = main | (rng.random((n, 3)) < 0.5)
    floats = [v[present].astype(np.float32) for v in (x, y, radius, angle, period, phase, tones)]
    indices = [np.nonzero(present)[0], shape[present], texture[present], colour[present]]
    return Objects(*indices, *floats)


def _between(rng: Generator, low: float, high: float, size: tuple[int, ...]) -> np.ndarray:
    return low + (high - low) * rng.random(size)


def _tones(rng: Generator, colour: np.ndarray) -> np.ndarray:
    """RGB of both tones of each object, float64 [*colour, 2, 3]."""
    rgb = _COLOUR_RGB[colour] * _between(rng, 0.9, 1.1, (*colour.shape, 3))
    brightness = rgb @ np.array([0.3, 0.6, 0.1])
    # Pale colours need a dark second tone to contrast with; the others have either.
    dark = (rng.random(colour.shape) < 0.4) | (brightness > 140)
    other = np.where(dark[..., None], 0.3 * rgb, 0.2 * rgb + 0.8 * 250)
    contrast = _between(rng, 0.6, 1, colour.shape)[..., None]
    return np.stack([rgb, rgb + contrast * (other - rgb)], axis=-2)

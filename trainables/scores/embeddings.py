"""Vectors of the images of a set in the perceptual space: once per set, shared by all trials.

All images are embedded, not only those that some unit shows: 7,280 units that show 400 random
images each show all of 50,000 images and 90 % of 1.28 million, and the next network shows others.
"""

import json
import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from mis import Metric, Similarity, calibrate_slope
from trainables.config import ScoreConfig
from trainables.datasets.images import ImageSet, Progress
from trainables.kept import read_kept
from trainables.memo import Memo
from trainables.scores.similarity import similarity_of
from trainables.workspace import remove_partials, require_space, whole_file

VERSION = 4  # raise it when an embedder, the calibration or the files change
CHUNK_IMAGES = 4096  # are lost at most when a machine goes down
BATCH_IMAGES = 64
_VECTORS = "vectors.npy"


@dataclass(frozen=True)
class ProbeVectors:
    """vectors: float32 [image, dimension]; slope and metric: of the similarity, for this set."""

    vectors: Tensor
    slope: float
    metric: Metric


def probe_vectors(
    images: ImageSet,
    config: ScoreConfig,
    cache: Path,
    device: torch.device,
    progress: Progress | None = None,
) -> ProbeVectors:
    """The vectors of an image set, from the cache or computed now; a file mapped into memory.

    A similarity without a slope of its own gets 1 / deviation of D+ - D- over random tasks of
    this image set (the MIS paper fitted its own to humans; see `mis.calibrate_slope`).

    Computed chunk by chunk: what was interrupted goes on at the first chunk that is missing, and
    several processes may do so at once. Raises OSError when the disk has no room.
    """
    depends_on = [VERSION, images.digest, config.similarity, *(own.digest for own in config.own)]
    folder = Memo(cache).path("embeddings", depends_on, suffix="")
    about = folder / f"similarity-{config.n_explanations}.json"  # the slope is of so many
    n_images = len(images)

    def whole(path: Path) -> Tensor:
        return _read(path, n_images)

    vectors = read_kept(folder / _VECTORS, whole)
    said = read_kept(about, _read_about)
    if vectors is None or said is None:
        similarity = similarity_of(config, device)
        if vectors is None:
            _embed(images, similarity, folder, device, progress)
            vectors = whole(folder / _VECTORS)
        _remove_parts(folder)
        slope = similarity.slope
        if slope is None:
            slope = calibrate_slope(
                vectors,
                k=config.n_explanations,
                metric=similarity.metric,
                generator=torch.Generator().manual_seed(0),
            )
        said = {"slope": slope, "metric": similarity.metric}
        with whole_file(about) as part:
            part.write_text(json.dumps(said))
    _remove_parts(folder)  # also of a process that was killed when all was there
    return ProbeVectors(vectors, **said)


def _read_about(path: Path) -> dict[str, Any]:
    said = json.loads(path.read_text())
    slope, metric = float(said["slope"]), said["metric"]
    if not (math.isfinite(slope) and metric in get_args(Metric)):
        raise ValueError(f"a finite slope and a metric are wanted, it holds {said}")
    return {"slope": slope, "metric": metric}


def _embed(
    images: ImageSet,
    similarity: Similarity,
    folder: Path,
    device: torch.device,
    progress: Progress | None,
) -> None:
    """Write the chunks that are missing, then all of them as one file."""
    try:
        _write_chunks(images, similarity, folder, device, progress)
        _join(folder, len(images))
    except FileNotFoundError:
        if not (folder / _VECTORS).exists():  # else another process was first, and has tidied up
            raise


def _write_chunks(
    images: ImageSet,
    similarity: Similarity,
    folder: Path,
    device: torch.device,
    progress: Progress | None,
) -> None:
    for number, ids in enumerate(torch.arange(len(images)).split(CHUNK_IMAGES)):
        read = partial(_read, n_images=len(ids))
        if (folder / _VECTORS).exists():
            break  # of another process just now
        if read_kept(_chunk(folder, number), read) is not None:
            continue  # of an earlier run
        vectors: list[Tensor] = []
        done = int(ids[0])
        for batch, pixels, _ in images.batches(ids, BATCH_IMAGES):
            vectors.append(similarity.embed(pixels.to(device)).cpu())
            done += len(batch)
            if progress is not None:
                progress(done, len(images))
        if number == 0:  # twice: chunks and the whole, for a while
            require_space(folder, 2 * 4 * len(images) * vectors[0].shape[1])
        with whole_file(_chunk(folder, number)) as part, part.open("wb") as file:
            np.save(file, torch.cat(vectors).numpy())


def _join(folder: Path, n_images: int) -> None:
    dimension = np.load(_chunk(folder, 0), mmap_mode="r").shape[1]
    with whole_file(folder / _VECTORS) as part:
        whole = np.lib.format.open_memmap(
            part, mode="w+", dtype=np.float32, shape=(n_images, dimension)
        )
        for number, first in enumerate(range(0, n_images, CHUNK_IMAGES)):
            whole[first : first + CHUNK_IMAGES] = np.load(_chunk(folder, number))
        whole.flush()


def _chunk(folder: Path, number: int) -> Path:
    return folder / f"chunk-{number:06}.npy"


def _remove_parts(folder: Path) -> None:
    """What the vectors were made of, and what a process that was killed left of them: gigabytes."""
    for path in folder.glob("chunk-*.npy"):
        path.unlink(missing_ok=True)
    for name in ("chunk-*.npy", _VECTORS):
        remove_partials(folder, name)


def _read(path: Path, n_images: int) -> Tensor:
    """The vectors in a file; ValueError unless they are float32 [n_images, dimension]."""
    # Copy on write: a tensor must be writable, the file stays as it is.
    found = np.load(path, mmap_mode="c")
    if found.dtype != np.float32 or found.ndim != 2 or len(found) != n_images:
        raise ValueError(
            f"vectors of {n_images} images must be float32, got {found.dtype} {found.shape}"
        )
    return torch.from_numpy(found)

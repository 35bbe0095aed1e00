"""Vectors of the images of a set in the perceptual space: once a set, shared by all trials.

All images are embedded, not only those that some unit shows: 7,280 units that show 400 random
images each show all of 50,000 images and 90 % of 1.28 million, and the next network shows others.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mis import Metric, Similarity, calibrate_slope, load_similarity
from trainables.config import ScoreConfig
from trainables.datasets.images import ImageSet, Progress
from trainables.fields import digest_of
from trainables.workspace import require_space, whole_file

VERSION = 3  # raise it when an embedder, the calibration or the files change
CHUNK_IMAGES = 4096  # are lost at most when a machine goes down
BATCH_IMAGES = 64
_VECTORS, _ABOUT = "vectors.npy", "similarity.json"


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
    depends_on = [VERSION, images.digest, config.similarity, config.n_explanations]
    folder = cache / f"embeddings-{digest_of(depends_on)[:16]}"
    about = folder / _ABOUT  # written last: with it, all is there
    if not about.exists():
        similarity = load_similarity(config.similarity, device)
        if not (folder / _VECTORS).exists():
            _embed(images, similarity, folder, device, progress)
        _remove_chunks(folder)
        slope = similarity.slope
        if slope is None:
            slope = calibrate_slope(
                _read(folder / _VECTORS),
                k=config.n_explanations,
                metric=similarity.metric,
                generator=torch.Generator().manual_seed(0),
            )
        with whole_file(about) as partial:
            partial.write_text(json.dumps({"slope": slope, "metric": similarity.metric}))
    return ProbeVectors(_read(folder / _VECTORS), **json.loads(about.read_text()))


def _embed(
    images: ImageSet,
    similarity: Similarity,
    folder: Path,
    device: torch.device,
    progress: Progress | None,
) -> None:
    """Write the chunks that are missing, then all of them as one file."""
    for number, ids in enumerate(torch.arange(len(images)).split(CHUNK_IMAGES)):
        if _chunk(folder, number).exists() or (folder / _VECTORS).exists():
            continue  # of an earlier run, or of another process just now
        vectors: list[Tensor] = []
        done = int(ids[0])
        for batch, pixels, _ in images.batches(ids, BATCH_IMAGES):
            vectors.append(similarity.embed(pixels.to(device)).cpu())
            done += len(batch)
            if progress is not None:
                progress(done, len(images))
        if number == 0:  # twice: chunks and the whole, for a while
            require_space(folder, 2 * 4 * len(images) * vectors[0].shape[1])
        with whole_file(_chunk(folder, number)) as partial, partial.open("wb") as file:
            np.save(file, torch.cat(vectors).numpy())
    try:
        _join(folder, len(images))
    except FileNotFoundError:
        if not (folder / _VECTORS).exists():  # else another process joined and removed them
            raise


def _join(folder: Path, n_images: int) -> None:
    dimension = np.load(_chunk(folder, 0), mmap_mode="r").shape[1]
    with whole_file(folder / _VECTORS) as partial:
        whole = np.lib.format.open_memmap(
            partial, mode="w+", dtype=np.float32, shape=(n_images, dimension)
        )
        for number, first in enumerate(range(0, n_images, CHUNK_IMAGES)):
            whole[first : first + CHUNK_IMAGES] = np.load(_chunk(folder, number))
        whole.flush()


def _chunk(folder: Path, number: int) -> Path:
    return folder / f"chunk-{number:06}.npy"


def _remove_chunks(folder: Path) -> None:
    for path in folder.glob("chunk-*.npy"):
        path.unlink(missing_ok=True)


def _read(path: Path) -> Tensor:
    # Copy on write: a tensor must be writable, the file stays as it is.
    return torch.from_numpy(np.load(path, mmap_mode="c"))

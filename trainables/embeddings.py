"""Vectors of the probe images in the perceptual space: once an image set, shared by all trials."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mis import Metric, Similarity, calibrate_slope, load_similarity
from trainables.config import ScoreConfig
from trainables.datasets.images import ImageSet, Progress
from trainables.fields import digest_of
from trainables.workspace import whole_file

VERSION = 1  # raise it when an embedder or the calibration changes


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
    """The vectors of an image set, from the cache or computed now.

    A similarity without a slope of its own gets 1 / deviation of D+ - D- over random tasks of
    this image set (the MIS paper fitted its own to humans; see `mis.calibrate_slope`).
    """
    depends_on = [VERSION, images.digest, config.similarity, config.n_explanations]
    path = cache / f"embeddings-{digest_of(depends_on)[:16]}.pt"
    if not path.exists():
        similarity = load_similarity(config.similarity, device)
        vectors = _embed(images, similarity, device, progress)
        slope = similarity.slope
        if slope is None:
            slope = calibrate_slope(
                vectors,
                k=config.n_explanations,
                metric=similarity.metric,
                generator=torch.Generator().manual_seed(0),
            )
        with whole_file(path) as partial:
            torch.save({"vectors": vectors, "slope": slope, "metric": similarity.metric}, partial)
    return ProbeVectors(**torch.load(path, weights_only=True, mmap=True))


def _embed(
    images: ImageSet, similarity: Similarity, device: torch.device, progress: Progress | None
) -> Tensor:
    vectors: list[Tensor] = []
    done = 0
    for ids, pixels, _ in images.batches(torch.arange(len(images)), 64):
        vectors.append(similarity.embed(pixels.to(device)).cpu())
        done += len(ids)
        if progress is not None:
            progress(done, len(images))
    return torch.cat(vectors)

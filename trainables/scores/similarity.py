"""The space in which a trial compares images: by its name, or the user's own."""

import math
from typing import Any, get_args

import torch
from torch import Tensor

from mis import Metric, Similarity, load_similarity
from trainables.config import ScoreConfig
from trainables.own_import import own_function
from trainables.own_settings import called

FIELD = "score.similarity"
_PIXELS = 64  # of the images on which one's own is tried


def similarity_of(score: ScoreConfig, device: torch.device | str = "cpu") -> Similarity:
    """The similarity of `score`, its network on the device.

    One's own is a function of the device that gives a `mis.Similarity`. Raises ValueError, in one
    sentence, for a package or weights that are missing, and for one's own that gives no such space.
    """
    if not score.own:
        return load_similarity(score.similarity, device)
    name = score.similarity
    function = own_function(name, score.code, FIELD)
    images = torch.stack([torch.full((3, _PIXELS, _PIXELS), v, dtype=torch.uint8) for v in (0, 99)])

    def tried() -> tuple[Any, Any]:
        found = function(device)
        return found, found.embed(images) if isinstance(found, Similarity) else None

    must = "give a mis.Similarity that embeds uint8 images, it"
    found, vectors = called(FIELD, name, must, tried)
    wrong = _wrong(found, vectors)
    if wrong:
        raise ValueError(f"{FIELD}={name!r} must give {wrong}")
    return found


def _wrong(found: object, vectors: object) -> str:
    """What must hold and does not, of one's own; "" where all does."""
    if not isinstance(found, Similarity):
        return f"a mis.Similarity, it gives a {type(found).__name__}"
    if found.metric not in get_args(Metric):
        return f"a metric of {', '.join(get_args(Metric))}, got {found.metric!r}"
    if found.slope is not None and not (math.isfinite(found.slope) and found.slope > 0):
        return f"a slope above 0, or None to fit it to the images, got {found.slope}"
    if not isinstance(vectors, Tensor) or vectors.dtype != torch.float32 or vectors.ndim != 2:
        shape = getattr(vectors, "shape", ())
        kind = getattr(vectors, "dtype", type(vectors).__name__)
        return f"vectors float32 [image, dimension], it gives {kind} {tuple(shape)}"
    if len(vectors) != 2 or not bool(vectors.isfinite().all()):
        return "a vector of finite numbers per image, it does not"
    lengths = vectors.norm(dim=1)
    if found.metric == "cosine" and not torch.allclose(lengths, torch.ones(2).to(lengths), 0, 1e-3):
        return f"vectors of length 1 with metric='cosine', they are {lengths[0]:g} long"
    return ""

"""Images to vectors: the spaces in which images are compared.

Vectors belong to an image set, not to a network: compute them once for all trials.
"""

import importlib.util
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2.functional import resize

from mis.score.efficientnet import load_efficientnet_lite0
from mis.score.margins import Metric, task_margins
from mis.score.tasks import Tasks

Device = torch.device | str
# Zimmermann, Klindt, Brendel 2024, Sec. 3: alpha = 0.16, there printed as a factor; their own
# scores are possible only if it divides.
DREAMSIM_SLOPE = 1 / 0.16
DREAMSIM_PIXELS = 224
EFFICIENTNET_PIXELS = 96
LPIPS_PIXELS = 64
RAW_PIXELS = 32
_PACKAGES = ("dreamsim", "lpips")  # optional ones, called as the similarity is


@dataclass(frozen=True)
class Similarity:
    """A space in which images are compared.

    `embed` takes uint8 [batch, 3, h, w] (0 … 255, RGB, any device) and gives float32 [batch, dim]
    on the similarity's device, of unit length if the metric is "cosine"; it raises ValueError for
    other input. Images of other sizes are resized, which may change their aspect.
    """

    name: str
    slope: float | None  # of the sigmoid; None: `calibrate_slope` on the image set
    metric: Metric
    embed: Callable[[Tensor], Tensor]


def load_similarity(name: str, device: Device = "cpu") -> Similarity:
    """The similarity of that name, its network on the device.

    Raises ValueError for a name that is not in SIMILARITIES, and when its package is missing.
    """
    require_similarity(name)
    return SIMILARITIES[name](device)


def require_similarity(name: str) -> None:
    """Raise ValueError where `load_similarity` would for a name, or for a package that is missing;
    nothing is loaded."""
    if name not in SIMILARITIES:
        raise ValueError(f"similarity must be one of {', '.join(SIMILARITIES)}, got {name!r}")
    if name in _PACKAGES and not _is_there(name):
        raise ValueError(_no_package(name))


def _is_there(package: str) -> bool:
    if package in sys.modules:
        return sys.modules[package] is not None
    return importlib.util.find_spec(package) is not None


def _no_package(name: str) -> str:
    return f"{name} is not installed: make {name}, or uv sync --extra {name}"


def calibrate_slope(
    vectors: Tensor,
    *,
    metric: Metric = "cosine",
    k: int = 9,
    generator: torch.Generator,
    n_draws: int = 20_000,
) -> float:
    """1 / standard deviation of D+ - D- over tasks of random images: ours, for spaces without one.

    Each of at least n_draws tasks has 2 (k + 1) different images, drawn at random. vectors:
    [image, dim], see `task_margins`. Fix the slope once for all that is to be compared.
    Raises ValueError for fewer than 2 (k + 1) images, and for vectors that are all alike.
    """
    n_images, needed = len(vectors), 2 * (k + 1)
    if k < 1 or n_images < needed:
        raise ValueError(f"k >= 1 and {needed} images are needed, got k {k}, {n_images} images")
    # Whole permutations of the images, cut into tasks: no image comes twice within a task.
    tasks_each = n_images // needed
    draws = torch.rand(
        math.ceil(n_draws / tasks_each), n_images, generator=generator, device=generator.device
    )
    images = draws.argsort(dim=1)[:, : tasks_each * needed].reshape(-1, 1, needed)
    plus, minus, queries = images.split([k, k, 2], dim=2)
    tasks = Tasks(plus, minus, queries[..., 0], queries[..., 1])
    spread = float(task_margins(tasks, vectors, metric=metric).std())
    if not spread > 0:
        raise ValueError("a slope needs vectors that differ, but D+ - D- is the same in every task")
    return 1 / spread


def _require_images(images: Tensor) -> None:
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(
            f"images must be uint8 [batch, 3, h, w], got {images.dtype} {tuple(images.shape)}"
        )


def _squared(images: Tensor, pixels: int) -> Tensor:
    """float32 [batch, 3, pixels, pixels] in 0 … 255, bilinear, smoothed where it shrinks."""
    images = images.float().contiguous(memory_format=torch.channels_last)
    if images.shape[-2:] == (pixels, pixels):
        return images
    return F.interpolate(images, (pixels, pixels), mode="bilinear", antialias=True)


def _efficientnet_lite0(device: Device) -> Similarity:
    """Cosine of EfficientNet-Lite0's penultimate features at 96 x 96."""
    network = load_efficientnet_lite0(device)

    @torch.no_grad()
    def embed(images: Tensor) -> Tensor:
        _require_images(images)
        pixels = _squared(images.to(device), EFFICIENTNET_PIXELS)
        return F.normalize(network.features((pixels - 127) / 128).float(), dim=1)

    return Similarity("efficientnet_lite0", None, "cosine", embed)


def _pixels(device: Device) -> Similarity:
    """Correlation of raw pixels: a control that knows nothing of objects.

    Of images shrunk to 32 x 32: vectors of whole photographs would take 600 KB each. What has no
    correlation, an image of one grey, is like others of one grey and unlike all else.
    """

    @torch.no_grad()
    def embed(images: Tensor) -> Tensor:
        _require_images(images)
        images = images.to(device)
        if max(images.shape[-2:]) > RAW_PIXELS:
            values = _squared(images, RAW_PIXELS).flatten(1)
        else:
            values = images.flatten(1).float()
        centred = values - values.mean(dim=1, keepdim=True)
        grey = centred.abs().amax(dim=1, keepdim=True) < 1e-2  # of 255: what rounding may leave
        return F.normalize(torch.cat([centred.masked_fill(grey, 0), grey.float()], dim=1), dim=1)

    return Similarity("pixels", None, "cosine", embed)


def _no_weights(name: str, folder: Path, error: OSError) -> ValueError:
    return ValueError(
        f"the weights of {name} must be in {folder} or downloaded there, which failed: {error}"
    )


def _dreamsim(device: Device) -> Similarity:
    """DreamSim's ensemble (Fu et al. 2023), as in the MIS paper; downloads its weights once."""
    try:
        from dreamsim import dreamsim
    except ImportError as error:
        raise ValueError(_no_package("dreamsim")) from error
    # Beside torchvision's weights; by default it would write ./models.
    before = torch.hub._hub_dir  # None where the environment decides, as set_dir cannot say
    cache = Path(torch.hub.get_dir()) / "dreamsim"
    cache.mkdir(parents=True, exist_ok=True)
    try:
        network, _ = dreamsim(
            pretrained=True, device=str(device), cache_dir=str(cache), normalize_embeds=True
        )
    except OSError as error:  # of which urllib's and requests' errors are
        raise _no_weights("dreamsim", cache, error) from error
    finally:
        # The package moves the folder in which the whole process looks for weights.
        torch.hub._hub_dir = before

    @torch.no_grad()
    def embed(images: Tensor) -> Tensor:
        _require_images(images)
        # On uint8, as its own preprocessing does with PIL: bicubic overshoot is cut off at 0 … 255.
        size = [DREAMSIM_PIXELS, DREAMSIM_PIXELS]
        square = resize(images.to(device), size, InterpolationMode.BICUBIC, antialias=True)
        return network.embed(square.float() / 255).float()

    return Similarity("dreamsim", DREAMSIM_SLOPE, "cosine", embed)


def lpips_vectors(network: Any, images: Tensor) -> Tensor:
    """Vectors whose squared Euclidean distance is the LPIPS distance: float32 [batch, dim].

    network: an `lpips.LPIPS` (version 0.1, spatial=False). images: float [batch, 3, h, w] in
    [-1, 1]. LPIPS sums over layers the mean over positions of w . (a - b)^2, with a and b the two
    images' features at unit length and w the layer's weight of each channel (Zhang et al. 2018,
    Eq. 1). So features times sqrt(w / positions), layers end to end, are such vectors.
    Raises ValueError for a negative w.
    """
    parts = []
    layers = network.net(network.scaling_layer(images))
    for features, linear in zip(layers, network.lins, strict=True):
        weight = linear.model[-1].weight
        if (weight < 0).any():
            raise ValueError("LPIPS is a squared distance only if no linear weight is negative")
        unit = features / (features.pow(2).sum(dim=1, keepdim=True).sqrt() + 1e-10)
        parts.append((unit * (weight / unit[0, 0].numel()).sqrt()).flatten(1))
    return torch.cat(parts, dim=1).float()


def _lpips(device: Device) -> Similarity:
    """Minus the LPIPS distance with AlexNet, at 64 x 64, the size it was trained on.

    Exact, and therefore long: 31,872 numbers (127 KB) an image; 5,000 images take 640 MB.
    """
    try:
        import lpips
    except ImportError as error:
        raise ValueError(_no_package("lpips")) from error
    try:
        network = lpips.LPIPS(net="alex", verbose=False).to(device).eval().requires_grad_(False)
    except OSError as error:
        raise _no_weights("lpips", Path(torch.hub.get_dir()), error) from error

    @torch.no_grad()
    def embed(images: Tensor) -> Tensor:
        _require_images(images)
        return lpips_vectors(network, _squared(images.to(device), LPIPS_PIXELS) / 127.5 - 1)

    return Similarity("lpips", None, "neg_sq_distance", embed)


SIMILARITIES: dict[str, Callable[[Device], Similarity]] = {
    "efficientnet_lite0": _efficientnet_lite0,
    "dreamsim": _dreamsim,
    "lpips": _lpips,
    "pixels": _pixels,
}

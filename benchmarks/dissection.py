"""Network Dissection against a loop over units, and against plain forward passes."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from PIL import Image
from torch import nn
from torchvision.models import googlenet, resnet50
from torchvision.models.googlenet import BasicConv2d

from benchmarks.timing import ratio
from mis.dissection.concepts import ConceptBatch, ConceptSpec
from mis.dissection.detectors import dissect
from trainables.datasets import concepts
from trainables.datasets.images import normalise

BATCH, PIXELS, CLASSES = 64, 64, 20
MAP_PIXELS = 112  # of Broden's maps
LOOP_IMAGES, LOOP_UNITS = 64, 128


def _network(device: torch.device) -> nn.Module:
    torch.manual_seed(0)
    network = googlenet(weights=None, init_weights=False, aux_logits=False, num_classes=CLASSES)
    return network.to(device, memory_format=torch.channels_last).eval()


def _data(
    n_images: int, device: torch.device, pixels: int = PIXELS
) -> tuple[list[ConceptBatch], ConceptSpec]:
    drawn = concepts.draw("probe", n_images, pixels=pixels)
    named = [(name, kind) for kind, names in concepts.CONCEPTS.items() for name in names]
    spec = ConceptSpec(tuple(name for name, _ in named), tuple(kind for _, kind in named))
    maps = []
    for kind in ("shape", "texture", "colour"):
        labels = torch.from_numpy(vars(drawn)[kind]).long()
        maps.append(torch.where(labels > 0, labels + spec.category.index(kind), 0))
    scenes = torch.zeros(n_images, len(named), dtype=torch.bool)
    first = spec.category.index("scene") - 1
    scenes[torch.arange(n_images), torch.from_numpy(drawn.scene).long() + first] = True
    parts = (torch.from_numpy(drawn.images).permute(0, 3, 1, 2), torch.stack(maps, 1), scenes)
    batches = [
        ConceptBatch(normalise(images.to(device)), labels.to(device), concepts_.to(device))
        for images, labels, concepts_ in zip(*(p.split(BATCH) for p in parts), strict=True)
    ]
    return batches, spec


def dissection_passes(device: torch.device, n_images: int = 1024) -> float:
    """Dissecting all 57 convolutions (7,280 units) against one plain forward pass."""
    network = _network(device)
    batches, spec = _data(n_images, device)
    layers = [name for name, module in network.named_modules() if isinstance(module, BasicConv2d)]
    return _against_forward(network, layers, batches, spec, n_images)


def dissection_of_study(device: torch.device, n_images: int = 128) -> float:
    """What the study `dissecting` does on ImageNet and Broden, against one plain forward pass:
    the 2,048 units that ResNet-50 ends with, images of 224 pixels with maps of 112.
    """
    torch.manual_seed(0)
    network = resnet50().to(device, memory_format=torch.channels_last).eval()
    batches, spec = _data(n_images, device, 224)
    half = [replace(batch, pixel_labels=batch.pixel_labels[..., ::2, ::2]) for batch in batches]
    return _against_forward(network, ["layer4.2"], half, spec, n_images)


def _against_forward(
    network: nn.Module,
    layers: list[str],
    batches: list[ConceptBatch],
    spec: ConceptSpec,
    n_images: int,
) -> float:
    def ours() -> None:
        dissect(network, layers, lambda: iter(batches), spec, n_images=n_images)

    @torch.inference_mode()
    def plain() -> None:
        for batch in batches:
            network(batch.images)

    return ratio(ours, plain, rounds=3)


def dissection_loop(device: torch.device, n_images: int = 512) -> float:
    """Dissecting one layer of 1,024 units, its two forward passes left out, against a loop.

    The loop goes over images and units with Pillow and numpy, as the authors' portable code does;
    its thresholds are exact by numpy, which is faster than that code's sketch. It is timed on a
    few images and units; its cost is their product.
    """
    batches, spec = _data(n_images, device, MAP_PIXELS)
    torch.manual_seed(0)
    # In the order of channels that a network has them in. Log-normal, masks are about as large as
    # those of GoogLeNet's last block: 150 pixels (190 there) of a fifth (a sixth) of all maps.
    maps = [
        torch.randn(len(batch.images), 1024, 7, 7)
        .exp()
        .to(device)
        .contiguous(memory_format=torch.channels_last)
        for batch in batches
    ]
    shown: Iterator[torch.Tensor]

    class Given(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Identity()

        def forward(self, images: torch.Tensor) -> None:
            self.layer(next(shown))

    network = Given().eval()

    def ours() -> None:
        def passes() -> Iterator[ConceptBatch]:
            nonlocal shown
            shown = iter(maps)
            return iter(batches)

        dissect(network, ["layer"], passes, spec, n_images=n_images)

    # In the order of the loop: memory that lies apart would slow it down.
    few = torch.cat(maps)[:, :LOOP_UNITS].cpu().contiguous().numpy().astype(np.float64)
    labels = torch.cat([batch.pixel_labels for batch in batches]).cpu().numpy()
    scenes = torch.cat([batch.image_labels for batch in batches]).cpu().numpy()

    def thresholds() -> np.ndarray:
        return np.quantile(few.transpose(1, 0, 2, 3).reshape(LOOP_UNITS, -1), 0.995, axis=1)

    limits, some = thresholds(), slice(0, LOOP_IMAGES)

    def loop() -> np.ndarray:
        return _loop(few[some], limits, labels[some], scenes[some], spec)

    tally = ratio(ours, loop, rounds=5)
    of_limits = ratio(ours, thresholds, rounds=3)
    # ours / (images x loop + thresholds), all of so many units
    part = n_images / LOOP_IMAGES
    return 1 / (1024 / LOOP_UNITS * (part / tally + 1 / of_limits))


def _loop(
    maps: np.ndarray, limits: np.ndarray, labels: np.ndarray, scenes: np.ndarray, spec: ConceptSpec
) -> np.ndarray:
    """IoU's counts, shared pixels [unit, concept], an image and a unit at a time; a peer only.

    Units whose map nowhere reaches their threshold are passed over, as there.
    """
    n_units, n_labels = maps.shape[1], len(spec.names) + 1
    category_of = np.zeros((n_labels, len(spec.categories)))
    category_of[np.arange(1, n_labels), spec.category_of.numpy()] = 1
    shared = np.zeros((n_units, n_labels))
    active, active_in = np.zeros(n_units), np.zeros((n_units, len(spec.categories)))
    size = labels.shape[-2:]
    for image in range(len(maps)):
        whole = np.nonzero(scenes[image])[0] + 1
        for unit in range(n_units):
            if maps[image, unit].max() <= limits[unit]:
                continue
            picture = Image.fromarray(maps[image, unit].astype(np.float32))
            resized = np.asarray(picture.resize(size[::-1], Image.Resampling.BILINEAR))
            on = np.argwhere(resized > limits[unit])
            active[unit] += len(on)
            met = np.bincount(labels[image][:, on[:, 0], on[:, 1]].ravel())
            if len(met):
                met[0] = 0
            carried = met @ category_of[: len(met)]
            shared[unit, : len(met)] += met
            for label in whole:
                carried += category_of[label]
                shared[unit, label] += len(on)
            active_in[unit] += len(on) * (carried > 0)
    return shared


BENCHMARKS = {
    "dissection of ResNet-50's last block, 224 px / forward pass": (dissection_of_study, 2.5),
    "dissection of all 57 layers of GoogLeNet / forward pass": (dissection_passes, 2.5),
    "dissection of a layer / loop over its units": (dissection_loop, 0.01),
}

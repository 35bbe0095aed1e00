"""Batches on a device; on a GPU before it has done the last."""

from collections.abc import Callable, Iterator
from typing import Protocol, runtime_checkable

import torch
from torch import Generator, Tensor

from trainables.datasets.images import WHOLE, Batch, ImageSet, Share, normalise


@runtime_checkable
class OnDevice(Protocol):
    """Image sets whose batches a GPU can finish by itself."""

    def read_raw(self, ids: Tensor, drawn: Tensor | None = None) -> "Raw":
        """As `ImageSet.read`, pictures that are not finished yet."""
        ...


class Raw(Protocol):
    """Pictures on the host, from which `finished` makes a batch on a GPU."""

    def finished(self, device: torch.device) -> Tensor:
        """uint8 [batch, 3, height, width]; returns before the device is done."""
        ...


def batches_on(
    device: torch.device,
    images: ImageSet,
    order: Tensor,
    batch_size: int,
    *,
    augment: Generator | None = None,
    share: Share = WHOLE,
) -> Iterator[Batch]:
    """`images.batches`, with images and labels on the device, ids on the CPU.

    To a GPU they go on a stream of their own, from pinned memory: while it computes a step, the
    next batch is copied, cropped and resized. The reader must not wait for the GPU in every step.
    """
    if device.type != "cuda":
        yield from images.batches(order, batch_size, augment=augment, share=share)
        return
    copying = torch.cuda.Stream(device)
    computing = torch.cuda.current_stream(device)
    # Cropped and resized by a GPU, images cost a processor a copy instead of a millisecond.
    read: Callable[[Tensor, Tensor | None], Tensor | Raw]
    read = images.read_raw if isinstance(images, OnDevice) else images.read
    batches: Iterator[tuple[Tensor, Tensor | Raw, Tensor]]
    batches = images.batches_by(read, order, batch_size, augment, share)
    for ids, pictures, labels in batches:
        with torch.cuda.stream(copying):
            if isinstance(pictures, Tensor):
                pixels = to_device(pictures, device)
            else:
                pixels = pictures.finished(device)
            labels = to_device(labels, device)
        computing.wait_stream(copying)
        for tensor in (pixels, labels):  # made on one stream, used on another
            tensor.record_stream(computing)
        yield ids, pixels, labels


def network_inputs(
    images: ImageSet, order: Tensor, batch_size: int, device: torch.device
) -> Iterator[Batch]:
    """Batches as a network takes them: ids int64 [batch] on the CPU, normalised images float32
    [batch, 3, height, width] and labels int64 [batch] on the device."""
    for ids, pixels, labels in batches_on(device, images, order, batch_size):
        yield ids, normalise(pixels), labels


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A copy on the device, which this thread does not wait for."""
    if device.type == "cuda" and not tensor.is_pinned():
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)

"""One pass over the images: which of them each unit answers to most, and which least.

A unit is one output channel of one module; what it says about an image is one number, the mean
of that channel over height and width (Zimmermann, Klindt, Brendel 2024, Sec. 4). Only the ranks
at both ends are kept, so memory does not grow with images x units.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Protocol

import torch
from torch import Tensor, nn

from mis.reading import Through, watching
from mis.score.extremes import Extremes, ExtremesCollector


class Watcher(Protocol):
    """What sees a pass besides: scores that are fed on the same images."""

    def begin(self, ids: Tensor) -> None:
        """ids: int64 [batch], of the images that come next."""
        ...

    def see(self, layer: str, values: Tensor) -> None:
        """A layer's outputs, as `mis.watching` shows them; it must not keep or change them."""
        ...


def collect_extremes(
    network: nn.Module,
    layers: Sequence[str],
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    depth: int,
    priority: Tensor,
    through: Through = MappingProxyType({}),
    before_relu: Collection[str] = (),
    collector: ExtremesCollector | None = None,
    also: Watcher | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Extremes:
    """Run the network over all images once and keep the `depth` extremes at both ends.

    layers: names as in `network.named_modules()`; each gives [batch, channel, h, w] (read as the
        mean over h and w, in float32) or [batch, channel] (read as it is). An output is read
        before anything downstream can overwrite it in place.
    batches: yields (ids int64 [batch], images float [batch, 3, h, w]), on the network's device.
        Every id comes once; the ranks depend on neither the batch size nor the order.
    depth, priority: see `ExtremesCollector`.
    through: what outputs go through before they are read, see `Through`.
    before_relu: those that a ReLU reads next: which units it silences is noted.
    collector: of these layers, depth and priority; the images it has met must not come again. To
        go on after an interruption, load its state and let `batches` be of its `remaining()`.
    also: sees every layer of each batch, too.
    progress: called after every batch with the images that came and those that priority has; the
        place to save the collector's state.

    Raises ValueError for a network in training mode, unknown or repeated layer names, a layer that
    does not run exactly once a pass, outputs of other ranks, ids out of range or met twice, a
    priority that is no permutation, through or before_relu names that are no layers, fewer than
    2 x depth images, and a collector of other settings; FloatingPointError, naming layer and
    channel, for an activation that is NaN or infinite.
    """
    if collector is None:
        collector = ExtremesCollector(layers, depth, priority)
    collector.require(layers, depth, priority)
    see = None if also is None else also.see
    with _means(network, layers, through, before_relu, see) as means_of:
        for ids, images in batches:
            if also is not None:
                also.begin(ids)
            collector.add(ids, *means_of(images))
            if progress is not None:
                progress(collector.n_images, len(priority))
    return collector.result()


@contextmanager
def _means(
    network: nn.Module,
    layers: Sequence[str],
    through: Through,
    before_relu: Collection[str],
    also: Callable[[str, Tensor], None] | None,
) -> Iterator[Callable[[Tensor], tuple[list[Tensor], list[Tensor]]]]:
    """Within it, a function from images to each layer's means, float32 [batch, channel], and
    which channels a ReLU silences, bool [channel]: in none of the images so far above 0."""
    others = sorted(set(before_relu) - set(layers))
    if others:
        raise ValueError(f"before_relu must name layers that are read, {others} are not")
    means: dict[str, Tensor] = {}
    silent: dict[str, Tensor] = {}

    def see(layer: str, values: Tensor) -> None:
        # A copy even of what has no positions: the original may be overwritten in place.
        means[layer] = values.mean((2, 3)) if values.ndim == 4 else values.clone()
        if layer in before_relu:
            silent[layer] = _still_silent(values, means[layer], silent.get(layer))
        else:
            silent[layer] = torch.zeros(values.shape[1], dtype=torch.bool)
        if also is not None:
            also(layer, values)

    with watching(network, layers, through, see, dims=(2, 4)) as run:

        def means_of(images: Tensor) -> tuple[list[Tensor], list[Tensor]]:
            run(images)
            return [means[layer] for layer in layers], [silent[layer].cpu() for layer in layers]

        yield means_of


def _still_silent(values: Tensor, means: Tensor, before: Tensor | None) -> Tensor:
    """bool [channel], those of `before` (None: all) that are above 0 nowhere.

    values: [batch, channel, ...]; means: [batch, channel].
    """
    silent = means.amax(0) <= 0
    if before is not None:
        silent &= before
    but_channels = tuple(d for d in range(values.ndim) if d != 1)
    if values.device.type != "cpu":
        return silent & (values.amax(but_channels) <= 0)
    # On a CPU a second look at whole maps costs time: only at those with a mean below 0 (a pruned
    # unit's means are all 0) that no image has woken yet.
    doubtful = (silent & (means.amin(0) < 0)).nonzero().squeeze(1)
    if len(doubtful):
        silent[doubtful] = values[:, doubtful].amax(but_channels) <= 0
    return silent

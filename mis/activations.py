"""One pass over the images: which of them each unit answers to most, and which least.

A unit is one output channel of one module; what it says about an image is one number, the mean
of that channel over height and width (Zimmermann, Klindt, Brendel 2024, Sec. 4). Only the ranks
at both ends are kept, so memory does not grow with images x units.
"""

import difflib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from types import MappingProxyType

import torch
from torch import Tensor, nn

from mis.extremes import Extremes, ExtremesCollector


def collect_extremes(
    network: nn.Module,
    layers: Sequence[str],
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    depth: int,
    priority: Tensor,
    through: Mapping[str, Callable[[Tensor], Tensor]] = MappingProxyType({}),
    before_relu: Collection[str] = (),
    collector: ExtremesCollector | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Extremes:
    """Run the network over all images once and keep the `depth` extremes at both ends.

    layers: names as in `network.named_modules()`; each gives [batch, channel, h, w] (read as the
        mean over h and w, in float32) or [batch, channel] (read as it is). An output is read
        before anything downstream can overwrite it in place.
    batches: yields (ids int64 [batch], images float [batch, 3, h, w]), on the network's device.
        Every id comes once; the ranks depend on neither the batch size nor the order.
    depth, priority: see `ExtremesCollector`.
    through: layer -> what its outputs, a float32 copy of them, go through before they are read: an
        activation that is no module of its own, or another order of dimensions.
    before_relu: those that a ReLU reads next: which units it silences is noted.
    collector: of these layers, depth and priority; the images it has met must not come again. To
        go on after an interruption, load its state and let `batches` be of its `remaining()`.
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
    with _reading(network, layers, through, before_relu) as read:
        for ids, images in batches:
            collector.add(ids, *read(images))
            if progress is not None:
                progress(collector.n_images, len(priority))
    return collector.result()


@contextmanager
def _reading(
    network: nn.Module,
    layers: Sequence[str],
    through: Mapping[str, Callable[[Tensor], Tensor]],
    before_relu: Collection[str],
) -> Iterator[Callable[[Tensor], tuple[list[Tensor], list[Tensor]]]]:
    """Within it, a function from images to each layer's means, float32 [batch, channel], and
    which channels a ReLU silences, bool [channel]: in none of the images so far above 0."""
    modules = find_modules(network, layers)
    for what, named in (("through", set(through)), ("before_relu", set(before_relu))):
        others = sorted(named - set(layers))
        if others:
            raise ValueError(f"{what} must name layers that are read, {others} are not")
    means: dict[str, Tensor] = {}
    silent: dict[str, Tensor] = {}

    def read(images: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        means.clear()
        with torch.inference_mode():
            network(images)
        missed = [layer for layer in layers if layer not in means]
        if missed:
            raise ValueError(f"every layer must run in the forward pass; {missed} did not")
        for layer in set(layers) - set(before_relu):
            silent[layer] = torch.zeros(means[layer].shape[1], dtype=torch.bool)
        return [means[layer] for layer in layers], [silent[layer].cpu() for layer in layers]

    with ExitStack() as hooks:
        for layer, module in modules.items():
            look = silent if layer in before_relu else None
            hook = _mean_hook(layer, means, through.get(layer), look)
            hooks.callback(module.register_forward_hook(hook).remove)
        yield read


def _mean_hook(
    layer: str,
    means: dict[str, Tensor],
    through: Callable[[Tensor], Tensor] | None,
    silent: dict[str, Tensor] | None,
) -> Callable[..., None]:
    def hook(_module: nn.Module, _inputs: tuple[object, ...], output: object) -> None:
        if layer in means:
            raise ValueError(
                f"layer {layer!r} runs more than once a pass, so its units are not one"
            )
        if not isinstance(output, Tensor) or output.ndim not in (2, 4):
            got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise ValueError(
                f"layer {layer!r} must give [batch, channel, h, w] or [batch, channel], got {got}"
            )
        # A copy even of two-dimensional outputs: the original may be overwritten in place.
        needs_copy = output.ndim == 2 or through is not None
        values = output.to(torch.float32, copy=True) if needs_copy else output.float()
        if through is not None:
            values = through(values)
        means[layer] = values.mean((2, 3)) if values.ndim == 4 else values
        if silent is not None:
            silent[layer] = _still_silent(values, means[layer], silent.get(layer))

    return hook


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


def find_modules(network: nn.Module, layers: Sequence[str]) -> dict[str, nn.Module]:
    if any(module.training for module in network.modules()):
        raise ValueError("the network must be in eval mode, but a module of it is training")
    if not layers or len(set(layers)) < len(layers):
        raise ValueError(f"layers must name modules, each once, got {list(layers)}")
    modules = {name: module for name, module in network.named_modules() if name}
    for layer in layers:
        if layer not in modules:
            legal = difflib.get_close_matches(layer, modules, n=5) or list(modules)
            raise ValueError(f"the network has no module {layer!r}; it has {', '.join(legal)}")
    return {layer: modules[layer] for layer in layers}

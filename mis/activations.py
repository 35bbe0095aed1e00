"""One pass over the images: which of them each unit answers to most, and which least.

A unit is one output channel of one module; what it says about an image is one number, the mean
of that channel over height and width (Zimmermann, Klindt, Brendel 2024, Sec. 4). Only the ranks
at both ends are kept, so memory does not grow with images x units.
"""

import difflib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

# Images whose unit means are held before they are merged into the extremes.
BUFFER_IMAGES = 2048
# Units merged at a time: bounds the int64 keys of a merge (256 x ~2,500 x 8 bytes = 5 MB).
MERGE_UNITS = 256
_ALL_BUT_SIGN = 0x7FFF_FFFF
_LOW_HALF = 0xFFFF_FFFF


@dataclass(frozen=True)
class Extremes:
    """The most and the least activating images of every unit. All tensors are on the CPU.

    Images are ranked by (activation, priority), a total order: `top` reads it from its end and
    `bottom` from its beginning, so a constant unit shows the two ends of one random order.
    """

    layers: tuple[str, ...]  # module names, in the order asked
    layer_of: Tensor  # int64 [unit], index into layers
    channel: Tensor  # int64 [unit], channel within its layer
    top: Tensor  # int64 [unit, depth], image ids, most activating first
    bottom: Tensor  # int64 [unit, depth], image ids, least activating first
    minimum: Tensor  # float32 [unit], least spatial mean over all images
    maximum: Tensor  # float32 [unit], greatest
    n_images: int


def collect_extremes(
    network: nn.Module,
    layers: Sequence[str],
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    depth: int,
    priority: Tensor,
) -> Extremes:
    """Run the network over all images once and keep the `depth` extremes at both ends.

    layers: names as in `network.named_modules()`; each gives [batch, channel, h, w] (read as the
        mean over h and w, in float32) or [batch, channel] (read as it is). An output is read
        before anything downstream can overwrite it in place.
    batches: yields (ids int64 [batch], images float [batch, 3, h, w]), on the network's device.
        Every id comes once; the ranks depend on neither the batch size nor the order.
    priority: int64 [image], a random permutation of 0 … image - 1, indexed by id: of equal
        activations the higher priority ranks as more activating. -0.0 equals 0.0.

    Raises ValueError for a network in training mode, unknown or repeated layer names, a layer that
    does not run exactly once a pass, outputs of other ranks, ids out of range or met twice, a
    priority that is no permutation, and fewer than 2 x depth images; FloatingPointError, naming
    layer and channel, for an activation that is NaN or infinite.
    """
    ends = _Ends(tuple(layers), depth, priority)
    with _reading(network, layers) as read:
        for ids, images in batches:
            ends.add(ids, read(images))
    return ends.result()


def sort_keys(values: Tensor, priority: Tensor) -> Tensor:
    """int64 keys that order exactly as the pairs (value, priority) do.

    values: float32, finite. priority: int64 in [0, 2**32), broadcastable to values.
    """
    # IEEE 754 floats order as their bits do, except that negative ones order backwards.
    bits = (values + 0.0).view(torch.int32)  # -0.0 + 0.0 is 0.0
    ordered = bits ^ ((bits >> 31) & _ALL_BUT_SIGN)
    return (ordered.to(torch.int64) << 32) | priority


def key_values(keys: Tensor) -> Tensor:
    """The float32 values that `sort_keys` made the keys from."""
    ordered = (keys >> 32).to(torch.int32)
    return (ordered ^ ((ordered >> 31) & _ALL_BUT_SIGN)).view(torch.float32)


class _Ends:
    """The extremes so far: keys of both ends, and a bounded buffer of means not merged yet."""

    def __init__(self, layers: tuple[str, ...], depth: int, priority: Tensor) -> None:
        if depth < 1:
            raise ValueError(f"depth must be at least 1, got {depth}")
        _require_images(len(priority), depth)
        self.layers, self.depth = layers, depth
        self.priority, self.image_of = priority.cpu(), _inverse_permutation(priority.cpu())
        self.met = torch.zeros(len(priority), dtype=torch.bool)
        self.buffer: list[tuple[Tensor, Tensor]] = []  # priorities [image], means [image, unit]
        self.widths: list[int] = []  # channels of each layer
        self.top: list[Tensor] = []  # int64 keys [unit, <= depth], one tensor a block of units
        self.bottom: list[Tensor] = []

    def add(self, ids: Tensor, means: list[Tensor]) -> None:
        ids = ids.cpu()
        _mark_met(self.met, ids, len(means[0]))
        self.widths = [layer_means.shape[1] for layer_means in means]
        self.buffer.append((self.priority[ids].to(means[0].device), torch.cat(means, dim=1)))
        if sum(len(priorities) for priorities, _ in self.buffer) >= BUFFER_IMAGES:
            self.merge()

    def merge(self) -> None:
        priorities, means = (torch.cat(parts) for parts in zip(*self.buffer, strict=True))
        self.buffer = []
        self._refuse_not_finite(means)
        for block, columns in enumerate(means.split(MERGE_UNITS, dim=1)):
            keys = sort_keys(columns.T.contiguous(), priorities)
            if block == len(self.top):
                self.top.append(keys[:, :0])
                self.bottom.append(keys[:, :0])
            self.top[block] = _extreme(self.top[block], keys, self.depth, largest=True)
            self.bottom[block] = _extreme(self.bottom[block], keys, self.depth, largest=False)

    def result(self) -> Extremes:
        n_images = int(self.met.sum())
        _require_images(n_images, self.depth)
        if self.buffer:
            self.merge()
        top, bottom = torch.cat(self.top).cpu(), torch.cat(self.bottom).cpu()
        return Extremes(
            layers=self.layers,
            layer_of=torch.arange(len(self.layers)).repeat_interleave(torch.tensor(self.widths)),
            channel=torch.cat([torch.arange(width) for width in self.widths]),
            top=self.image_of[top & _LOW_HALF],
            bottom=self.image_of[bottom & _LOW_HALF],
            minimum=key_values(bottom[:, 0]),
            maximum=key_values(top[:, 0]),
            n_images=n_images,
        )

    def _refuse_not_finite(self, means: Tensor) -> None:
        bad = (~means.isfinite()).any(dim=0).nonzero().flatten().tolist()
        if not bad:
            return
        channel, layer = bad[0], 0
        while channel >= self.widths[layer]:
            channel -= self.widths[layer]
            layer += 1
        raise FloatingPointError(
            f"activations must be finite, but channel {channel} of layer {self.layers[layer]!r} "
            f"is NaN or infinite ({len(bad)} of {sum(self.widths)} units are, on some image)"
        )


def _extreme(kept: Tensor, keys: Tensor, depth: int, *, largest: bool) -> Tensor:
    keys = torch.cat([kept, keys], dim=1)
    return keys.topk(min(depth, keys.shape[1]), dim=1, largest=largest).values


def _inverse_permutation(priority: Tensor) -> Tensor:
    counted = torch.arange(len(priority))
    if priority.dtype != torch.int64 or not torch.equal(priority.sort().values, counted):
        raise ValueError(
            f"priority must be an int64 permutation of 0 … {len(priority) - 1}, "
            f"got {priority.dtype} {tuple(priority.shape)} that is none"
        )
    return torch.empty_like(priority).scatter_(0, priority, counted)


def _require_images(n_images: int, depth: int) -> None:
    if n_images < 2 * depth:
        raise ValueError(
            f"{2 * depth} images are needed to keep {depth} extremes at both ends, got {n_images}"
        )


def _mark_met(met: Tensor, ids: Tensor, n_images: int) -> None:
    """Note which images came; refuse ids that are out of range or came before."""
    if ids.shape != (n_images,):
        raise ValueError(f"a batch of {n_images} images needs as many ids, got {tuple(ids.shape)}")
    outside = (ids < 0) | (ids >= len(met))
    if outside.any():
        raise ValueError(
            f"image ids must lie in 0 … {len(met) - 1} (the length of priority), "
            f"got {int(ids[outside][0])}"
        )
    if met[ids].any() or len(ids.unique()) < len(ids):
        raise ValueError("every image must come once, but an id came twice")
    met[ids] = True


@contextmanager
def _reading(
    network: nn.Module, layers: Sequence[str]
) -> Iterator[Callable[[Tensor], list[Tensor]]]:
    """Within it, a function from images to each layer's means, float32 [batch, channel]."""
    modules = _find_modules(network, layers)
    means: dict[str, Tensor] = {}

    def read(images: Tensor) -> list[Tensor]:
        means.clear()
        with torch.inference_mode():
            network(images)
        silent = [layer for layer in layers if layer not in means]
        if silent:
            raise ValueError(f"every layer must run in the forward pass; {silent} did not")
        return [means[layer] for layer in layers]

    with ExitStack() as hooks:
        for layer, module in modules.items():
            handle = module.register_forward_hook(_mean_hook(layer, means))
            hooks.callback(handle.remove)
        yield read


def _mean_hook(layer: str, means: dict[str, Tensor]) -> Callable[..., None]:
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
        values = output.to(torch.float32, copy=True) if output.ndim == 2 else output.float()
        means[layer] = values.mean((2, 3)) if values.ndim == 4 else values

    return hook


def _find_modules(network: nn.Module, layers: Sequence[str]) -> dict[str, nn.Module]:
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

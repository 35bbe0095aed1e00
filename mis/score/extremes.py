"""The most and the least activating images of every unit, kept while their activations stream by.

Only the ranks at both ends are kept, so memory does not grow with images x units.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mis.picking import both_ends, not_finite

# Images whose unit means are held before they are merged into the extremes; at least the depth,
# so that what is kept is not sorted again for every few images.
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
    # bool [unit], read before a ReLU and never above 0: it passes nothing on. None: none is known.
    silent: Tensor | None = None


class ExtremesCollector:
    """The extremes of the images that came so far; what it holds can be saved and gone on from.

    layers: names of the layers whose means will come, in that order.
    depth: images kept at each end of a unit's ranking, 16 bytes each.
    priority: int64 [image], a random permutation of 0 … image - 1, indexed by id: of equal
        activations the higher priority ranks as more activating. -0.0 equals 0.0.

    The result depends on neither the order of the images nor interruptions.
    Raises ValueError for a depth below 1, a priority that is no permutation, and one of fewer than
    2 x depth images.
    """

    def __init__(self, layers: Sequence[str], depth: int, priority: Tensor) -> None:
        if depth < 1:
            raise ValueError(f"depth must be at least 1, got {depth}")
        _require_images(len(priority), depth)
        self.layers, self.depth = tuple(layers), depth
        self.priority, self._image_of = priority.cpu(), _inverse_permutation(priority.cpu())
        self._met = torch.zeros(len(priority), dtype=torch.bool)
        self._buffer: list[tuple[Tensor, Tensor]] = []  # priorities [image], means [image, unit]
        self._widths: list[int] = []  # channels of each layer
        self._silent = torch.zeros(0, dtype=torch.bool)  # [unit], once images came
        # int64 keys [unit, <= 2 x depth], one tensor a block of units: all that came or, of more
        # than fit, the least and then the greatest; within an end in no order.
        self._ends: list[Tensor] = []

    @property
    def n_images(self) -> int:
        """How many images came."""
        return int(self._met.sum())

    def remaining(self) -> Tensor:
        """int64: the ids of the images that did not come yet, ascending."""
        return (~self._met).nonzero().flatten()

    def add(
        self, ids: Tensor, means: Sequence[Tensor], silent: Sequence[Tensor] | None = None
    ) -> None:
        """Take in a batch of images.

        ids: int64 [batch]. means: of each layer, float32 [batch, channel]. silent: of each layer,
        bool [channel], whether a ReLU that reads it next passes nothing of the batch on; None:
        no layer is known to be read by one.
        Raises ValueError for ids out of range or met before; FloatingPointError, naming layer and
        channel, for a mean that is NaN or infinite, now or at a later call.
        """
        ids = ids.cpu()
        _mark_met(self._met, ids, len(means[0]))
        self._widths = [layer_means.shape[1] for layer_means in means]
        now = torch.zeros(sum(self._widths), dtype=torch.bool)
        if silent is not None:
            now = torch.cat(list(silent)).cpu()
        self._silent = self._silent & now if len(self._silent) else now
        self._buffer.append((self.priority[ids].to(means[0].device), torch.cat(list(means), dim=1)))
        if sum(len(priorities) for priorities, _ in self._buffer) >= max(BUFFER_IMAGES, self.depth):
            self._merge()

    def result(self) -> Extremes:
        """The extremes of the images that came; ValueError for fewer than 2 x depth of them."""
        _require_images(self.n_images, self.depth)
        self._merge()
        ends = torch.cat([keys.sort(dim=1).values.cpu() for keys in self._ends])
        bottom, top = ends[:, : self.depth], ends[:, -self.depth :].flip(1)
        return Extremes(
            layers=self.layers,
            layer_of=torch.arange(len(self.layers)).repeat_interleave(torch.tensor(self._widths)),
            channel=torch.cat([torch.arange(width) for width in self._widths]),
            top=self._image_of[top & _LOW_HALF],
            bottom=self._image_of[bottom & _LOW_HALF],
            minimum=key_values(bottom[:, 0]),
            maximum=key_values(top[:, 0]),
            n_images=self.n_images,
            silent=self._silent.clone(),
        )

    def state_dict(self) -> dict[str, Any]:
        """All that came so far, on the CPU; loads with torch.load(weights_only=True)."""
        self._merge()
        return {
            "layers": list(self.layers),
            "depth": self.depth,
            "priority": self.priority,
            "met": self._met.clone(),
            "widths": self._widths,
            "silent": self._silent,
            "ends": [keys.cpu() for keys in self._ends],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken.

        Raises ValueError for the state of a collector of other layers, depth or priority.
        """
        self.require(state["layers"], state["depth"], state["priority"])
        self._met, self._widths = state["met"].clone(), state["widths"]
        self._silent = state["silent"].clone()
        self._ends, self._buffer = list(state["ends"]), []

    def require(self, layers: Sequence[str], depth: int, priority: Tensor) -> None:
        """Raise ValueError unless the collector is of these."""
        if (tuple(layers), depth) != (self.layers, self.depth):
            raise ValueError(
                f"the collector must be of depth {depth} and layers {list(layers)}, "
                f"it is of depth {self.depth} and layers {list(self.layers)}"
            )
        if not torch.equal(priority.cpu(), self.priority):
            raise ValueError("the collector must be of the same priority, it is of another")

    def _merge(self) -> None:
        if not self._buffer:
            return
        priorities, means = (torch.cat(parts) for parts in zip(*self._buffer, strict=True))
        self._buffer = []
        self._refuse_not_finite(means)
        for block, columns in enumerate(means.split(MERGE_UNITS, dim=1)):
            keys = sort_keys(columns.T.contiguous(), priorities)
            if block == len(self._ends):
                self._ends.append(keys[:, :0])
            keys = torch.cat([self._ends[block].to(keys.device), keys], dim=1)
            few = keys.shape[1] <= 2 * self.depth
            self._ends[block] = keys if few else both_ends(keys, self.depth)

    def _refuse_not_finite(self, means: Tensor) -> None:
        bad = not_finite(means)
        if not bad:
            return
        channel, layer = bad[0], 0
        while channel >= self._widths[layer]:
            channel -= self._widths[layer]
            layer += 1
        raise FloatingPointError(
            f"activations must be finite, but channel {channel} of layer {self.layers[layer]!r} "
            f"is NaN or infinite ({len(bad)} of {sum(self._widths)} units are, on some image)"
        )


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

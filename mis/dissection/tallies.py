"""How many pixels a unit's mask and each concept share, counted exactly over many images.

A unit's mask is its map, resized to the concept maps, where it is above the unit's threshold.
Resizing is bilinear between the centres of cells; beyond the outermost, values are theirs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from mis.dissection.cells import Cells, cells_at
from mis.dissection.concepts import ConceptSpec, Segments
from mis.dissection.places import Axis, Place, axis_of, position_of
from mis.picking import above, true_positions

Engine = Literal["sparse", "dense"]


# Rows of pixels whose masks are worked out at a time: a number of each takes 1 MB.
_ROWS = 2**18


class Tally:
    """Pixel counts of units against all concepts; int64, on the device of the maps.

    For every batch, `see` each layer's maps or `add` their cells, then `count`. Whatever the
    batches, the counts are the same.
    """

    def __init__(
        self,
        spec: ConceptSpec,
        thresholds: Sequence[Tensor],
        engine: Engine = "sparse",
        places: Sequence[Place | None] | None = None,
    ) -> None:
        """thresholds: float32 [unit], one tensor a layer. places: where each layer's cells lie;
        None: everywhere as `F.interpolate(align_corners=False)` has them.

        Raises ValueError for another engine.
        """
        if engine not in ("sparse", "dense"):
            raise ValueError(f"engine must be 'sparse' or 'dense', got {engine!r}")
        self.sparse = engine == "sparse"
        self.per_layer, self.places = thresholds, places or [None] * len(thresholds)
        self.thresholds = torch.cat(list(thresholds))
        self.category_of = spec.category_of.to(self.thresholds.device)
        n_concepts, n_units = len(spec.names), len(self.thresholds)
        zeros = torch.zeros(n_concepts, n_units, dtype=torch.int64, device=self.thresholds.device)
        # [concept, unit]: a row is what a product with the segments gives.
        self._shared, self._active = zeros, zeros[: len(spec.categories)].clone()
        self.concept = zeros[:, 0].clone()  # int64 [concept], pixels that show it
        self._cells: list[_Part] = []
        self._counts: list[Tensor] = []  # of the dense engine, one per layer

    def see(self, layer: int, maps: Tensor, segments: Segments) -> None:
        """maps: float32 [batch, unit, h, w], finite, of the images of the segments; not kept."""
        if not self.sparse:
            counts = _count_dense(maps, self.per_layer[layer], segments, self.places[layer])
            self._counts.append(counts)
            return
        rows, limits = maps.permute(0, 2, 3, 1).contiguous(), self.per_layer[layer]
        self.add(layer, cells_at(rows, true_positions(above(rows, limits))))

    def add(self, layer: int, cells: Cells) -> None:
        """cells: all of the layer's that are above their thresholds. Sparse only."""
        first = sum(len(thresholds) for thresholds in self.per_layer[:layer])
        self._cells.append(_Part(first, cells, self.places[layer]))

    def count(self, segments: Segments) -> None:
        """Add what the layers showed since the last call; dense: all of them, in their order."""
        if self.sparse:
            counts = _count_sparse(self._cells, self.thresholds, segments)
            self._cells = []
        else:
            counts = torch.cat(self._counts, 1).double()
            self._counts = []
        # Products of whole numbers in float64: exact.
        self._shared.index_add_(0, segments.concepts, (segments.shows @ counts).long())
        self._active += (segments.carries @ counts).long()
        pixels = (segments.shows @ segments.pixels.double()).long()
        self.concept.index_add_(0, segments.concepts, pixels)

    @property
    def shared(self) -> Tensor:
        """int64 [unit, concept]: pixels of the mask that show the concept."""
        return self._shared.T

    @property
    def active(self) -> Tensor:
        """int64 [unit, category]: pixels of the mask on images that carry the category."""
        return self._active.T

    def iou(self) -> Tensor:
        """float64 [unit, concept] in [0, 1], shared / (active + concept - shared); 0 for 0 / 0."""
        either = self.active[:, self.category_of] + self.concept - self.shared
        return self.shared.double() / either.clamp(min=1)


def _count_dense(
    maps: Tensor, thresholds: Tensor, segments: Segments, place: Place | None
) -> Tensor:
    """int64 [segment, unit]: pixels of the mask in each segment; pixel by pixel."""
    maps = maps.contiguous()
    over = maps > thresholds[:, None, None]
    resized, near = (_resized(values, segments.size, place) for values in (maps, over.float()))
    # Rounding lifts some pixels between equal cells above them: none is on with no cell above.
    mask = (resized > thresholds[:, None, None]) & (near > 0)
    counts = segments.pixels.new_zeros(len(segments), len(thresholds))
    for of_pixel, units in zip(segments.of_pixel, mask, strict=True):
        counts.index_add_(0, of_pixel.flatten(), units.flatten(1).T.long())
    return counts


def _resized(maps: Tensor, size: tuple[int, int], place: Place | None) -> Tensor:
    if place is None:
        return F.interpolate(maps, size, mode="bilinear", align_corners=False)
    # grid_sample has cell c of n at (2 c + 1) / n - 1.
    axes = [
        (2 * position_of(n_cells, n_pixels, place) - 1) / n_cells - 1
        for n_cells, n_pixels in zip(maps.shape[2:], size, strict=True)
    ]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij")[::-1], dim=2).to(maps)
    every = grid.expand(len(maps), *grid.shape)
    return F.grid_sample(maps, every, padding_mode="border", align_corners=False)


@dataclass(frozen=True)
class _Blocks:
    """Rectangles of pixels between four cells of which at least one is above the threshold."""

    corners: Tensor  # float32 [4, block], row by row
    unit: Tensor  # int64 [block], counted through the layers
    down: Tensor  # int64 [block], interval
    right: Tensor  # int64 [block], interval
    pixel: Tensor  # int64 [block], its first pixel, counted through the batch


@dataclass(frozen=True)
class _Part:
    """A layer's cells."""

    first: int  # unit of the layer
    cells: Cells
    place: Place | None

    @property
    def alike(self) -> tuple[int, int, Place | None]:
        """What parts must share to be counted together."""
        return (*self.cells.shape[1:3], self.place)


def _count_sparse(parts: list[_Part], thresholds: Tensor, segments: Segments) -> Tensor:
    """float64 [segment, unit]: pixels of the mask in each segment, of the cells above thresholds.

    Between four cells a row of pixels is linear: it is above the threshold on one stretch, which
    is counted run of segments by run.
    """
    n_units, (height, width) = len(thresholds), segments.size
    keys, lengths = [segments.of_run[:0]], [segments.of_run[:0]]
    # Layers with maps of one size are counted together: fewer, larger operations.
    for h, w, place in dict.fromkeys(part.alike for part in parts):
        alike = [(p.first, p.cells) for p in parts if p.alike == (h, w, place)]
        down, right = (
            axis_of(n_cells, n_pixels, place, thresholds.device)
            for n_cells, n_pixels in ((h, height), (w, width))
        )
        blocks = _find_blocks(alike, thresholds, segments.size, down, right)
        for first, end, unit in _stretches(blocks, thresholds, down, right, width):
            run = segments.run_of.index_select(0, first)
            while len(first):
                run_end = segments.run_end.index_select(0, run)
                keys.append(segments.of_run.index_select(0, run).mul_(n_units).add_(unit))
                lengths.append(torch.minimum(end, run_end).sub_(first))
                more = (end > run_end).nonzero().squeeze(1)
                first, end = run_end.index_select(0, more), end.index_select(0, more)
                unit, run = unit.index_select(0, more), run.index_select(0, more) + 1
    counts = torch.bincount(
        torch.cat(keys), torch.cat(lengths).double(), minlength=len(segments) * n_units
    )
    return counts.double().view(-1, n_units)


def _find_blocks(
    parts: list[tuple[int, Cells]],
    thresholds: Tensor,
    size: tuple[int, int],
    down: Axis,
    right: Axis,
) -> _Blocks:
    """Those around cells of equally large maps. size: of the concept maps."""
    h, w = parts[0][1].shape[1:3]
    unit = torch.cat([cells.unit.add_(first) for first, cells in parts])
    place = torch.cat([cells.position // cells.shape[3] for _, cells in parts])
    around = torch.cat([cells.around for _, cells in parts], 1)
    line = place // w
    image, column = line // h, place - line * w
    row = line - image * h
    # A block comes once: by the first of its cells that is above. Which are, of those before?
    over = around[:4] > thresholds.index_select(0, unit)
    over[:3] &= row > 0
    over[::3] &= column > 0
    earlier = (over[0] | over[1] | over[3], over[1] | over[2], over[3])
    where, found = torch.stack([unit, row, column, image]), []
    for y, x in ((0, 0), (0, 1), (1, 0), (1, 1)):
        corners = around.view(3, 3, -1)[y : y + 2, x : x + 2].flatten(0, 1)
        block = where + where.new_tensor([0, y, x, 0])[:, None]
        if (y, x) != (1, 1):
            first = (~earlier[2 * y + x]).nonzero().squeeze(1)
            corners, block = corners.index_select(1, first), block.index_select(1, first)
        found.append((corners, block))
    corners, where = (torch.cat(each, 1) for each in zip(*found, strict=True))
    unit, row, column, image = where.unbind()
    pixel = image.mul_(size[0]).add_(down.first.index_select(0, row)).mul_(size[1])
    pixel += right.first.index_select(0, column)
    return _Blocks(corners, unit, row, column, pixel)


def _stretches(
    blocks: _Blocks, thresholds: Tensor, down: Axis, right: Axis, width: int
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """The masks: (first pixel, the one after the last, unit), int64 [stretch]; in parts."""
    step = max(1, _ROWS // down.most)
    row = torch.arange(down.most, dtype=torch.float32, device=thresholds.device)[:, None]
    for begin in range(0, len(blocks.unit), step):
        chosen = slice(begin, begin + step)
        unit, first = blocks.unit[chosen], blocks.pixel[chosen]
        above, beside = blocks.down[chosen], blocks.right[chosen]
        a, b, c, d = blocks.corners[:, chosen]
        weight = torch.add(down.weight.index_select(0, above), row, alpha=down.step)
        left, last = torch.lerp(a, c, weight), torch.lerp(b, d, weight)  # [row, block]
        limit, n_rows = thresholds.index_select(0, unit), down.n_pixels.index_select(0, above)
        on = (torch.maximum(left, last) > limit).logical_and_(row < n_rows)
        found = true_positions(on)
        y = found // len(unit)
        block = found - y * len(unit)
        left, last = (ends.flatten().index_select(0, found) for ends in (left, last))
        beside = beside.index_select(0, block)
        rise = last - left
        # Pixels of a row are numbered from 0: where does it meet the threshold?
        crossing = (limit.index_select(0, block) - left).div_(rise)
        crossing = crossing.sub_(right.weight.index_select(0, beside)).div_(right.step)
        n_pixels = right.n_pixels.index_select(0, beside)
        rising = rise >= 0
        start = torch.minimum((crossing.floor() + 1).clamp_(min=0), n_pixels).mul_(rising)
        stop = torch.minimum(crossing.ceil_().clamp_(min=0), n_pixels)
        stop = torch.where(rising, n_pixels, stop)
        pixel = first.index_select(0, block).add_(y, alpha=width)
        some = true_positions(stop > start)
        pixel = pixel.index_select(0, some)
        yield (
            pixel + start.index_select(0, some).long(),
            pixel + stop.index_select(0, some).long(),
            unit.index_select(0, block.index_select(0, some)),
        )

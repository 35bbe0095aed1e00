"""Which units detect a concept that people have a name for: Network Dissection.

Bau, Zhou, Khosla, Oliva, Torralba 2017 (arXiv 1704.05796), Sec. 2: a unit's map, resized to the
concept maps and cut at the unit's own top quantile, is a segmentation; the concept with which it
has the highest intersection over union (IoU) is the unit's label, and a unit whose IoU reaches
0.04 is a detector, an interpretable unit. Frankle & Bau 2019 (arXiv 1907.00262) count
interpretable units and unique concepts among them while a network is pruned.

Conventions, of which each changes the counts; compare only counts with equal ones:
- Thresholds are those of the network as it is (after pruning), over all positions of the maps as
  the layer gives them, before resizing; k = floor(quantile x values) values are above.
- Resizing is bilinear between cells, edges clamped; a pixel is on strictly above the threshold,
  and only between cells of which one is. Cells lie where `places` says, e.g. at the centres of
  their receptive fields, as in the authors' first code; without places a map is stretched over the
  picture, as in NetDissect-Lite (align_corners=False).
- Counts are summed over the data set. A unit's own pixels count on images that carry any concept
  of the category, as in the authors' first code (makeresult.py): a data set may label each
  category on some of its images only.
- A detector has IoU >= the threshold, as in NetDissect-Lite. Of equal concepts the first is the
  label. Dead and constant units are no detectors.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor, nn

from mis.dissection.cells import KEPT_BYTES, KeptCells
from mis.dissection.concepts import ConceptBatch, ConceptSpec, check_batch, segment
from mis.dissection.places import Place
from mis.dissection.ranges import Range, Units
from mis.dissection.tallies import Engine, Tally
from mis.reading import Through, watching

Batches = Callable[[], Iterator[ConceptBatch]]


@dataclass(frozen=True)
class Dissection:
    """What every unit detects. All tensors are on the CPU, units in the order of the layers."""

    spec: ConceptSpec
    layers: tuple[str, ...]
    layer_of: Tensor  # int64 [unit], index into layers
    channel: Tensor  # int64 [unit], channel within its layer
    best_iou: Tensor  # float64 [unit] in [0, 1]; 0 for dead and constant units
    concept: Tensor  # int64 [unit], index into spec.names; -1 where best_iou is 0
    category: Tensor  # int64 [unit], index into spec.categories; -1 where best_iou is 0
    threshold: Tensor  # float32 [unit]
    dead: Tensor  # bool [unit], never above 0
    constant: Tensor  # bool [unit], not dead, range over all positions below CONSTANT_RANGE
    iou: dict[str, Tensor]  # layer -> float64 [channel, concept], also of dead units
    iou_threshold: float
    n_images: int
    empty_concepts: tuple[str, ...]  # names of those on no pixel: IoU 0, never a label

    @property
    def interpretable(self) -> Tensor:
        """bool [unit], whether it is a detector."""
        return self.best_iou >= self.iou_threshold


def dissect(
    network: nn.Module,
    layers: Sequence[str],
    batches: Batches,
    spec: ConceptSpec,
    *,
    n_images: int,
    quantile: float = 0.005,
    iou: float = 0.04,
    through: Through = MappingProxyType({}),
    places: Mapping[str, Place] | None = None,
    engine: Engine = "sparse",
) -> Dissection:
    """Find each unit's best concept: thresholds first, then the pixels above them.

    The network runs once where memory holds the cells that may be above the thresholds
    (`mis.dissection.cells.KEPT_BYTES`), and a second time for batches of which it does not.

    layers: names as in `network.named_modules()`; each gives [batch, channel, h, w], read in
        float32 before anything downstream can overwrite it.
    batches: called twice, and must yield the same n_images images in the same batches both times.
    quantile: of a unit's values are above its threshold, in (0, 1). iou: in (0, 1].
    through: what maps go through before they are read, see `Through`.
    places: where the cells of each layer's maps lie in the picture; None: a map's cells share the
        picture's sides equally.
    engine: two ways to the same counts; "sparse" looks only where masks can be.

    Raises ValueError for a network in training mode, layers it lacks, that do not run exactly once
    or give no maps, labels that do not fit the spec, images without any concept, too few images
    for the quantile, and passes that differ from n_images; FloatingPointError, naming layer and
    channel, for an activation that is NaN or infinite.
    """
    _require_settings(layers, quantile, iou, places)
    ranges: dict[str, Range] = {}
    kept, sizes = KeptCells(KEPT_BYTES if engine == "sparse" else 0), []

    def lower_bounds() -> dict[str, Tensor]:
        return {layer: found.values.lower_bound() for layer, found in ranges.items()}

    def note_range(layer: str, maps: Tensor) -> None:
        if layer not in ranges:
            ranges[layer] = Range(layer, maps, n_images, quantile)
        rows = maps.permute(0, 2, 3, 1).contiguous()
        kept.add(layer, rows, ranges[layer].add(rows.flatten(0, 2)), lower_bounds)

    with watching(network, layers, through, note_range) as run:
        for batch in _exactly(n_images, batches(), spec):
            sizes.append(len(batch.images))
            kept.begin()
            run(batch.images)
    units = {layer: ranges[layer].result() for layer in layers}
    placed = None if places is None else [places[layer] for layer in layers]
    tally = Tally(spec, [unit.threshold for unit in units.values()], engine, placed)

    def see(layer: str, maps: Tensor) -> None:
        tally.see(layers.index(layer), maps, segments)

    with watching(network, layers, through, see) as run:
        for number, batch in enumerate(_exactly(n_images, batches(), spec)):
            _require_size(batch, sizes, number)
            segments = segment(batch, spec)
            cells = kept.take(number)
            if cells is None:
                run(batch.images)
            else:
                for layer, found in cells.items():
                    tally.add(layers.index(layer), found.above(units[layer].threshold))
            tally.count(segments)
    return _conclude(spec, units, tally, iou, n_images)


def summarize(dissection: Dissection) -> dict[str, float]:
    """Metrics of a network, by their MLflow names; alive units are neither dead nor constant.

    dissection/interpretable: detectors; dissection/unique: different concepts among them.
    dissection/n_units, n_dead, n_constant: how many units there are, and of which kind.
    dissection/fraction, fraction_alive: detectors by all and by alive units (NaN: there are none).
    dissection/iou_p50, iou_p90, iou_max: of the best IoU of alive units (NaN: there are none).
    dissection/<category>/interpretable, unique: of the detectors of a category's concepts.
    dissection/<layer>/interpretable, unique: of the units of a layer.
    """
    alive = ~dissection.dead & ~dissection.constant
    best = dissection.best_iou[alive]
    found = dissection.interpretable
    n_units, n_alive, n_found = len(found), int(alive.sum()), float(found.sum())
    quantiles = [math.nan] * 3
    if n_alive:
        quantiles = best.quantile(best.new_tensor([0.5, 0.9, 1.0])).tolist()
    metrics = {
        "dissection/n_units": float(n_units),
        "dissection/n_dead": float(dissection.dead.sum()),
        "dissection/n_constant": float(dissection.constant.sum()),
        "dissection/fraction": n_found / n_units,
        "dissection/fraction_alive": n_found / n_alive if n_alive else math.nan,
        "dissection/iou_p50": quantiles[0],
        "dissection/iou_p90": quantiles[1],
        "dissection/iou_max": quantiles[2],
    }
    groups = {"dissection": found}
    for index, category in enumerate(dissection.spec.categories):
        groups[f"dissection/{category}"] = found & (dissection.category == index)
    for index, layer in enumerate(dissection.layers):
        groups[f"dissection/{layer}"] = found & (dissection.layer_of == index)
    for name, group in groups.items():
        metrics[f"{name}/interpretable"] = float(group.sum())
        metrics[f"{name}/unique"] = float(len(dissection.concept[group].unique()))
    return metrics


def _require_settings(
    layers: Sequence[str],
    quantile: float,
    iou: float,
    places: Mapping[str, Place] | None,
) -> None:
    if not 0 < quantile < 1 or not 0 < iou <= 1:
        raise ValueError(
            f"quantile must lie in (0, 1) and iou in (0, 1], got {quantile:g} and {iou:g}"
        )
    if places is not None and not set(layers) <= set(places):
        lacking = sorted(set(layers) - set(places))
        raise ValueError(f"places must have every layer that is dissected, {lacking} are not there")


def _exactly(
    n_images: int, batches: Iterator[ConceptBatch], spec: ConceptSpec
) -> Iterator[ConceptBatch]:
    n_seen = 0
    for batch in batches:
        check_batch(batch, spec)
        n_seen += len(batch.images)
        if n_seen > n_images:
            break
        yield batch
    if n_seen != n_images:
        more = "more" if n_seen > n_images else n_seen
        raise ValueError(f"both passes must see n_images = {n_images} images, {more} came")


def _require_size(batch: ConceptBatch, sizes: list[int], number: int) -> None:
    if [len(batch.images)] != sizes[number : number + 1]:
        raise ValueError(
            f"both passes must see the same batches, but batch {number} has {len(batch.images)} "
            f"images in the second and {sizes[number : number + 1]} in the first"
        )


def _conclude(
    spec: ConceptSpec,
    units: dict[str, Units],
    tally: Tally,
    iou_threshold: float,
    n_images: int,
) -> Dissection:
    on_any = tally.concept.cpu() > 0
    if not on_any.any():
        raise ValueError(f"the images must carry concepts, none of the {n_images} carries any")
    iou = tally.iou().cpu()
    widths = torch.tensor([len(unit.threshold) for unit in units.values()])
    dead = torch.cat([unit.dead.cpu() for unit in units.values()])
    constant = torch.cat([unit.constant.cpu() for unit in units.values()])
    concept, best = iou.argmax(1), iou.amax(1).masked_fill(dead | constant, 0)
    return Dissection(
        spec=spec,
        layers=tuple(units),
        layer_of=torch.arange(len(units)).repeat_interleave(widths),
        channel=torch.cat([torch.arange(width) for width in widths.tolist()]),
        best_iou=best,
        concept=concept.masked_fill(best == 0, -1),
        category=spec.category_of[concept].masked_fill(best == 0, -1),
        threshold=torch.cat([unit.threshold.cpu() for unit in units.values()]),
        dead=dead,
        constant=constant,
        iou=dict(zip(units, iou.split(widths.tolist()), strict=True)),
        iou_threshold=iou_threshold,
        n_images=n_images,
        empty_concepts=tuple(
            name for name, found in zip(spec.names, on_any.tolist(), strict=True) if not found
        ),
    )

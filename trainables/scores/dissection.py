"""From a network and images with concept maps to what its units detect."""

import difflib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn

from mis import (
    ConceptBatch,
    ConceptSpec,
    Dissection,
    Place,
    dissect,
    require_images,
    summarize_dissection,
    watching,
)
from pruning import Structure
from trainables.config import DissectionConfig, TrialConfig
from trainables.datasets.broden import broden_folder
from trainables.datasets.concept_maps import ConceptSource, LabelledBatch, generated_concepts
from trainables.datasets.images import normalise
from trainables.networks import UnitLayer, cell_centres, unit_layers
from trainables.scores.rotated import read_through
from trainables.training.compute import autocast, resolve_precision

_MANY_LAYERS = 12  # of more than these the counts a layer are in the table alone


def concept_source(config: TrialConfig, cache: Path) -> ConceptSource:
    """The images with concept maps that `config.dissection` names.

    Raises ValueError for a data set without maps, and for a folder that is not as it must be.
    """
    wanted = _wanted(config)
    if wanted.concepts == "broden":
        folder = Path(wanted.path or "")
        return broden_folder(folder, config.data.pixels, wanted.n_images, wanted.digest)
    source = generated_concepts(config.data, cache)
    if wanted.n_images is None:
        return source
    require_n_images(wanted, len(source))
    return _First(source, wanted.n_images)


def require_n_images(wanted: DissectionConfig, n_images: int) -> None:
    """Raise ValueError where more images are dissected than the generated ones."""
    if wanted.n_images is not None and wanted.n_images > n_images:
        raise ValueError(
            f"dissection.n_images must be at most the {n_images} images with concept maps, got "
            f"{wanted.n_images}"
        )


@dataclass(frozen=True)
class _First:
    """The first n images of a source."""

    source: ConceptSource
    n: int

    @property
    def spec(self) -> ConceptSpec:
        return self.source.spec

    @property
    def digest(self) -> str:
        return f"{self.source.digest}-{self.n}"

    def __len__(self) -> int:
        return self.n

    def batches(self, batch_size: int) -> Iterator[LabelledBatch]:
        left = self.n
        for batch in self.source.batches(batch_size):
            if left <= 0:
                return
            yield tuple(part[:left] for part in batch)  # type: ignore[misc]
            left -= len(batch[0])


def dissected_layers(
    network: nn.Module, config: DissectionConfig, structure: Structure | None = None
) -> list[UnitLayer]:
    """The layers that are dissected: those named, or every one that gives maps.

    Raises ValueError for a name that is no layer with maps, telling those that are nearest.
    """
    maps = [layer for layer in unit_layers(network, "relu", structure) if not layer.rows]
    if not config.layers:
        return maps
    known = {layer.title: layer for layer in maps}
    for name in config.layers:
        if name not in known:
            raise ValueError(
                f"dissection.layers must be layers with maps, {name!r} is none; the nearest are "
                f"{', '.join(difflib.get_close_matches(name, known, n=5, cutoff=0))}"
            )
    return [known[name] for name in config.layers]


def check_dissection(network: nn.Module, config: TrialConfig, cache: Path) -> None:
    """Raise ValueError, in one sentence, for what would make `dissect_network` fail.

    network: in eval mode afterwards; run on one blank image, for the sizes of its maps.
    """
    require_dissectable(network, config, len(concept_source(config, cache)))


def require_dissectable(network: nn.Module, config: TrialConfig, n_images: int) -> None:
    """As `check_dissection`, of so many images with concept maps; shapes alone are looked at."""
    wanted = _wanted(config)
    layers = dissected_layers(network, wanted)

    def see(layer: str, maps: Tensor) -> None:
        require_images(n_images, wanted.quantile, layer, maps)

    if wanted.aligned:
        _places(network, layers, config.data.pixels)
    device, pixels = next(network.parameters()).device, config.data.pixels
    with watching(network.eval(), [layer.name for layer in layers], {}, see) as run:
        run(torch.zeros(1, 3, pixels, pixels, device=device))


def dissect_network(
    network: nn.Module, config: TrialConfig, cache: Path, structure: Structure | None = None
) -> tuple[dict[str, float], pd.DataFrame]:
    """What the units detect: its summary by metric name, and a table with a row per unit.

    structure: of the network; read anew where it is not at hand. A concept that no image shows is
    no error; a warning names it.
    Columns: layer, channel, state (alive, constant, dead), iou (the best), concept, category (None
    where iou is 0), threshold, detector.
    """
    wanted, source = _wanted(config), concept_source(config, cache)
    layers = dissected_layers(network, wanted, structure)
    network.eval()
    device = next(network.parameters()).device
    sizes = [len(network.get_parameter(f"{layer.layer}.weight")) for layer in layers]

    def batches() -> Iterator[ConceptBatch]:
        for _, images, pixel_labels, image_labels in source.batches(config.compute.eval_batch_size):
            yield ConceptBatch(
                normalise(images.to(device)), pixel_labels.to(device), image_labels.to(device)
            )

    with autocast(resolve_precision(config.compute, device), device), torch.inference_mode():
        dissection = dissect(
            network,
            [layer.name for layer in layers],
            batches,
            source.spec,
            n_images=len(source),
            quantile=wanted.quantile,
            iou=wanted.iou,
            through=read_through(layers, sizes, config),
            places=_places(network, layers, config.data.pixels) if wanted.aligned else None,
        )
    dissection = _titled(dissection, layers)
    _tell_empty(dissection)
    metrics = summarize_dissection(dissection)
    if len(layers) > _MANY_LAYERS:
        names = {f"dissection/{layer.title}/" for layer in layers}
        metrics = {n: v for n, v in metrics.items() if n.rpartition("/")[0] + "/" not in names}
    return metrics, _table(dissection)


def _places(network: nn.Module, layers: list[UnitLayer], pixels: int) -> dict[str, Place]:
    centres = cell_centres(network)
    found = {layer.name: centres[layer.layer] for layer in layers}
    return {name: Place(at.first / pixels, at.step / pixels) for name, at in found.items()}


def _titled(found: Dissection, layers: list[UnitLayer]) -> Dissection:
    """With the layers' names for people, for those of the modules at which they were read."""
    iou = {layer.title: found.iou[layer.name] for layer in layers}
    return replace(found, layers=tuple(iou), iou=iou)


def _tell_empty(found: Dissection) -> None:
    empty, n_concepts = found.empty_concepts, len(found.spec.names)
    if empty:
        some = ", ".join(empty[:5]) + (", …" if len(empty) > 5 else "")
        warnings.warn(
            f"{len(empty)} of {n_concepts} concepts are on no pixel of the {found.n_images} images "
            f"and can be no unit's label: {some}",
            stacklevel=2,
        )


def _table(found: Dissection) -> pd.DataFrame:
    def named(index: int, names: tuple[str, ...]) -> str | None:
        return None if index < 0 else names[index]

    states = [
        "dead" if d else "constant" if c else "alive"
        for d, c in zip(found.dead.tolist(), found.constant.tolist(), strict=True)
    ]
    return pd.DataFrame(
        {
            "layer": [found.layers[i] for i in found.layer_of.tolist()],
            "channel": found.channel.numpy(),
            "state": states,
            "iou": found.best_iou.numpy(),
            "concept": [named(i, found.spec.names) for i in found.concept.tolist()],
            "category": [named(i, found.spec.categories) for i in found.category.tolist()],
            "threshold": found.threshold.numpy(),
            "detector": found.interpretable.numpy(),
        }
    )


def _wanted(config: TrialConfig) -> DissectionConfig:
    if config.dissection is None:
        raise ValueError("this trial is not dissected: dissection is None")
    return config.dissection

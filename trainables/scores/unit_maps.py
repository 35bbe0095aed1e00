"""Where in its pictures a unit is active: maps of units on chosen images, of few cells each."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mis import watching
from trainables.datasets.ahead import network_inputs
from trainables.datasets.images import ImageSet
from trainables.networks import UnitLayer, cell_centres, through, unit_layers

MOST_CELLS = 16  # of a map's side: more than can be seen in a picture of a hundred pixels
_BATCH = 64


@dataclass(frozen=True)
class LayerMaps:
    """maps: float32 [unit, image, h, w], at least 0, of what later layers see. first, step: along
    either side the cells' centres lie at first + c x step, in sides of the picture."""

    maps: np.ndarray
    first: float
    step: float


def unit_maps(
    network: nn.Module, images: ImageSet, wanted: Mapping[str, np.ndarray], pixels: int
) -> dict[str, LayerMaps]:
    """Title of a layer -> the maps of its units, for layers that give maps.

    network: in evaluation mode. wanted: title -> int [unit, image], the ids of each unit's images.
    pixels: of the picture's side. One pass over all images that any unit wants.
    """
    layers = [each for each in unit_layers(network, "relu") if _gives(network, each, wanted)]
    if not layers:
        return {}
    gathered = {layer.name: _Gathered(wanted[layer.title]) for layer in layers}
    ids = np.unique(np.concatenate([wanted[layer.title].ravel() for layer in layers]))
    seen = {layer.name: 0 for layer in layers}
    device, now = next(network.parameters()).device, torch.zeros(0, dtype=torch.int64)

    def see(name: str, maps: Tensor) -> None:
        gathered[name].add(now, maps)
        seen[name] = maps.shape[-1]

    read = through(layers)
    names = [layer.name for layer in layers]
    with watching(network, names, {n: f for n, f in read.items() if n in names}, see) as run:
        for batch, x, _ in network_inputs(images, torch.from_numpy(ids).long(), _BATCH, device):
            now = batch
            run(x)
    places = _places(network, layers, pixels)
    return {
        layer.title: _placed(gathered[layer.name].maps, seen[layer.name], places.get(layer.layer))
        for layer in layers
    }


def packed(maps: np.ndarray) -> np.ndarray:
    """uint8 [n]: all cells in 4 bits each, the first in the low half; 15 is the most of a unit on
    its images. maps: [unit, image, h, w], at least 0."""
    most = maps.reshape(len(maps), -1).max(axis=1, initial=0)
    scaled = maps / np.where(most > 0, most, 1)[:, None, None, None]
    cells = np.clip((scaled * 15).round(), 0, 15).astype(np.uint8).ravel()
    cells = np.append(cells, np.zeros(len(cells) % 2, np.uint8))
    return cells[::2] | cells[1::2] << 4


class _Gathered:
    """The maps that units of one layer want, filled batch by batch."""

    def __init__(self, wanted: np.ndarray) -> None:
        self.n_units, self.n_images = wanted.shape
        self.order = torch.from_numpy(np.argsort(wanted.ravel(), kind="stable"))
        self.sorted = torch.from_numpy(np.sort(wanted.ravel()).astype(np.int64))
        self._maps: Tensor | None = None

    def add(self, ids: Tensor, maps: Tensor) -> None:
        """ids: int64 [image], ascending; maps: [image, unit, h, w]."""
        start = int(torch.searchsorted(self.sorted, ids[0]))
        end = int(torch.searchsorted(self.sorted, ids[-1], right=True))
        places = self.order[start:end]
        image = torch.searchsorted(ids, self.sorted[start:end])
        few = (min(maps.shape[2], MOST_CELLS), min(maps.shape[3], MOST_CELLS))
        if few != maps.shape[2:]:
            maps = F.adaptive_avg_pool2d(maps, few)
        if self._maps is None:
            self._maps = torch.zeros(self.n_units * self.n_images, *few)
        self._maps[places] = maps.cpu()[image, places // self.n_images].clamp(min=0)

    @property
    def maps(self) -> np.ndarray:
        if self._maps is None:
            raise ValueError("maps must have been added")
        return self._maps.unflatten(0, (self.n_units, self.n_images)).numpy()


def _gives(network: nn.Module, layer: UnitLayer, wanted: Mapping[str, np.ndarray]) -> bool:
    """Whether the layer gives maps, of as many units as are wanted."""
    width = len(network.get_parameter(f"{layer.layer}.weight"))
    return not layer.rows and width == len(wanted.get(layer.title, ()))


def _places(
    network: nn.Module, layers: list[UnitLayer], pixels: int
) -> dict[str, tuple[float, float]]:
    """Layer -> first and step of its cells; none of a network where that cannot be told."""
    try:
        centres = cell_centres(network)
    except ValueError:
        return {}
    known = [layer.layer for layer in layers if layer.layer in centres]
    return {name: (centres[name].first / pixels, centres[name].step / pixels) for name in known}


def _placed(maps: np.ndarray, n_cells: int, place: tuple[float, float] | None) -> LayerMaps:
    first, step = place or (0.5 / n_cells, 1 / n_cells)
    together = n_cells / maps.shape[-1]  # cells of the network in one of these
    return LayerMaps(maps, first + (together - 1) / 2 * step, step * together)

"""Pictures of what chosen units answer to, in the pruned network and in the dense one."""

import torch
from PIL import Image
from torch import Tensor

from mis import UNIT_STATES, choose_units, draw_unit, panel_of
from trainables.datasets.images import ImageSet
from trainables.scores.mis import Measured

_UNITS_OF_A_KIND = 2


def gallery(measured: Measured, dense: Measured | None, images: ImageSet) -> dict[str, Image.Image]:
    """File name -> picture: the best, the median and the worst units of a trial, and those that
    pruning changed most, each with one task; beside the same unit of the dense network.

    Units of the layers that count are chosen among those with a score in both networks.
    """
    other = measured if dense is None else dense
    hidden = ~measured.counted
    chosen = choose_units(
        measured.mis.masked_fill(hidden, torch.nan), other.mis, n=_UNITS_OF_A_KIND
    )
    networks = [("this trial", measured)]
    if dense is not None:
        networks.insert(0, ("dense", dense))
    pictures: dict[str, Image.Image] = {}
    for kind, units in chosen.items():
        if dense is None and kind in ("clearer", "less_clear"):
            continue
        for place, unit in enumerate(units, start=1):
            layer = measured.layers[int(measured.layer_of[unit])]
            channel = int(measured.channel[unit])
            panels = [
                panel_of(
                    network.shown,
                    unit,
                    title=title,
                    mis=float(network.mis[unit]),
                    state=UNIT_STATES[int(network.state[unit])],
                )
                for title, network in networks
            ]
            heading = f"{layer}, channel {channel}: {_said(kind)}"
            shown = _Shown(images)
            name = f"{kind}_{place}_{layer}_{channel}"
            pictures[name] = Image.fromarray(draw_unit(shown, heading, panels))
    return pictures


def _said(kind: str) -> str:
    """What a picture says of its unit; of an extreme one, that it was picked for it."""
    said = kind.replace("_", " ")
    return said if kind == "median" else f"{said} (the most extreme of many: partly by chance)"


class _Shown:
    """An image set as `draw_unit` reads it: uint8 [h, w, 3] by image id."""

    def __init__(self, images: ImageSet) -> None:
        self.images = images

    def __getitem__(self, image: int) -> Tensor:
        _, pixels, _ = next(iter(self.images.batches(torch.tensor([int(image)]), 1)))
        return pixels[0].permute(1, 2, 0)

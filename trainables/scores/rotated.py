"""A control: units whose layer is rotated, so that its axes are as good as any other directions.

Bau, Zhou, Khosla, Oliva, Torralba 2017 (arXiv 1704.05796), Sec. 3.2: a layer's units times a random
orthogonal matrix carry the same information at the same accuracy. What a score says of such units
it owes to the layer and the images, and not to single units.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from mis.reading import Through
from trainables.config import TrialConfig
from trainables.networks import UnitLayer, through
from trainables.randomness import generator


def read_through(layers: list[UnitLayer], sizes: list[int], config: TrialConfig) -> Through:
    """What the layers' outputs go through before scores see them, rotated where the trial is.

    sizes: units of each layer. Trials of one seed have the same rotations.
    """
    if not config.score.rotated:
        return through(layers)
    return {
        layer.name: _Rotated(layer, random_rotation(n, generator(config.seed, "rotated", i)))
        for i, (layer, n) in enumerate(zip(layers, sizes, strict=True))
    }


def random_rotation(n: int, generator: torch.Generator) -> Tensor:
    """float64 [n, n], an orthogonal matrix; all are equally likely (Mezzadri 2007, arXiv
    math-ph/0609050, Sec. 5)."""
    drawn = torch.randn(n, n, generator=generator, dtype=torch.float64)
    q, r = torch.linalg.qr(drawn)
    return q * r.diagonal().sign()


class _Rotated:
    """Outputs of a layer, float32 [image, unit, ...], as its units, rotated."""

    def __init__(self, layer: UnitLayer, rotation: Tensor) -> None:
        self.through: Callable[[Tensor], Tensor] = layer.through
        self.rotation = rotation.float()

    def __call__(self, outputs: Tensor) -> Tensor:
        values = self.through(outputs)
        with torch.autocast(values.device.type, enabled=False):
            rotated = values.movedim(1, -1) @ self.rotation.to(values.device).T
        return rotated.movedim(-1, 1)

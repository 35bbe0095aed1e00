"""Is it still the same unit? What units answer to images, beside their twins in the dense network.

Not on the probe images: who stayed is told on images on which no change of a score is measured.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from mis import UNIT_STATES, Twins, twins, watching
from pruning import Structure
from trainables.config import TrialConfig
from trainables.datasets.ahead import network_inputs
from trainables.datasets.images import Data
from trainables.memo import Memo
from trainables.networks import through, unit_layers
from trainables.training.compute import autocast, place, resolve_device, resolve_precision
from trainables.training.dense import dense_key, load_dense
from trainables.training.evaluate import ids_per_epoch

VERSION = 1  # raise it when what is kept of the dense network changes
MOST = 500  # validation images: errors of correlations are below .05, and it is a short pass
_FEWEST = 10  # of which correlations say something
_ALIVE = UNIT_STATES.index("alive")
_GONE = [UNIT_STATES.index(state) for state in ("constant", "dead")]


@dataclass(frozen=True)
class Same:
    """before: by what a unit is before its ReLU (after its BatchNorm, and so with the sign of its
    scale); after: by what of it is above 0, where a ReLU reads it next, else the same again."""

    before: Twins
    after: Twins

    def summed_up(
        self, state: Tensor, counted: Tensor, channel: Tensor
    ) -> tuple[dict[str, float], dict[str, Tensor]]:
        """Metrics by name, and columns of the table of units.

        same/before, same/after: mean correlation of units with their dense twins; same/own: the
        share of units that go with no other unit of their layer as closely; over units that are
        alive and count, left out where there are none. twin_…, match_…: float32 [unit], NaN of
        units that are dead or constant; match_channel_…: int32, -1 of these.
        state: int8 [unit]; counted: bool [unit]; channel: int64 [unit].
        """
        gone = torch.isin(state, torch.tensor(_GONE, dtype=state.dtype))
        columns = {}
        for name in ("before", "after"):
            each: Twins = getattr(self, name)
            columns[f"twin_{name}"] = each.twin.float().masked_fill(gone, math.nan)
            columns[f"match_{name}"] = each.match.float().masked_fill(gone, math.nan)
            columns[f"match_channel_{name}"] = each.match_channel.int().masked_fill(gone, -1)
        chosen = counted & (state == _ALIVE) & columns["twin_before"].isfinite()
        if not chosen.any():
            return {}, columns
        itself = columns["match_channel_before"] == channel
        return {
            "same/before": float(columns["twin_before"][chosen].double().mean()),
            "same/after": float(columns["twin_after"][chosen].double().nanmean()),
            "same/own": float(itself[chosen].double().mean()),
        }, columns


def beside_dense(
    network: nn.Module,
    config: TrialConfig,
    data: Data,
    cache: Path,
    layer_of: Tensor,
    structure: Structure | None = None,
) -> Same | None:
    """Each unit of `network` beside the dense network's; None where the images are too few.

    layer_of: int64 [unit], of `network`, which has the dense network's units. The dense network's
    answers are kept in the cache: of GoogLeNet 29 MB.
    """
    if len(data.val) < _FEWEST:
        return None
    device = resolve_device(config.compute)
    precision = resolve_precision(config.compute, device)
    depends_on = [VERSION, dense_key(config, data), data.val.digest, config.score.read_at]
    depends_on += [precision, MOST]

    def of_dense() -> list[Tensor]:
        dense = place(load_dense(config, data, cache), device)
        return _means(dense, config, data, precision)

    before, after = Memo(cache).of("dense-units", depends_on, of_dense)
    own = _means(network, config, data, precision, structure)
    return Same(twins(own[0], before, layer_of), twins(own[1], after, layer_of))


@torch.inference_mode()
def _means(
    network: nn.Module,
    config: TrialConfig,
    data: Data,
    precision: str,
    structure: Structure | None = None,
) -> list[Tensor]:
    """Means over the places of each unit before its ReLU, and after it: float32 [image, unit]."""
    network.eval()
    layers = unit_layers(network, config.score.read_at, structure)
    silenced = {layer.name for layer in layers if layer.silenced}
    ids = ids_per_epoch(data.val.labels, min(MOST, len(data.val)))
    rows: list[list[Tensor]] = [[], []]
    found: dict[str, tuple[Tensor, Tensor]] = {}

    def see(layer: str, values: Tensor) -> None:
        before = _mean(values)
        found[layer] = before, _mean(values.clamp(min=0)) if layer in silenced else before

    names = [layer.name for layer in layers]
    device = next(network.parameters()).device
    inputs = network_inputs(data.val, ids, config.compute.eval_batch_size, device)
    with (
        autocast(precision, device),
        watching(network, names, through(layers), see, dims=(2, 4)) as run,
    ):
        for _, x, _ in inputs:
            run(x)
            for place_, kept in enumerate(rows):
                kept.append(torch.cat([found[name][place_] for name in names], 1).cpu())
    return [torch.cat(kept) for kept in rows]


def _mean(values: Tensor) -> Tensor:
    """float32 [image, unit], a copy: what comes after may overwrite what was seen."""
    return values.flatten(2).mean(2) if values.ndim > 2 else values.clone()

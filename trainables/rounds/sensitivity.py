"""How much accuracy each layer costs when it alone is pruned, and nothing is trained."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from pruning import KeepMask, keep_top, masks_of
from trainables.config import TrialConfig
from trainables.config.sensitivity import SensitivityConfig
from trainables.datasets.ahead import network_inputs
from trainables.datasets.images import Data
from trainables.randomness import generator
from trainables.rounds.importance import importance
from trainables.rounds.pruned import PrunedNetwork
from trainables.training.again import Again
from trainables.training.compute import autocast

Row = dict[str, float | str]


def measure_sensitivity(
    network: nn.Module,
    config: TrialConfig,
    data: Data,
    cache: Path,
    precision: str,
    progress: Callable[[int, int], None] | None = None,
) -> list[Row]:
    """A row per layer and rate: layer, rate, top1 (of the network with this layer alone pruned),
    dense (of the network whole, on the same images), n_images, granularity, criterion.

    None of a trial that asks for none. network: in evaluation mode afterwards, its weights as they
    were. What comes before a layer is computed once per batch for all layers. progress: called with
    images done and in all.
    """
    asked = config.sensitivity
    if asked is None:
        return []
    masks = _masks(network, asked, config, data, cache)
    n = len(data.val) if asked.n_images is None else min(asked.n_images, len(data.val))
    chosen = torch.randperm(len(data.val), generator=generator(config.seed, "sensitivity"))[:n]
    device = next(network.parameters()).device
    again, dense = Again(network), 0
    right = dict.fromkeys(masks, 0)
    done = 0
    batches = network_inputs(data.val, chosen.sort().values, config.compute.eval_batch_size, device)
    with torch.inference_mode(), autocast(precision, device):
        for ids, x, answers in batches:
            dense += _right(again.whole(x), answers)
            for which, keep in masks.items():
                with _masked(network, keep):
                    modules = {name.rpartition(".")[0] for name in keep}
                    right[which] += _right(again.after(modules), answers)
            done += len(ids)
            if progress is not None:
                progress(done, n)
    said = {"granularity": asked.granularity, "criterion": asked.criterion}
    return [
        {
            **{"layer": layer, "rate": rate, "top1": count / n},
            **{"dense": dense / n, "n_images": float(n)},
            **said,
        }
        for (layer, rate), count in right.items()
    ]


def _masks(
    network: nn.Module, asked: SensitivityConfig, config: TrialConfig, data: Data, cache: Path
) -> Mapping[tuple[str, float], KeepMask]:
    """(layer, rate) -> masks of it and of what follows it."""
    config = replace(config, prune=asked.prune, sensitivity=None)
    pruned = PrunedNetwork(network, asked.prune)
    masks = {}
    for name, each in importance(pruned, config, data, cache, 0).items():
        for rate in asked.rates:
            groups = keep_top({name: each}, rate, scope="layer")
            keep = masks_of(network, groups, asked.granularity, pruned.structure)
            # One that keeps all is no mask: what follows other layers is left out.
            told = {n: mask for n, mask in keep.items() if n == name or not mask.all()}
            masks[name.removesuffix(".weight"), rate] = told
    return masks


def _right(logits: Tensor, labels: Tensor) -> int:
    return int((logits.argmax(1) == labels).sum())


@contextmanager
def _masked(network: nn.Module, keep: KeepMask) -> Iterator[None]:
    """Within, what is masked is zero; after it all is as it was."""
    parameters = {name: network.get_parameter(name) for name in keep}
    before = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    for name, parameter in parameters.items():
        parameter.mul_(keep[name].to(parameter))
    try:
        yield
    finally:
        for name, parameter in parameters.items():
            parameter.copy_(before[name])

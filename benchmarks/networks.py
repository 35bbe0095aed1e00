"""Every convolutional classification network of torchvision, and twelve of timm: can it be
followed, pruned, compacted, are its units read, has LRP rules for it?

Random masks, float64: the compacted network must equal the masked one in outputs and in gradients,
and the filters that could go must have gone. docs/networks.md is what `--page` wrote.
"""

import argparse
import copy
import dataclasses
import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.coverage_page import page
from pruning import (
    Held,
    KeepMask,
    compact,
    require_rules,
    structure_of,
    survivors_of,
    what_is_lost,
    with_followers,
)
from pruning.compaction import Survivors, chosen
from pruning.liveness import zero_channels
from pruning.structure import Structure, is_depthwise
from trainables.config import NetworkConfig
from trainables.network_names import TIMM, torchvision_names
from trainables.networks import build_network, unit_layers

KINDS = ("filter", "input_channel", "weight")
TIMM_NAMES = (
    *("resnet18", "resnet50d", "seresnext50_32x4d", "densenet121", "mobilenetv3_small_100"),
    *("efficientnet_b0", "regnety_004", "hrnet_w18_small", "darknet53", "dla34", "repvgg_a0"),
    "res2net50_26w_4s",
)
_RATE, _CLASSES = 0.5, 10
_LARGE = 100e6  # weights from which on 32 bits must do
_PIXELS = {"inception_v3": 75, "alexnet": 63}  # the smallest that they take


@dataclass(frozen=True)
class Compacted:
    """What became of a network under one kind of masks.

    n_empty: filters without a weight. n_could: those of which all that is summed with them, too, is
    empty. n_removed: filters that are gone. outputs, gradients: largest difference from the masked
    network, relative to the largest value; of a gradient to the largest of any. params: before and
    after.
    """

    n_empty: int
    n_could: int
    n_removed: int
    outputs: float
    gradients: float
    params: tuple[int, int]


@dataclass(frozen=True)
class Coverage:
    """One network. lost: what cannot be done with it, as `make sweep` says it, or "". units: how
    many layers and units are read before the ReLU, or why they cannot be. lrp: why there is no rule
    for it, or ""."""

    name: str
    n_layers: int
    n_followed: int
    lost: str
    compacted: dict[str, Compacted]
    units: tuple[int, int] | str
    lrp: str
    bits: int


def network_of(name: str, dtype: torch.dtype | None = None) -> nn.Module:
    """With random weights, BatchNorm away from its defaults, and no dropout."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = build_network(NetworkConfig(name=name, weights="random"), _CLASSES)
    for module in network.modules():
        if isinstance(module, (nn.BatchNorm2d, nn.BatchNorm1d)):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0.1, 0.3)
        for chance in ("p", "dropout", "drop_prob", "drop_rate"):
            if isinstance(getattr(module, chance, None), float):
                setattr(module, chance, 0.0)
    large = _n_parameters(network) > _LARGE
    return network.to(dtype or (torch.float32 if large else torch.float64))


def coverage(name: str, kinds: Sequence[str] = KINDS, pixels: int | None = None) -> Coverage:
    """One row of the table; kinds: what the masks are of."""
    network = network_of(name)
    structure = structure_of(network)
    pixels = pixels or _PIXELS.get(name, 32)
    images = torch.randn(2, 3, pixels, pixels, dtype=next(network.parameters()).dtype)
    layers = [n for n, m in network.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    lrp = _lrp(network, structure)
    units = _units(copy.deepcopy(network), structure, images)
    return Coverage(
        name,
        len(layers),
        len(structure.layers),
        what_is_lost(structure),
        {kind: compacted(copy.deepcopy(network), structure, kind, images) for kind in kinds},
        units,
        lrp,
        torch.finfo(images.dtype).bits,
    )


def compacted(network: nn.Module, structure: Structure, kind: str, images: Tensor) -> Compacted:
    """Prune the network, which it changes, by masks of one kind, and compact it."""
    keep = with_followers(network, random_masks(network, structure, kind), structure)
    Held(network, keep).apply()
    kept = survivors_of(network, keep, structure)
    smaller = compact(network, kept)
    with torch.no_grad():
        want, got = network.eval()(images), smaller.eval()(images)
    n_empty, n_could = _empty(network, structure, keep)
    removed = [
        len(network.get_parameter(f"{n}.weight")) - len(smaller.get_parameter(f"{n}.weight"))
        for n in structure.layers
    ]
    params = _n_parameters(network), _n_parameters(smaller)
    gradients = _gradients(network, smaller, keep, kept, images)
    apart = _difference([want], [got])
    return Compacted(n_empty, n_could, sum(removed), apart, gradients, params)


def random_masks(network: nn.Module, structure: Structure, kind: str) -> KeepMask:
    """Masks of every convolution but the first, the depthwise ones and the classes.

    Half of the emptied filters go with all that they are summed with, as they must to be removed.
    """
    generator = torch.Generator().manual_seed(1)
    sets = torch.rand(len(structure.fixed), generator=generator) >= _RATE / 2
    keep: KeepMask = {}
    followed = [n for n, m in network.named_modules() if isinstance(m, nn.Conv2d)]
    for name in followed[1:]:
        weight: Any = network.get_submodule(name).weight
        if is_depthwise(network.get_submodule(name)) or name in structure.outputs:
            continue
        n_rows, n_columns = weight.shape[:2]
        shape = {
            "filter": (n_rows, 1, 1, 1),
            "input_channel": (1, n_columns, 1, 1),
            "weight": tuple(weight.shape),
        }[kind]
        share = _RATE / 2 if kind == "filter" else _RATE
        mask = torch.rand(shape, generator=generator) >= share
        if kind == "filter" and structure.layers.get(name) in structure.tied:
            mask &= sets[structure.tied[structure.layers[name]]].reshape(shape)
        keep[f"{name}.weight"] = (mask if mask.any() else ~mask).expand(weight.shape).clone()
    return keep


def _empty(network: nn.Module, structure: Structure, keep: KeepMask) -> tuple[int, int]:
    """Filters without a weight, and those of them that nothing is summed with but others such."""
    zero = zero_channels(network, keep, structure)
    n_empty, layers, stays = 0, {}, structure.fixed.clone()
    for name, i in structure.layers.items():
        empty = torch.zeros(len(network.get_parameter(f"{name}.weight")), dtype=torch.bool)
        if f"{name}.weight" in keep:
            empty = ~keep[f"{name}.weight"].flatten(1).any(1)
        n_empty += int(empty.sum())
        if i in structure.tied:
            layers[i] = empty
            stays[structure.tied[i][~(empty & zero[i])]] = True
    could = [int((empty & ~stays[structure.tied[i]]).sum()) for i, empty in layers.items()]
    return n_empty, sum(could)


def _units(network: nn.Module, structure: Structure, images: Tensor) -> tuple[int, int] | str:
    """Layers and units, each read once where it is said to be."""
    found: dict[str, int] = {}
    network = network.eval()
    try:
        layers = unit_layers(network, "before_relu", structure)
        for layer in layers:
            width = len(network.get_parameter(f"{layer.layer}.weight"))

            def hook(_m: nn.Module, _i: object, output: Tensor, at: Any = (layer, width)) -> None:
                units = at[0].through(output.clone())
                if units.shape[:2] == (len(images), at[1]):
                    found[at[0].title] = at[1]

            network.get_submodule(layer.name).register_forward_hook(hook)
        with torch.no_grad():
            network(images)
    except Exception as error:  # which is the answer
        return f"{type(error).__name__}: {error}"
    missing = [layer.title for layer in layers if layer.title not in found]
    if missing or len(found) != len(layers):
        return f"{len(missing)} layers are not read: {', '.join(missing[:2])}"
    return len(found), sum(found.values())


def _lrp(network: nn.Module, structure: Structure) -> str:
    try:
        require_rules(network, structure)
    except ValueError as error:
        return str(error)
    return ""


def _gradients(
    network: nn.Module, smaller: nn.Module, keep: KeepMask, kept: Survivors, images: Tensor
) -> float:
    """In evaluation: BatchNorm over so few positions would amplify rounding."""
    found = []
    for each in (network, smaller):
        each.zero_grad()
        each(images).square().sum().backward()
        found.append({n: p.grad for n, p in each.named_parameters()})
    want, got = [], []
    for name, gradient in found[1].items():
        whole = found[0][name]
        if gradient is None or whole is None:
            continue
        if name in keep:
            whole = whole * keep[name]
        if name in kept:
            whole = chosen(whole, kept[name])
            gradient = gradient * chosen(keep[name], kept[name]) if name in keep else gradient
        elif name in keep:
            gradient = gradient * keep[name]
        want.append(whole), got.append(gradient)
    return _difference(want, got)


def _difference(want: list[Tensor], got: list[Tensor]) -> float:
    largest = max(float(w.abs().max()) for w in want)
    apart = max(float((w - g).abs().max()) for w, g in zip(want, got, strict=True))
    return apart / largest if largest else apart


def _n_parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def names() -> list[str]:
    """torchvision's classification networks but its transformers, and some of timm."""
    return [*torchvision_names(), *(f"{TIMM}{name}" for name in TIMM_NAMES)]


def main(argv: list[str] | None = None) -> None:
    """Print a line per network as it is known; `names` may be given as arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="default: all")
    parser.add_argument("--page", type=Path, help="write the table there, as Markdown")
    arguments = parser.parse_args(argv)
    rows = []
    for name in arguments.names or names():
        rows.append(coverage(name))
        print(json.dumps(dataclasses.asdict(rows[-1])), flush=True)
        if arguments.page is not None:
            arguments.page.write_text(page(rows, arguments.names or names()))


if __name__ == "__main__":
    main()

"""Every convolutional classification network of torchvision: can it be followed, pruned, compacted?

Random masks, float64: the compacted network must equal the masked one in outputs and in gradients,
and of the filters without a weight as many as can must be gone.
"""

import argparse
import copy
import warnings
from dataclasses import dataclass
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models import get_model, list_models

from pruning import (
    Held,
    KeepMask,
    compact,
    structure_of,
    survivors_of,
    with_followers,
)
from pruning.compaction import Survivors, chosen
from pruning.structure import Structure, is_depthwise

KINDS = ("filter", "input_channel", "weight")
_NO_CNN = ("vit_", "swin_", "maxvit_")  # attention between the convolutions
_RATE = 0.5
_CLASSES = 10


@dataclass(frozen=True)
class Coverage:
    """What became of one network under one kind of masks.

    n_empty: filters without a weight. n_removed: filters that are gone. outputs, gradients:
    largest difference from the masked network, relative to the largest value; of a gradient to
    the largest of any. params: before and after.
    """

    name: str
    kind: str
    n_layers: int
    n_followed: int
    n_empty: int
    n_removed: int
    outputs: float
    gradients: float
    params: tuple[int, int]
    ends: tuple[str, ...]


def network_of(name: str, dtype: torch.dtype = torch.float64) -> nn.Module:
    """Of torchvision, with random weights, BatchNorm away from its defaults, and no dropout."""
    torch.manual_seed(0)
    extra = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = get_model(name, weights=None, num_classes=_CLASSES, **extra)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0.1, 0.3)
        for chance in ("p", "dropout"):
            if isinstance(getattr(module, chance, None), float):
                setattr(module, chance, 0.0)
    return network.to(dtype)


def coverage(
    name: str, kind: str, pixels: int = 64, dtype: torch.dtype = torch.float64
) -> Coverage:
    """One row of the table; kind: what the masks are of."""
    network = network_of(name, dtype)
    structure = structure_of(network)
    keep = with_followers(network, _random(network, structure, kind), structure)
    Held(network, keep).apply()
    kept = survivors_of(network, keep, structure)
    smaller = compact(network, kept)
    images = torch.randn(2, 3, pixels, pixels, dtype=dtype)
    with torch.no_grad():
        want, got = network.eval()(images), smaller.eval()(images)
    empty = [
        ~keep[f"{layer}.weight"].flatten(1).any(1)
        for layer in structure.layers
        if f"{layer}.weight" in keep
    ]
    layers = [n for n, m in network.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    removed = [
        len(network.get_parameter(f"{n}.weight")) - len(smaller.get_parameter(f"{n}.weight"))
        for n in layers
    ]
    return Coverage(
        name,
        kind,
        len(layers),
        len(structure.layers),
        sum(int(e.sum()) for e in empty),
        sum(removed),
        _difference([want], [got]),
        _gradients(network, smaller, keep, kept, images),
        (_n_parameters(network), _n_parameters(smaller)),
        tuple(dict.fromkeys(end.why for end in structure.ends)),
    )


def _random(network: nn.Module, structure: Structure, kind: str) -> KeepMask:
    """Masks of every convolution but the first, the depthwise ones and the classes."""
    generator = torch.Generator().manual_seed(1)
    keep: KeepMask = {}
    followed = [n for n, m in network.named_modules() if isinstance(m, nn.Conv2d)]
    for name in followed[1:]:
        module = network.get_submodule(name)
        weight: Any = module.weight
        if is_depthwise(module) or name in structure.outputs:
            continue
        shape = {
            "filter": (len(weight), 1, 1, 1),
            "input_channel": (1, weight.shape[1], 1, 1),
            "weight": tuple(weight.shape),
        }[kind]
        mask = torch.rand(shape, generator=generator) >= _RATE
        keep[f"{name}.weight"] = (mask if mask.any() else ~mask).expand(weight.shape).clone()
    return keep


def _gradients(
    network: nn.Module, smaller: nn.Module, keep: KeepMask, kept: Survivors, images: Tensor
) -> float:
    """In evaluation: BatchNorm over so few positions would amplify rounding."""
    found = []
    for each in (copy.deepcopy(network), smaller):
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
    """torchvision's classification networks but its transformers."""
    return [n for n in list_models(module=torchvision.models) if not n.startswith(_NO_CNN)]


def main(argv: list[str] | None = None) -> None:
    """Print the table, a line as it is known; `names` may be given as arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="of torchvision; default: all")
    parser.add_argument("--kinds", default="filter", help=f"of {', '.join(KINDS)}, with commas")
    arguments = parser.parse_args(argv)
    print(
        "| network | masks of | layers | followed | empty filters | gone | parameters | outputs "
        "| gradients | ends |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name in arguments.names or names():
        for kind in arguments.kinds.split(","):
            large = name in ("regnet_y_128gf",)  # 644 million weights
            dtype = torch.float32 if large else torch.float64
            row = coverage(name, kind, 96 if name == "inception_v3" else 64, dtype)
            before, after = (n / 1e6 for n in row.params)
            print(
                f"| {name} | {kind} | {row.n_layers} | {row.n_followed} | {row.n_empty} | "
                f"{row.n_removed} | {before:.2f} → {after:.2f} M | {row.outputs:.0e} | "
                f"{row.gradients:.0e} | {'; '.join(row.ends)} |",
                flush=True,
            )


if __name__ == "__main__":
    main()

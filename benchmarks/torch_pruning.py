"""Torch-Pruning beside ours: the same filters of the same networks, traced, removed, compared.

make oracles installs it. CPU seconds of one thread, the least of some runs in turns, so that
neighbours on the machine matter little; equal means equal outputs in float64.
"""

import argparse
import copy
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.networks import network_of
from pruning import Held, KeepMask, compact, structure_of, survivors_of, with_followers
from pruning.structure import Structure, is_depthwise

NAMES = (
    *("alexnet", "vgg16_bn", "googlenet", "resnet18", "resnet50", "densenet121", "squeezenet1_1"),
    *("mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0", "regnet_y_400mf", "inception_v3"),
    "shufflenet_v2_x0_5",
)
_RATE, _RUNS = 0.5, 3


def removable(network: nn.Module, structure: Structure) -> dict[str, Tensor]:
    """Layer -> bool [filter], True where it is to go: half of the sets that are put together, of
    those that are convolutions' alone; in grouped layers as many of every group."""
    generator = torch.Generator().manual_seed(1)
    goes = torch.rand(len(structure.fixed), generator=generator) < _RATE
    goes &= ~structure.fixed
    first = next(iter(structure.layers.values()))
    goes[structure.tied[first]] = False
    for i, n_parts in structure.balanced:
        goes[structure.tied[i]] = False  # which of a group may go is told in different ways
        del n_parts
    for i in structure.tied.values():
        if goes[i].all():  # something of every layer stays
            goes[i[0]] = False
    return {name: goes[structure.tied[i]] for name, i in structure.layers.items()}


def ours(network: nn.Module, gone: dict[str, Tensor]) -> nn.Module:
    """Traced and compacted; the network is left as it is."""
    structure = structure_of(network)
    keep = _masks(network, structure, gone)
    return compact(network, survivors_of(network, keep, structure))


def theirs(network: nn.Module, gone: dict[str, Tensor], images: Tensor) -> nn.Module:
    """The same by Torch-Pruning, on a copy."""
    import torch_pruning as tp

    smaller = copy.deepcopy(network)
    graph = tp.DependencyGraph().build_dependency(smaller, example_inputs=images)
    structure, done = structure_of(network), set()
    for name, rows in gone.items():
        module: Any = smaller.get_submodule(name)
        sets = structure.tied[structure.layers[name]][rows].tolist()
        if not sets or sets[0] in done or is_depthwise(module):
            continue
        done.update(sets)
        is_linear = isinstance(module, nn.Linear)
        how = tp.prune_linear_out_channels if is_linear else tp.prune_conv_out_channels
        graph.get_pruning_group(module, how, rows.nonzero().flatten().tolist()).prune()
    return smaller


def _masks(network: nn.Module, structure: Structure, gone: dict[str, Tensor]) -> KeepMask:
    keep: KeepMask = {}
    for name, rows in gone.items():
        weight = network.get_parameter(f"{name}.weight")
        if rows.any() and not is_depthwise(network.get_submodule(name)):
            keep[f"{name}.weight"] = (
                ~rows.reshape(-1, *(1,) * (weight.dim() - 1)).expand(weight.shape)
            ).clone()
    return with_followers(network, keep, structure)


def compare(name: str) -> dict[str, Any]:
    """Largest differences from the masked network, numbers of parameters, and seconds of both."""
    network = network_of(name, torch.float64).eval()
    structure = structure_of(network)
    gone = removable(network, structure)
    Held(network, _masks(network, structure, gone)).apply()
    side = {"inception_v3": 96}.get(name, 64)
    images = torch.randn(2, 3, side, side, dtype=torch.float64)
    with torch.no_grad():
        want = network(images)
    found: dict[str, Any] = {"name": name, "gone": sum(int(rows.sum()) for rows in gone.values())}
    makers: dict[str, Callable[[], nn.Module]] = {
        "ours": lambda: ours(network, gone),
        "theirs": lambda: theirs(network, gone, images),
    }
    for _ in range(_RUNS):
        for who, make in makers.items():
            try:
                seconds, smaller = _timed(make)
                with torch.no_grad():
                    apart = float((smaller.eval()(images) - want).abs().max() / want.abs().max())
            except Exception as error:  # which is its answer
                found[who] = f"{type(error).__name__}: {str(error).splitlines()[0][:90]}"
                continue
            n_left = sum(p.numel() for p in smaller.parameters())
            best = min(seconds, found.get(who, (seconds,))[0])
            found[who] = (best, n_left, apart)
    return found


def _timed(make: Callable[[], nn.Module]) -> tuple[float, nn.Module]:
    start = time.process_time()
    made = make()
    return time.process_time() - start, made


def main(argv: list[str] | None = None) -> None:
    """Print the table; `names` may be given as arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"default: {', '.join(NAMES)}")
    torch.set_num_threads(1)
    print("| network | filters gone | ours, M | theirs, M | apart | apart, theirs | time |")
    print("|---|---|---|---|---|---|---|")
    for name in parser.parse_args(argv).names or NAMES:
        found = compare(name)
        mine, other = found["ours"], found["theirs"]
        if isinstance(other, str) or isinstance(mine, str):
            print(f"| {name} | {found['gone']} | {mine} | {other} | | | |", flush=True)
            continue
        print(
            f"| {name} | {found['gone']:,} | {mine[1] / 1e6:.3f} | {other[1] / 1e6:.3f} | "
            f"{mine[2]:.0e} | {other[2]:.0e} | {mine[0]:.2f} s, {mine[0] / other[0]:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()

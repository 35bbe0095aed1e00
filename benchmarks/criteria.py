"""Which filters can go? Criteria on fresh trainings of the demo's dense network, beside chance.

A quarter of the filters of every layer is pruned, BatchNorm is recalibrated, nothing is trained:
top-1 of every criterion and network. A criterion may be called better than another only by
networks that did not choose it, so name seeds that were not looked at before.

python -m benchmarks criteria --seeds 10 11 12 [--rate 0.25] [--results results/criteria]
"""

import argparse
import copy
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from pruning import (
    Held,
    KeepMask,
    batchnorm_of,
    choose_keep,
    prunable_weights,
    score_groups,
    structure_of,
)
from sweeps.studies import load_study
from trainables.config import TrialConfig
from trainables.datasets.images import Data, normalise
from trainables.datasets.loading import load_data
from trainables.dense import load_dense, missing_dense, train_dense
from trainables.evaluate import accuracy_metrics, predict
from trainables.finetune import recalibrate
from trainables.importance import samples

CPU = torch.device("cpu")
DRAWS = 5  # of chance
ROUNDS = 5
Scores = Mapping[str, Tensor]


def outgoing_l1(network: nn.Module) -> dict[str, Tensor]:
    """Sum of |w| over the weights that read a filter; [filter] of every prunable convolution."""
    structure = structure_of(network)
    totals = {
        i: torch.zeros(step.width, dtype=torch.float64)
        for i, step in enumerate(structure.steps)
        if step.width is not None
    }
    for i in reversed(range(len(structure.steps))):  # from the readers to what they read
        step, start = structure.steps[i], 0
        for number in step.inputs:
            if number not in totals:
                continue
            if step.op == "layer":
                weight = network.get_parameter(f"{step.name}.weight").detach().double().abs()
                columns = weight.flatten(2).sum((0, 2)) if weight.dim() == 4 else weight.sum(0)
                totals[number] += columns.reshape(len(totals[number]), -1).sum(1)
            elif i in totals:
                width = len(totals[number])
                totals[number] += totals[i][start : start + width]
                start += width if step.op == "concat" else 0
    layers = structure.layers
    return {
        name: totals[layers[name.removesuffix(".weight")]] for name in prunable_weights(network)
    }


def batchnorm_scale(network: nn.Module) -> dict[str, Tensor]:
    """|weight of the BatchNorm that follows| (Liu et al. 2017, network slimming)."""
    follows = batchnorm_of(network)
    return {
        name: network.get_parameter(f"{follows[name.removesuffix('.weight')]}.weight")
        .detach()
        .double()
        .abs()
        for name in prunable_weights(network)
    }


def by_images(network: nn.Module, data: Data, seed: int, criterion: str, target: str) -> Scores:
    """Ten images per class, as the demo's trials take them."""
    ids = samples(data.train, 10, seed)
    batches = ((normalise(x), y) for _, x, y in data.train.batches(ids, 32))
    generator = torch.Generator()
    more = {"target": target} if criterion != "lrp" else {}
    return score_groups(network, criterion, "filter", generator=generator, batches=batches, **more)


def scores_of(name: str, network: nn.Module, data: Data, seed: int) -> Scores:
    """By the name of a row of the table."""
    if name == "outgoing L1":
        return outgoing_l1(network)
    if name == "BatchNorm scale":
        return batchnorm_scale(network)
    if name.startswith("chance"):
        generator = torch.Generator().manual_seed(1_000 * seed + int(name.split()[1]))
        return score_groups(network, "random", "filter", generator=generator)
    if name in ("L1", "L2"):
        return score_groups(network, name.lower(), "filter", generator=torch.Generator())
    criterion, _, target = name.removesuffix(f", {ROUNDS} rounds").lower().partition(" of the ")
    return by_images(network, data, seed, criterion, target or "loss")


NAMES = (
    *(f"chance {draw}" for draw in range(DRAWS)),
    *("L1", "L2", "outgoing L1", "BatchNorm scale", "LRP"),
    *("Taylor", "Taylor of the logit", f"Taylor, {ROUNDS} rounds"),
    *("gradient", "gradient of the logit", f"gradient, {ROUNDS} rounds"),
)


def top1(dense: nn.Module, data: Data, name: str, rate: float, seed: int) -> float:
    """Accuracy after the fraction `rate` of every layer's filters went; scored anew in each round,
    and recalibrated, but never trained."""
    network = copy.deepcopy(dense)
    n_rounds = ROUNDS if name.endswith("rounds") else 1
    keep: KeepMask | None = None
    for round_ in range(1, n_rounds + 1):
        scores = scores_of(name, network.eval(), data, seed)
        where = {"granularity": "filter", "scope": "layer"}
        keep = choose_keep(network, rate * round_ / n_rounds, scores, within=keep, **where)
        Held(network, keep).apply()
        recalibrate(network, data.train, 512, torch.Generator().manual_seed(seed))
    logits = predict(network, data.val, CPU, "fp32", 64)
    return accuracy_metrics(logits, data.val.labels)["val/top1"]


def dense_network(config: TrialConfig, data: Data, cache: Path) -> nn.Module:
    """Trained where it is not there yet, which takes minutes."""
    if missing_dense(config, data, cache):
        train_dense(config, data, cache)
    return load_dense(config, data, cache).eval()


def main(arguments: Sequence[str]) -> None:
    """Run it and print what came out, a column per network."""
    parser = argparse.ArgumentParser(
        prog="benchmarks criteria", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--seeds", type=int, nargs="+", required=True)
    parser.add_argument("--rate", type=float, default=0.25)
    parser.add_argument("--results", type=Path, default=Path("results/criteria"))
    asked = parser.parse_args(arguments)
    settings = {"prune": None, "finetune": None, "compute.device": "cpu"}
    settings |= {"compute.precision": "fp32"}
    base = load_study("demo").base.replace(settings)
    asked.results.mkdir(parents=True, exist_ok=True)
    data = load_data(base.data, asked.results)
    found: dict[str, list[float]] = {name: [] for name in ("dense", *NAMES)}
    for seed in asked.seeds:
        network = dense_network(base.replace({"seed": seed}), data, asked.results)
        logits = predict(network, data.val, CPU, "fp32", 64)
        found["dense"].append(accuracy_metrics(logits, data.val.labels)["val/top1"])
        for name in NAMES:
            found[name].append(top1(network, data, name, asked.rate, seed))
    Console(width=110).print(_table(found, asked.seeds, asked.rate))


def _table(found: Mapping[str, Sequence[float]], seeds: Sequence[int], rate: float) -> Table:
    chance = [
        statistics.fmean(each) for each in zip(*(found[n] for n in NAMES[:DRAWS]), strict=True)
    ]
    spread = [
        statistics.stdev(each) for each in zip(*(found[n] for n in NAMES[:DRAWS]), strict=True)
    ]
    table = Table(title=f"top-1, {rate:g} of the filters of every layer pruned, recalibrated")
    for heading in ("criterion", *(f"seed {seed}" for seed in seeds), "less chance, mean"):
        table.add_column(heading)
    rows = {"dense": found["dense"], "chance, mean": chance, f"chance, sd of {DRAWS}": spread}
    rows |= {name: found[name] for name in NAMES[DRAWS:]}
    for name, values in rows.items():
        apart = statistics.fmean(v - c for v, c in zip(values, chance, strict=True))
        more = "" if name.startswith("chance") else f"{apart:+.3f}"
        table.add_row(name, *(f"{value:.3f}" for value in values), more)
    return table


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])

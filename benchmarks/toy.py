"""The toy experiment of Yeom et al. (2021): 1,000 of 3,000 hidden units go at once, ranked by a few
samples a class, and nothing is trained afterwards. How much accuracy is left?

Read every row against "random": networks this wide bear the loss of a random third well.

python -m benchmarks toy [--seeds N] [--sets moon circle mult]
"""

import argparse
import copy
import math
from collections.abc import Callable
from statistics import fmean, stdev

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Generator, Tensor, nn

from pruning import LrpRules, lrp_importance, normalised

PER_CLASS = (1, 2, 5, 10, 20, 50, 100, 200)
SETS = {"moon": 2, "circle": 2, "mult": 4}
# Yeom et al. 2021, released log of the toy runs, 50 seeds: accuracy on the training data, %, after
# pruning with 1, 5 and 200 samples a class.
RELEASED = {
    "moon": {
        "lrp": (85.0, 99.86, 99.85),
        "taylor": (79.8, 84.8, 95.9),
        "gradient": (83.1, 86.2, 95.1),
        "weight": (99.60,) * 3,
        "unpruned": (99.90,) * 3,
    },
    "circle": {
        "lrp": (70.2, 99.98, 100.0),
        "taylor": (68.4, 87.2, 97.4),
        "gradient": (69.2, 82.2, 92.5),
        "weight": (97.10,) * 3,
        "unpruned": (100.0,) * 3,
    },
    "mult": {
        "lrp": (63.0, 91.9, 91.2),
        "taylor": (34.3, 77.3, 85.1),
        "gradient": (34.3, 68.0, 81.7),
        "weight": (91.00,) * 3,
        "unpruned": (94.95,) * 3,
    },
}

Samples = tuple[Tensor, Tensor]


def draw(name: str, per_class: int, generator: Generator) -> Samples:
    """Points float32 [per_class x classes, 2] and labels; the noise is ours, theirs is unknown."""
    points, labels = [], []
    for label in range(SETS[name]):
        t = torch.rand(per_class, generator=generator)
        noise = torch.randn(per_class, 2, generator=generator)
        if name == "moon":
            angle = math.pi * (t + label)
            centre = label * torch.tensor([1.0, 0.5])
            xy = torch.stack([angle.cos(), angle.sin()], 1) + centre
            noise *= 0.1
        elif name == "circle":
            angle = 2 * math.pi * t
            xy = (1.0 - 0.5 * label) * torch.stack([angle.cos(), angle.sin()], 1)
            noise *= 0.08
        else:
            radius = 0.1 + 1.4 * t
            angle = 2.5 * radius + label * math.pi / 2
            xy = radius[:, None] * torch.stack([angle.cos(), angle.sin()], 1)
            noise *= 0.12
        points.append(xy + noise)
        labels.append(torch.full((per_class,), label))
    return torch.cat(points), torch.cat(labels)


def mlp(n_classes: int, width: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in ((2, width), (width, width), (width, width)):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, n_classes))


def train(name: str, seed: int, *, width: int, steps: int, batch: int = 128) -> nn.Sequential:
    torch.manual_seed(seed)
    network = mlp(SETS[name], width)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    points, labels = training_data(name, seed)
    generator = Generator().manual_seed(seed)
    for _ in range(steps):
        chosen = torch.randint(len(points), (batch,), generator=generator)
        optimizer.zero_grad()
        F.cross_entropy(network(points[chosen]), labels[chosen]).backward()
        optimizer.step()
    return network.eval()


def training_data(name: str, seed: int, per_class: int = 1000) -> Samples:
    return draw(name, per_class, Generator().manual_seed(1000 + seed))


def hidden(network: nn.Sequential) -> list[str]:
    return [f"{k}.weight" for k, m in enumerate(network) if isinstance(m, nn.Linear)][:-1]


def by_relevance(network: nn.Sequential, points: Tensor, labels: Tensor) -> dict[str, Tensor]:
    rules = LrpRules(head="zplus", reduce="signed")  # their toy's; signs do not arise
    scores = lrp_importance(network, [(points, labels)], "filter", hidden(network), rules)
    return normalised(scores, "l1")


def by_loss(
    network: nn.Sequential, points: Tensor, labels: Tensor, taylor: bool
) -> dict[str, Tensor]:
    """As released: the mean over samples of dL/da or a x dL/da, then its absolute."""
    activations, value = [], points
    for module in network:
        value = module(value)
        if isinstance(module, nn.ReLU):
            activations.append(value)
    gradients = torch.autograd.grad(F.cross_entropy(value, labels), activations)
    pairs = zip(hidden(network), activations, gradients, strict=True)
    scores = {n: ((a * g) if taylor else g).detach().sum(0).abs().double() for n, a, g in pairs}
    return normalised(scores, "l2")


def by_weight(network: nn.Sequential, *_: Tensor) -> dict[str, Tensor]:
    sums = {n: network.get_parameter(n).detach().double().abs().sum(1) for n in hidden(network)}
    return normalised(sums, "l1")


def by_chance(network: nn.Sequential, points: Tensor, _: Tensor) -> dict[str, Tensor]:
    generator = Generator().manual_seed(len(points))
    return {
        n: torch.rand(len(network.get_parameter(n)), generator=generator, dtype=torch.float64)
        for n in hidden(network)
    }


CRITERIA: dict[str, Callable[[nn.Sequential, Tensor, Tensor], dict[str, Tensor]]] = {
    "lrp": by_relevance,
    "taylor": lambda *given: by_loss(*given, taylor=True),
    "gradient": lambda *given: by_loss(*given, taylor=False),
    "weight": by_weight,
    "random": by_chance,
}


@torch.no_grad()
def prune(network: nn.Sequential, scores: dict[str, Tensor]) -> nn.Sequential:
    """A copy without the third of its hidden units that scores lowest over all layers."""
    pruned = copy.deepcopy(network)
    every = torch.cat(list(scores.values()))
    gone = torch.zeros(len(every), dtype=torch.bool)
    gone[every.argsort(stable=True)[: len(every) // 3]] = True
    for name, rows in zip(scores, gone.split([len(s) for s in scores.values()]), strict=True):
        layer = pruned.get_submodule(name.removesuffix(".weight"))
        layer.weight[rows], layer.bias[rows] = 0.0, 0.0
    return pruned


@torch.no_grad()
def accuracy(network: nn.Sequential, samples: Samples) -> float:
    """In percent."""
    points, labels = samples
    return 100 * (network(points).argmax(1) == labels).float().mean().item()


def run(
    name: str,
    seeds: int,
    *,
    width: int = 1000,
    steps: int = 500,
    per_class: tuple[int, ...] = PER_CLASS,
) -> dict[str, list[list[float]]]:
    """Criterion -> of every entry of `per_class` the accuracy after pruning, %, of every seed; and
    "unpruned"."""
    found: dict[str, list[list[float]]] = {
        c: [[] for _ in per_class] for c in (*CRITERIA, "unpruned")
    }
    for seed in range(seeds):
        network, data = train(name, seed, width=width, steps=steps), training_data(name, seed)
        unpruned = accuracy(network, data)
        generator = Generator().manual_seed(seed)
        for k, n in enumerate(per_class):
            points, labels = chosen(data, n, generator)
            for criterion, score in CRITERIA.items():
                left = prune(network, score(network, points, labels))
                found[criterion][k].append(accuracy(left, data))
            found["unpruned"][k].append(unpruned)
    return found


def chosen(data: Samples, per_class: int, generator: Generator) -> Samples:
    points, labels = data
    rows = torch.cat(
        [
            where[torch.randperm(len(where), generator=generator)[:per_class]]
            for where in (torch.where(labels == c)[0] for c in labels.unique())
        ]
    )
    return points[rows], labels[rows]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    arguments = parser.parse_args(argv)
    table = Table(
        title="Accuracy in % after a third of the hidden units went; mean and standard error of "
        f"{arguments.seeds} seeds"
    )
    for heading in ("set", "criterion", *(f"n={n}" for n in PER_CLASS), "paper: 1 / 5 / 200"):
        table.add_column(heading)
    for name in arguments.sets:
        for criterion, columns in run(name, arguments.seeds).items():
            paper = " / ".join(f"{value:g}" for value in RELEASED[name].get(criterion, ()))
            table.add_row(name, criterion, *map(_said, columns), paper)
    Console(width=150).print(table)


def _said(values: list[float]) -> str:
    error = f" ± {stdev(values) / math.sqrt(len(values)):.1f}" if len(values) > 1 else ""
    return f"{fmean(values):.1f}{error}"


if __name__ == "__main__":
    main()

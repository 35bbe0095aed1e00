"""Which filters can go? Criteria on fresh trainings of the demo's dense network, beside chance.

python -m benchmarks criteria --seeds 10 11 12 [--rate 0.25] [--criteria L1 "outgoing L1"]
    the demo's dense networks of these seeds, trained where the results do not hold them
python -m benchmarks criteria --module net.py --weights state.pt --images FOLDER [--rate 0.05]
    another network (see benchmarks/given.py), whose class i is the i-th folder of photographs

A part of the filters of every layer is pruned, BatchNorm is recalibrated where there is any,
nothing is trained: top-1 of every criterion. A criterion may be called better than another only by
networks that did not choose it, so name seeds that were not looked at before: three or more are
compared, training by training.
"""

import argparse
import copy
import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from benchmarks.given import add_options, class_of, given
from pruning import (
    Groups,
    Held,
    choose_groups,
    criterion_class,
    importance_of_groups,
    masks_of,
    structure_of,
)
from sweeps.report.statistics.questions import holm
from sweeps.report.statistics.trainings import MIN_TRAININGS, Estimate, over_trainings
from sweeps.studies import load_study
from trainables.config import TrialConfig
from trainables.datasets.images import Data, normalise
from trainables.datasets.loading import load_data
from trainables.rounds.importance import samples
from trainables.training.dense import load_dense, missing_dense, train_dense
from trainables.training.evaluate import accuracy_metrics, predict
from trainables.training.finetune import recalibrate

CPU = torch.device("cpu")
DRAWS = 5  # of chance
ROUNDS = 5
FITTED = 200  # photographs that criteria of another network see; its top-1 is of the others
CHANCE = tuple(f"chance {draw}" for draw in range(DRAWS))
CRITERIA = (
    *("L1", "L2", "outgoing L1", "BatchNorm scale", "FPGM", "Fisher", "LRP"),
    *("Taylor", "Taylor of the logit", f"Taylor, {ROUNDS} rounds"),
    *("gradient", "gradient of the logit", f"gradient, {ROUNDS} rounds"),
)
Importance = Mapping[str, Tensor]
Found = dict[str, float]  # name of a row -> top-1


@dataclass(frozen=True)
class Case:
    """A network to prune, and what there is to prune it by.

    samples: images and labels for the criteria that need them. mend: what follows pruning.
    top1: in [0, 1]. seed: of chance.
    """

    network: nn.Module
    samples: Callable[[], Iterator[tuple[Tensor, Tensor]]]
    mend: Callable[[nn.Module], None]
    top1: Callable[[nn.Module], float]
    seed: int


def importance_by(name: str, case: Case, network: nn.Module) -> Importance:
    """By the name of a row of the table; ValueError where the network does not allow it."""
    if name.startswith("chance"):
        generator = torch.Generator().manual_seed(1_000 * case.seed + int(name.split()[1]))
        return importance_of_groups(network, "random", "filter", generator=generator)
    label, _, change_of = name.removesuffix(f", {ROUNDS} rounds").lower().partition(" of the ")
    kind = criterion_class({"batchnorm scale": "bn_scale"}.get(label, label.replace(" ", "_")))
    criterion = kind(**({"change_of": change_of} if change_of else {}))
    batches = case.samples() if criterion.looks_at_images else None
    return importance_of_groups(network, criterion, "filter", batches=batches)


def pruned_top1(case: Case, name: str, rate: float, importance: Importance) -> float:
    """Accuracy after the fraction `rate` of every layer's filters went; asked anew in each
    round after the first, and mended, but never trained. importance: in the network as it is.
    """
    network = copy.deepcopy(case.network)
    n_rounds = ROUNDS if name.endswith("rounds") else 1
    kept: Groups | None = None
    structure = structure_of(network)
    for round_ in range(1, n_rounds + 1):
        if round_ > 1:
            importance = importance_by(name, case, network.eval())
        where = {"granularity": "filter", "scope": "layer"}
        kept = choose_groups(importance, rate * round_ / n_rounds, within=kept, **where)
        Held(network, masks_of(network, kept, "filter", structure)).apply()
        case.mend(network)
    return case.top1(network)


def of_demo(config: TrialConfig, cache: Path) -> Case:
    """The demo's dense network of that seed, trained where it is not there yet, which takes
    minutes; ten images per class, as the demo's trials take them."""
    data = load_data(config.data, cache)
    if missing_dense(config, data, cache):
        train_dense(config, data, cache)
    seed = config.seed

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        of_images = data.train.batches(samples(data.train, 10, seed), 32)
        return ((normalise(x), y) for _, x, y in of_images)

    def mend(network: nn.Module) -> None:
        recalibrate(network, data.train, 512, torch.Generator().manual_seed(seed))

    network = load_dense(config, data, cache).eval()
    return Case(network, batches, mend, lambda network: _top1_on(data, network), seed)


def _top1_on(data: Data, network: nn.Module) -> float:
    logits = predict(network, data.val, CPU, "fp32", 64)
    return accuracy_metrics(logits, data.val.labels)["val/top1"]


def of_given(module: Path, weights: Path, folder: Path, evaluated: int | None) -> Case:
    """Criteria see FITTED photographs drawn at random; top-1 is of the rest, or so many of it."""
    theirs = given(module, weights, folder)
    order = torch.randperm(len(theirs.files), generator=torch.Generator().manual_seed(0)).tolist()
    files = [theirs.files[i] for i in order][: None if evaluated is None else FITTED + evaluated]
    inputs = torch.stack([theirs.prepare(Image.open(path).convert("RGB")) for path in files])
    inputs = inputs.contiguous(memory_format=torch.channels_last)
    labels = class_of(files, theirs.files)

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        return zip(inputs[:FITTED].split(25), labels[:FITTED].split(25), strict=True)

    @torch.inference_mode()
    def top1(network: nn.Module) -> float:
        pairs = zip(inputs[FITTED:].split(50), labels[FITTED:].split(50), strict=True)
        return torch.cat([network(x).argmax(1) == y for x, y in pairs]).double().mean().item()

    return Case(theirs.network, batches, lambda network: None, top1, seed=0)


@dataclass(frozen=True)
class Apart:
    """A criterion's top-1 less that of chance, or of L1, over trainings. p: by Holm's correction
    for all that one table compares."""

    name: str
    against: str
    less: Estimate
    p: float


def compared(found: Sequence[Found]) -> list[Apart]:
    """Every criterion against the mean of chance, and against L1; paired by training.

    found: of every training.
    """
    names = [name for name in CRITERIA if name in found[0]]
    values = {name: np.array([rows[name] for rows in found]) for name in names}
    draws = [[rows[name] for name in CHANCE] for rows in found]
    references = {"chance": np.mean(draws, axis=1)}
    references |= {"L1": values["L1"]} if "L1" in values else {}
    pairs = [
        (name, against, over_trainings(values[name] - reference))
        for against, reference in references.items()
        for name in values
        if name != against
    ]
    adjusted = holm([less.p for *_, less in pairs])
    return [Apart(*pair, p) for pair, p in zip(pairs, adjusted, strict=True)]


def measure(case: Case, rates: Sequence[float], criteria: Sequence[str]) -> list[Found]:
    """Every row of the table, for each rate; told as each one is there. NaN where a criterion
    does not know such a network."""
    dense = case.top1(case.network)
    found: list[Found] = [{"dense": dense} for _ in rates]
    for name in (*CHANCE, *criteria):
        try:
            importance = importance_by(name, case, case.network)
        except ValueError as error:
            print(f"{name}: {error}", flush=True)
            for rows in found:
                rows[name] = float("nan")
            continue
        for rate, rows in zip(rates, found, strict=True):
            rows[name] = pruned_top1(case, name, rate, importance)
            print(f"{name}, {rate:g}: {rows[name]:.4f}", flush=True)
    return found


def main(arguments: Sequence[str]) -> None:
    """Run it and print what came out, a column per network and rate."""
    parser = argparse.ArgumentParser(
        prog="benchmarks criteria",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[])
    parser.add_argument("--rate", type=float, nargs="+", default=[0.25])
    parser.add_argument("--criteria", nargs="+", choices=CRITERIA, default=CRITERIA, metavar="NAME")
    parser.add_argument("--results", type=Path, default=Path("results/criteria"))
    add_options(parser)
    parser.add_argument("--evaluated", type=int, help="photographs that top-1 is of, at most")
    asked = parser.parse_args(arguments)
    paths = [asked.module, asked.weights, asked.images]
    if bool(asked.seeds) == any(paths) or any(paths) != all(paths):
        parser.error("either --seeds, or --module, --weights and --images, all three")
    found: dict[str, Found] = {}
    for column, case in _cases(asked):
        for rate, rows in zip(asked.rate, measure(case, asked.rate, asked.criteria), strict=True):
            found[f"{column}, {rate:g}"] = rows
    console = Console(width=110)
    console.print(table_of(found))
    if len(asked.seeds) >= MIN_TRAININGS and len(asked.rate) == 1:
        console.print(comparison(compared(list(found.values()))))


def _cases(asked: argparse.Namespace) -> Iterator[tuple[str, Case]]:
    """Heading of a column, and what it is of."""
    if asked.module:
        yield (
            asked.module.stem,
            of_given(asked.module, asked.weights, asked.images, asked.evaluated),
        )
        return
    settings = {"prune": None, "finetune": None, "compute.device": "cpu"}
    base = load_study("demo").base.replace(settings | {"compute.precision": "fp32"})
    asked.results.mkdir(parents=True, exist_ok=True)
    for seed in asked.seeds:
        yield f"seed {seed}", of_demo(base.replace({"seed": seed}), asked.results)


def table_of(found: Mapping[str, Found]) -> Table:
    """found: of every column."""
    table = Table(title="top-1, that part of the filters of every layer pruned, nothing trained")
    for heading in ("criterion", *found, "less chance, mean"):
        table.add_column(heading)
    chance = [statistics.fmean(rows[name] for name in CHANCE) for rows in found.values()]
    spread = [statistics.stdev(rows[name] for name in CHANCE) for rows in found.values()]
    names = [name for name in next(iter(found.values())) if name not in CHANCE]
    rows_of = {"chance, mean": chance, f"chance, sd of {DRAWS}": spread}
    rows_of |= {name: [rows[name] for rows in found.values()] for name in names}
    for name, values in rows_of.items():
        apart = statistics.fmean(v - c for v, c in zip(values, chance, strict=True))
        more = "" if name.startswith("chance") or math.isnan(apart) else f"{apart:+.3f}"
        shown = ("refused" if math.isnan(value) else f"{value:.3f}" for value in values)
        table.add_row(name, *shown, more)
    return table


def comparison(found: Sequence[Apart]) -> Table:
    table = Table(title="differences over the trainings, paired; 95 % intervals are not corrected")
    for heading in ("criterion", "less", "mean", "95 % interval", f"p, of {len(found)} (Holm)"):
        table.add_column(heading)
    for each in found:
        low, high = each.less.interval(0.95)
        name, mean = each.name, f"{each.less.value:+.3f}"
        table.add_row(name, each.against, mean, f"{low:+.3f} to {high:+.3f}", f"{each.p:.3f}")
    return table


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])

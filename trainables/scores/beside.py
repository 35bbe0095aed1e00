"""The scores beside MIS, of the pass that MIS makes: per unit, by chance, and how sure they are."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mis import (
    SHUFFLED,
    UNIT_SCORES,
    UNIT_STATES,
    AboveZero,
    OfMaps,
    OfMeans,
    Probe,
    UnitScore,
    image_error,
    mean_and_error,
    paired_change,
    sample_size,
    unit_error,
)
from trainables.config import TrialConfig
from trainables.datasets.images import ImageSet
from trainables.randomness import generator
from trainables.scores.embeddings import ProbeVectors

_WITHOUT = [UNIT_STATES.index(state) for state in ("constant", "dead")]
_ALIVE = UNIT_STATES.index("alive")


@dataclass(frozen=True)
class Beside:
    """columns: name -> float64 [unit], NaN for constant and dead units. values: those that are
    scores. chance: value -> (mean, standard error) of what chance gives.

    replicates: value -> float64 [group, some unit], without each group of images; of the units
    `sampled` (int64), the same ones in all networks of a seed.
    """

    columns: dict[str, Tensor] = field(default_factory=dict)
    values: list[str] = field(default_factory=list)
    chance: dict[str, tuple[float, float]] = field(default_factory=dict)
    replicates: dict[str, Tensor] = field(default_factory=dict)
    sampled: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))


def score_beside(
    config: TrialConfig,
    images: ImageSet,
    above: AboveZero | None,
    space: ProbeVectors,
    state: Tensor,
    counted: Tensor,
    groups: Tensor,
) -> Beside:
    """What the other scores of `config` give. above: of the pass; None where there are none.

    state: int8 [unit]; counted: bool [unit]; groups: int64 [image].
    """
    if above is None:
        return Beside()
    scores = config.beside
    needs_vectors = any("vectors" in score.needs for score in scores)
    probe = Probe(images.labels, space.vectors if needs_vectors else None)
    order = torch.randperm(len(state), generator=generator(config.seed, "sampled units"))
    sampled = order[: sample_size(len(images))].sort().values
    alive = (state == _ALIVE) & counted
    found = Beside(sampled=sampled)
    for score in scores:
        found.values.extend(score.values)
        if isinstance(score, OfMeans):
            _add_of_means(found, score, above, probe, alive, groups, config.seed)
    if any(isinstance(score, OfMaps) for score in scores):
        _add_of_maps(found, scores, above, alive)
    without = torch.isin(state, torch.tensor(_WITHOUT, dtype=state.dtype))
    for name, values in found.columns.items():
        known = values.double().isfinite() & ~without
        found.columns[name] = values.double().masked_fill(~known, math.nan)
    return found


def _add_of_means(
    found: Beside,
    score: OfMeans,
    above: AboveZero,
    probe: Probe,
    alive: Tensor,
    groups: Tensor,
    seed: int,
) -> None:
    parts = [score.of(above.means(units), probe) for units in above.blocks()]
    found.columns.update({name: torch.cat([part[name] for part in parts]) for name in parts[0]})
    some = above.means(found.sampled)
    without = []
    for group in range(int(groups.max()) + 1):
        kept = groups != group
        without.append(score.of(some[kept], probe.only(kept)))
    for value in score.values:
        found.replicates[value] = torch.stack([each[value].double() for each in without])
    draw = generator(seed, "shuffled", score.name)
    found.chance.update(score.shuffled(some[:, alive[found.sampled]], probe, draw))


def _add_of_maps(found: Beside, scores: list[UnitScore], above: AboveZero, alive: Tensor) -> None:
    columns, replicates = above.columns(), above.replicates()
    found.columns.update(columns)
    for score in scores:
        if isinstance(score, OfMaps):
            for value in score.values:
                if value not in columns:  # of a network without maps
                    found.columns[value] = torch.full(alive.shape, math.nan, dtype=torch.float64)
                    replicates[value] = found.columns[value].expand(2, -1)
                found.replicates[value] = replicates[value][:, found.sampled]
                if value + SHUFFLED in columns:
                    found.chance[value] = mean_and_error(columns[value + SHUFFLED][alive])


def beside_metrics(beside: Beside, chosen: Tensor, dense: Beside | None = None) -> dict[str, float]:
    """The summary of each value, by metric name (see `metric_of`), over units that have it.

    chosen: bool [unit], those that count and are alive. dense: of the same units in the dense
    network, if they are the same.
    …/mean, …/n_units; …/error: of the mean, over units and over images; …/change, …/change_error:
    against the same units of the dense network; …/shuffled_mean, …/shuffled_error: chance. What
    cannot be known is left out.
    """
    metrics: dict[str, float] = {}
    for value in beside.values:
        scores, name = beside.columns[value], metric_of(value)
        has = chosen & scores.isfinite()
        metrics[f"{name}/mean"] = float(scores[has].mean())
        metrics[f"{name}/n_units"] = float(has.sum())
        over_images = _image_error(beside.replicates[value], has[beside.sampled])
        metrics[f"{name}/error"] = math.hypot(unit_error(scores[has]), over_images)
        if value in beside.chance:
            mean, error = beside.chance[value]
            metrics |= {f"{name}/shuffled_mean": mean, f"{name}/shuffled_error": error}
        if dense is not None:
            before = dense.columns[value]
            both = has & before.isfinite()
            change = paired_change(scores[both], before[both])
            difference = beside.replicates[value] - dense.replicates[value]
            error = _image_error(difference, both[beside.sampled])
            metrics[f"{name}/change"] = change.mean
            metrics[f"{name}/change_error"] = math.hypot(change.unit_error, error)
    return {name: value for name, value in metrics.items() if math.isfinite(value)}


def metric_of(value: str) -> str:
    """What metrics of a value begin with; of one of the user's own: own/VALUE."""
    ours = {each for kind in UNIT_SCORES.values() for each in kind.values}
    return value if value in ours else f"own/{value}"


def table_columns(beside: Beside, dense: Beside | None) -> Iterator[tuple[str, Tensor]]:
    """The columns of the table of units: all that the scores give, and of each value that of the
    same unit in the dense network."""
    yield from beside.columns.items()
    for value in beside.values:
        there = None if dense is None else dense.columns.get(value)
        nothing = torch.full_like(beside.columns[value], math.nan)
        yield f"dense_{value}", nothing if there is None else there


def _image_error(replicates: Tensor, chosen: Tensor) -> float:
    """Of the mean over these units: the jackknife over groups of images."""
    means = replicates[:, chosen & replicates.isfinite().all(0)].mean(1)
    return float(image_error(torch.stack([means, means])))

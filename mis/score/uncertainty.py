"""How sure is a mean MIS? Its standard error over units, and over images.

Over images: leave out a tenth of them, rank and ask again, for each of ten random tenths (the
delete-a-group jackknife; Kott 2001, J. Official Statistics 17:521). The bootstrap's resampled image
sets hold copies of an image, and a query that meets its own copy among the explanations is answered
too easily. Extremes that were collected a little deeper hold the ranking without any tenth exactly,
so no image has to be looked at again.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mis.score.extremes import Extremes
from mis.score.margins import Margins, Metric
from mis.score.tasks import deal_tasks, draw_deal, images_needed, join_tasks

N_GROUPS = 10
# A group must hold more of one side of one unit than the depth allows for so rarely that it never
# happens: 7,280 units have 145,600 such chances a network.
_CHANCE = 1e-12
_UNITS = 128  # whose replicates are dealt at a time: 8 MB of image ids


def deeper(depth: int, n_images: int, n_groups: int = N_GROUPS) -> int:
    """How deep to collect so that `depth` ranks are left at both ends without any one group.

    Never more than n_images // 2, which is all there is to collect; whether that is deep enough
    is what `can_leave_out` says.
    """
    return min(_depth_needed(depth, n_images, n_groups), n_images // 2)


def can_leave_out(depth: int, n_images: int, n_groups: int = N_GROUPS) -> bool:
    """Whether there are images enough for `replicate_mis` of tasks that need `depth` ranks."""
    return _depth_needed(depth, n_images, n_groups) <= n_images // 2


def draw_groups(n_images: int, *, n_groups: int = N_GROUPS, generator: torch.Generator) -> Tensor:
    """int64 [image]: the random group of every image; sizes differ by one at most.

    Networks that are to be compared must share their groups. Raises ValueError for fewer than 2
    groups and for fewer images than groups.
    """
    if not 2 <= n_groups <= n_images:
        raise ValueError(
            f"there must be 2 … {n_images} groups of {n_images} images, got {n_groups}"
        )
    order = torch.randperm(n_images, generator=generator, device=generator.device)
    return order.cpu() % n_groups


def replicate_mis(
    extremes: Extremes,
    vectors: Tensor | Margins,
    groups: Tensor,
    *,
    slope: float,
    metric: Metric = "cosine",
    n_tasks: int,
    k: int,
    generator: torch.Generator,
    query_rank: int | None = None,
) -> Tensor:
    """MIS of every unit without each group of images: float64 [2, group, unit].

    Twice, with tasks dealt anew: how far the two lie apart is what dealing adds (see
    `image_error`). Within each, the deals of all groups are the same permutations. Exactly what
    `collect_extremes`, `build_tasks` (with a generator in this one's state, for the first) and
    `score_tasks` give on the images left. Which units are alive is not asked again: leave out the
    columns of those that were not.

    extremes: of depth `deeper(d, n_images)`, with d half of `images_needed`. groups: of
    `draw_groups`, indexed by image id. vectors: or the `Margins` made of them. Other arguments:
    see `score_units`.
    Raises ValueError for extremes that are not deep enough, and for groups of another length.
    """
    n_units, n_groups = len(extremes.top), int(groups.max()) + 1
    depth = images_needed(n_tasks, k, query_rank) // 2
    if isinstance(vectors, Tensor):
        n_reads = 4 * n_groups * n_units * n_tasks * (k + 1)
        vectors = Margins(vectors, metric=metric, n_reads=n_reads)
    if len(groups) != len(vectors.vectors):
        raise ValueError(f"{len(vectors.vectors)} images need as many groups, got {len(groups)}")
    deals = [draw_deal(n_units, n_tasks=n_tasks, k=k, generator=generator) for _ in range(2)]
    replicates = torch.empty(2, n_groups, n_units, dtype=torch.float64)
    # All groups' tasks about a unit at once: they ask about the same few hundred images.
    for begin in range(0, n_units, _UNITS):
        units = slice(begin, begin + _UNITS)
        ends = [
            (ranked[units], groups[ranked[units]]) for ranked in (extremes.top, extremes.bottom)
        ]
        tasks = []
        for group in range(n_groups):
            top, bottom = (_first(ranked, of != group, depth) for ranked, of in ends)
            tasks += [
                deal_tasks(top, bottom, deal.of_units(units), query_rank=query_rank)
                for deal in deals
            ]
        margins = vectors(join_tasks(tasks)).cpu().unflatten(1, (n_groups, 2, n_tasks))
        replicates[:, :, units] = (slope * margins).sigmoid().mean(dim=3).permute(2, 1, 0).double()
    return replicates


def image_error(means: Tensor) -> Tensor:
    """Standard error of a mean over units, had the images been others: float64 [...].

    means: [2, group, ...], the mean over the same units of each of the `replicate_mis`, e.g.
        `replicates[:, :, alive].mean(2)`: of a network, a layer, or a difference of two networks.

    The jackknife's (G - 1) / G x sum over groups of squared deviations counts the noise of dealing
    G - 1 times over. The product of the two deals' deviations, in place of the square, counts it
    not at all, and it is added once: half of the mean squared difference of the two. The product
    is negative where images matter too little to be told from noise, and counts as 0 there.
    A jackknife errs upwards (Efron, Stein 1981, Ann. Statistics 9:586): on sixteen sets of 1,500
    generated images it was 1.3 times the spread of the means between the sets, for networks as for
    layers; with the square it would have been 2.1 times for layers.
    """
    n_groups = means.shape[1]
    means = means.double()
    first, second = means - means.mean(dim=1, keepdim=True)
    images = (n_groups - 1) / n_groups * (first * second).sum(dim=0)
    dealing = (means[0] - means[1]).square().mean(dim=0) / 2
    return (images.clamp(min=0) + dealing).sqrt()


def unit_error(mis: Tensor) -> float:
    """Standard error of the mean over units, had the units been others; NaN for fewer than 2.

    mis: [unit]; NaN units are left out. What a bootstrap over units tends to with ever more
    resamples has a closed form: root of (sum of squared deviations) / n.
    """
    known = mis[~mis.isnan()].double()
    return float(known.std(correction=0) / math.sqrt(len(known))) if len(known) > 1 else math.nan


@dataclass(frozen=True)
class Change:
    """How the mean MIS of the same units differs between two networks."""

    mean: float  # NaN when no unit has a score in both
    n_units: int
    unit_error: float  # see `unit_error`
    image_error: float  # see `image_error`; NaN without replicates


def paired_change(
    mis: Tensor,
    other: Tensor,
    replicates: Tensor | None = None,
    other_replicates: Tensor | None = None,
) -> Change:
    """Mean of mis - other over the units that have a score in both.

    mis, other: [unit], NaN without a score. replicates, other_replicates: of `replicate_mis` with
    the same groups, and generators in the same state. Raises ValueError for other shapes.
    """
    if mis.shape != other.shape or mis.ndim != 1:
        raise ValueError(
            f"both must score the same units, got {tuple(mis.shape)} and {tuple(other.shape)}"
        )
    difference = mis.double() - other.double()
    both = ~difference.isnan()
    error = math.nan
    if replicates is not None and other_replicates is not None and both.any():
        if replicates.shape != other_replicates.shape or replicates.shape[2:] != mis.shape:
            raise ValueError(
                f"replicates must be [2, group, {len(mis)}] of the same groups, "
                f"got {tuple(replicates.shape)} and {tuple(other_replicates.shape)}"
            )
        error = float(image_error((replicates - other_replicates)[:, :, both].mean(dim=2)))
    known = difference[both]
    return Change(float(known.mean()), len(known), unit_error(known), error)


def _first(ranked: Tensor, kept: Tensor, depth: int) -> Tensor:
    """The first `depth` of each row that are kept, in their order."""
    count = kept.cumsum(dim=1)
    fewest = int(count[:, -1].min())
    if fewest < depth:
        raise ValueError(
            f"{depth} ranks are needed without any group of images, but a unit has {fewest}; "
            f"collect deeper than {ranked.shape[1]} (see `deeper`) or from more images"
        )
    # To its place among the kept; all others to one more column, which goes.
    place = count.sub_(1).clamp_(max=depth).masked_fill_(~kept, depth)
    return ranked.new_empty(len(ranked), depth + 1).scatter_(1, place, ranked)[:, :depth]


def _depth_needed(depth: int, n_images: int, n_groups: int) -> int:
    """The least depth of which a group holds more than the margin with a chance below _CHANCE."""
    if depth < 1 or not 2 <= n_groups <= n_images:
        raise ValueError(
            f"depth must be at least 1 and groups 2 … {n_images}, got {depth} and {n_groups}"
        )
    # Here, since a program that only loads an exported network has no need of SciPy.
    from scipy.stats import hypergeom

    group = math.ceil(n_images / n_groups)
    low, high = depth, n_images  # all images minus a group may still be too few: see below
    while low < high:
        middle = (low + high) // 2
        # That of so many random images more than the margin are of the group.
        if hypergeom.sf(middle - depth, n_images, group, middle) < _CHANCE:
            high = middle
        else:
            low = middle + 1
    return low

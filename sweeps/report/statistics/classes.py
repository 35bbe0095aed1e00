"""Which classes pay for pruning? Each class's change on the same images, and how sure it is.

Hooker, Courville, Clark, Dauphin, Frome 2019 (arXiv 1911.05248): pruned networks that are as
accurate as the dense one lose much of the accuracy of some classes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import signal, stats

from sweeps.report.statistics.questions import ERROR, holm

_Z = float(stats.norm.ppf(1 - ERROR / 2))


@dataclass(frozen=True)
class ClassChange:
    """One class in pruned networks and in those that they are beside, on the same images.

    accuracy, dense: means over trainings; change: of the two, with a 95 % interval over images.
    agreement: the share of images to which both answer the same. p: whether it changes at all;
    p_rest: whether by another amount than the other classes; both corrected for all that is asked,
    NaN before. images: how many there are; trainings: of how many networks.
    """

    name: str
    images: int
    trainings: int
    accuracy: float
    dense: float
    change: float
    low: float
    high: float
    agreement: float
    p: float
    p_rest: float


def class_changes(tables: Sequence[pd.DataFrame]) -> list[ClassChange]:
    """Of each class, in the order of their numbers. tables: a trial's answers each, see `of_each`.

    Trials of several trainings that saw the same images are one sample of these images: what is
    said is of these networks, and of images like these.
    """
    images = pd.concat([_images(alike) for alike in _by_images(tables)], ignore_index=True)
    everyone = images["change"].to_numpy()
    found = []
    for _, own in images.groupby("truth", sort=True):
        change, n = own["change"].to_numpy(), len(own)
        trainings = int(own["trainings"].max())
        low, high = paired_interval(change / own["trainings"].to_numpy())
        others = everyone[images["truth"].to_numpy() != own["truth"].iloc[0]]
        found.append(
            ClassChange(
                name=str(own["class"].iloc[0]),
                images=n,
                trainings=trainings,
                accuracy=float((own["right"] / own["trainings"]).mean()),
                dense=float((own["dense_right"] / own["trainings"]).mean()),
                change=float((change / own["trainings"]).mean()),
                low=low,
                high=high,
                agreement=float((own["agree"] / own["trainings"]).mean()),
                p=sign_flip_p(change),
                p_rest=_unlike_rest(change, others),
            )
        )
    return found


def _by_images(tables: Sequence[pd.DataFrame]) -> list[list[pd.DataFrame]]:
    """Those together that are of the same images."""
    alike: dict[str, list[pd.DataFrame]] = {}
    for table in tables:
        alike.setdefault(str(table["images"].iloc[0]), []).append(table)
    return list(alike.values())


def _images(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """A row per image: in how many of the networks it is right, before and after, and agreed on."""
    first = tables[0]
    sums = {name: np.zeros(len(first), dtype=int) for name in ("right", "dense_right", "agree")}
    for table in tables:
        sums["right"] += (table["answer_1"] == table["truth"]).to_numpy()
        sums["dense_right"] += (table["dense"] == table["truth"]).to_numpy()
        sums["agree"] += (table["answer_1"] == table["dense"]).to_numpy()
    found = first[["class", "truth"]].assign(**sums, trainings=len(tables))
    return found.assign(change=found["right"] - found["dense_right"])


def wilson(share: float, n: int) -> tuple[float, float]:
    """The 95 % interval of a share of n images (Wilson 1927)."""
    middle = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
    return middle - half, middle + half


def paired_interval(changes: np.ndarray) -> tuple[float, float]:
    """The 95 % interval of the mean of each image's change, in -1 … 1.

    Agresti & Min 2005 (Statistics in Medicine 24): Wald's with half an image more in each of the
    four cells of right and wrong, here also of images that are means over trainings.
    """
    n = len(changes) + 2
    mean = float(changes.sum()) / n
    square = (float((changes**2).sum()) + 1) / n
    half = _Z * math.sqrt(max(square - mean**2, 0) / n)
    return max(-1.0, mean - half), min(1.0, mean + half)


def sign_flip_p(changes: np.ndarray) -> float:
    """How often a sum at least as far from 0 comes, had each image's change the sign of a coin.

    Exact; of one training it is McNemar's exact test. changes: whole numbers.
    """
    sizes = np.abs(changes[changes != 0]).astype(int)
    chance = np.ones(1)  # of the sums -total … total
    for size, count in zip(*np.unique(sizes, return_counts=True), strict=True):
        one = np.zeros(2 * size * count + 1)
        one[:: 2 * size] = stats.binom.pmf(np.arange(count + 1), count, 0.5)
        chance = signal.fftconvolve(chance, one) if len(chance) > 1 else one
    middle, sum_ = len(chance) // 2, abs(int(changes.sum()))
    beyond = chance[: middle - sum_ + 1].sum() + chance[middle + sum_ :].sum()
    return float(min(1.0, max(beyond, 0.0)))


def _unlike_rest(own: np.ndarray, others: np.ndarray) -> float:
    """Two-sided p of a class's mean change against that of all others.

    The spread of a class of few images is not known: it is at least that of the others.
    """
    if not len(others):
        return math.nan
    spread, of_others = own.var(), others.var()
    error = math.sqrt(max(spread, of_others) / len(own) + of_others / len(others))
    if error == 0:
        return 1.0
    return float(2 * stats.norm.sf(abs(own.mean() - others.mean()) / error))


def corrected(asked: Sequence[Sequence[ClassChange]]) -> list[list[ClassChange]]:
    """The same with their p corrected, by Holm, for all classes of all networks that are asked."""
    flat = [each for group in asked for each in group]
    p, p_rest = holm([each.p for each in flat]), holm([each.p_rest for each in flat])
    made = iter(
        ClassChange(**{**vars(each), "p": a, "p_rest": b})
        for each, a, b in zip(flat, p, p_rest, strict=True)
    )
    return [[next(made) for _ in group] for group in asked]


def class_sentence(found: Sequence[ClassChange], most: int = 4) -> str:
    """Which classes lose and gain, and which of them by more than the others."""
    sure = [each for each in found if each.p < ERROR]
    loses = sorted((each for each in sure if each.change < 0), key=lambda each: each.change)
    gains = sorted((each for each in sure if each.change > 0), key=lambda each: -each.change)
    apart = [each for each in found if each.p_rest < ERROR]
    mean = float(np.mean([each.change for each in found]))
    worse = sum(1 for each in apart if each.change < mean)
    if loses or gains:
        said = f"of {len(found)} classes {len(loses)} lose{'s' * (len(loses) == 1)}"
        said += f" ({_names(loses, most)})" if loses else ""
        said += f", {len(gains)} gain{'s' * (len(gains) == 1)}"
        said += f" ({_names(gains, most)})" if gains else ""
    else:
        said = f"of {len(found)} classes none is seen to lose or to gain"
    if worse:
        said += f"; {worse} fare{'s' * (worse == 1)} worse than the others"
    return said


def _names(found: Sequence[ClassChange], most: int) -> str:
    names = ", ".join(f"{each.name} {each.change:+.2f}" for each in found[:most])
    return names + (", …" if len(found) > most else "")

"""How much a trial prunes: a rate, what a budget leaves, or a rate for each layer by its name."""

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

from pruning import budget_of

_ENTRY = re.compile(r"([^=\s]+)=(\d+\.?\d*|\.\d+)")
_FORM = "LAYER=RATE, such as 'layer1.*=0.3', with * for any characters"


def table_of(entries: Iterable[str]) -> dict[str, float]:
    """Pattern of names -> rate in [0, 1), in the order given.

    entries: "inception3a.*=0.3". Raises ValueError for one that is none, and for a pattern that is
    there twice.
    """
    table: dict[str, float] = {}
    for entry in entries:
        found = _ENTRY.fullmatch(entry)
        rate = float(found[2]) if found else 1.0
        if found is None or not 0 <= rate < 1:
            raise ValueError(f"prune.rates must be of {_FORM} and a rate in [0, 1), got {entry!r}")
        if found[1] in table:
            raise ValueError(f"prune.rates must name {found[1]} once, got it twice")
        table[found[1]] = rate
    return table


def rates_of_layers(
    entries: Iterable[str], factor: float, layers: Iterable[str]
) -> dict[str, float]:
    """Layer -> its rate: that of the first pattern that its name fits, times the factor; 0, left as
    it is, for a layer that none fits.

    layers: names of all that may be pruned. Raises ValueError for a pattern that fits none that is
    left for it.
    """
    table, names = table_of(entries), list(layers)
    first = {name: next((p for p in table if fnmatchcase(name, p)), None) for name in names}
    for pattern in table:
        if pattern not in first.values():
            fits = [name for name in names if fnmatchcase(name, pattern)]
            why = f"all {len(fits)} of its layers are named before it" if fits else "it names none"
            raise ValueError(
                f"each of prune.rates must name a layer that may be pruned, {pattern!r} does not: "
                f"{why}; there are {', '.join(names)}"
            )
    return {name: 0.0 if p is None else table[p] * factor for name, p in first.items()}


def nominal_rate(rate: float | None, target: str | None, rates: tuple[str, ...] | str) -> float:
    """The rate that a trial is listed at, whatever it comes to: that which is given; of a budget
    the share that it takes away; of a table the mean of its rates."""
    if target is not None:
        return round(1 - budget_of(target).share, 6)
    if rates and not isinstance(rates, str):
        table = table_of(rates)
        return round(sum(table.values()) / len(table), 6)
    return rate or 0.0


def amount_said(
    rate: float | None, target: str | None, rates: tuple[str, ...] | str, factor: float
) -> str:
    """The same for people, and different for whatever is pruned to another amount."""
    if target is not None:
        return target
    if not rates:
        return f"{rate:g}"
    times = "" if factor == 1 else f" x {factor:g}"
    return f"{rates if isinstance(rates, str) else rates_said(rates)}{times}"


def rates_said(entries: tuple[str, ...]) -> str:
    """A table in a few words."""
    if len(entries) <= 2:
        return ", ".join(entries)
    return f"{len(entries)} rates of layers"


def require_amount(
    rate: float | None, target: str | None, rates: tuple[str, ...] | str, factor: float
) -> None:
    """Raise ValueError unless exactly one of rate, target and rates says how much is pruned, and
    every rate of a layer, times the factor, is below 1, not all of them 0."""
    said = [name for name, value in (("target", target), ("rates", rates)) if value]
    if len(said) == 2:
        raise ValueError("prune.target and prune.rates both say how much is pruned, give one")
    if said and rate is not None:
        raise ValueError(
            f"prune.rate must be None where prune.{said[0]} says how much is pruned, got {rate:g}"
        )
    if not said and rate is None:
        raise ValueError(
            "prune.rate must be a rate in (0, 1) unless prune.target or prune.rates says how much "
            "is pruned, got None"
        )
    if not rates or isinstance(rates, str):
        return
    most = max(table_of(rates).values())
    if most == 0:
        raise ValueError(
            "prune.rates must have a rate above 0, all of them are 0: nothing would go"
        )
    if most * factor >= 1:
        raise ValueError(
            f"prune.rates_factor must leave every rate below 1, got {factor:g}: the highest, "
            f"{most:g}, would be {most * factor:.4g}"
        )

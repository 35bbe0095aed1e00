"""A table of rates from a file: written by hand, or what layers bear by measured sensitivity."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

KEEPS = 0.97
"""Of the dense network's accuracy: .68 of .70 in the released code of von Rad & Seuffert (2024)."""

Curve = Sequence[tuple[float, float]]
"""(rate, accuracy) of a layer, rates rising."""


def tolerable_rates(curves: Mapping[str, Curve], dense: float, keeps: float) -> dict[str, float]:
    """Layer -> the rate up to which accuracy stays at or above `keeps` x `dense`.

    Linear between the measured rates, from (0, dense) on; at the first place where it falls below.
    A layer that never does gets the highest rate that was measured. curves: of each layer, pruned
    alone. Rounded down to four digits.
    """
    rates = {}
    for layer, curve in curves.items():
        least, before = keeps * dense, (0.0, dense)
        for rate, top1 in curve:
            if top1 < least:
                fall = (before[1] - least) / (before[1] - top1)
                before = (before[0] + fall * (rate - before[0]), least)
                break
            before = (rate, top1)
        rates[layer] = int(before[0] * 10_000 + 1e-6) / 10_000
    return rates


def read_rates(said: str, granularity: str, criterion: str) -> tuple[str, ...]:
    """The entries of `prune.rates` that a file stands for.

    said: a path of a CSV with columns `layer` and `rate`; or of one of curves, as the report of the
        study `sensitivity` has it (sensitivity.csv), and after an @ what each layer alone must keep
        of the dense network's accuracy, 0.97 where nothing is said.
    granularity, criterion: of the trial. Raises ValueError, in one sentence, for a file that is not
        there, or not one of these.
    """
    path, at, share = said.rpartition("@")
    path, share = (path, share) if at else (said, "")
    keeps = _share(share, said) if share else KEEPS
    rows = _rows(Path(path).expanduser())
    if "value" not in rows[0]:
        if share:
            raise ValueError(f"prune.rates={said} must be a path alone, {path} has no curves")
        return tuple(f"{row['layer']}={_written(_number(row, 'rate', path))}" for row in rows)
    if len(pairs := dict.fromkeys(row.get("pair", "") for row in rows)) > 1:
        raise ValueError(
            f"prune.rates={said} must hold curves of one network, it has those of "
            f"{', '.join(map(repr, pairs))}: keep the rows of one `pair`"
        )
    own = _of_kind(rows, granularity, criterion, said)
    curves: dict[str, list[tuple[float, float]]] = {}
    for row in own:
        point = (_number(row, "rate", path), _number(row, "value", path))
        curves.setdefault(row["layer"], []).append(point)
    dense = _number(own[0], "dense", path)
    rates = tolerable_rates({layer: sorted(c) for layer, c in curves.items()}, dense, keeps)
    return tuple(f"{layer}={_written(rate)}" for layer, rate in rates.items())


def _of_kind(
    rows: Sequence[dict[str, str]], granularity: str, criterion: str, said: str
) -> list[dict[str, str]]:
    """Points of curves of that granularity; where several criteria were measured, of that one. By
    chance what a criterion's curves say is pruned, too: a control has its rates."""
    curves = [r for r in rows if r.get("kind") == "layer" and r.get("granularity") == granularity]
    criteria = {row.get("criterion") for row in curves}
    own = [row for row in curves if len(criteria) == 1 or row.get("criterion") == criterion]
    if not own:
        there = {
            f"{r.get('granularity')} by {r.get('criterion')}" for r in rows if r.get("criterion")
        }
        raise ValueError(
            f"prune.rates={said} must hold curves of granularity {granularity} by {criterion}, it "
            f"has {', '.join(sorted(there)) or 'none'}"
        )
    return own


def _share(text: str, said: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise ValueError(
            f"prune.rates={said} must end with the share of accuracy that is kept, in (0, 1], such "
            "as @0.97"
        )
    return share


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(
            f"prune.rates must name layers, or a table that is there: {path} cannot be read "
            f"({type(error).__name__}); make sweep STUDY=sensitivity writes "
            "results/report/sensitivity/sensitivity.csv"
        ) from error
    if not rows or not {"layer", "rate"} <= rows[0].keys():
        raise ValueError(f"{path} must have the columns layer and rate, and rows")
    return rows


def _written(rate: float) -> str:
    """As an entry of `prune.rates` has it: without an exponent."""
    return f"{rate:g}" if rate >= 1e-4 else f"{rate:.12f}".rstrip("0").rstrip(".")


def _number(row: Mapping[str, str], name: str, path: str) -> float:
    try:
        return float(row[name])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} must have numbers as {name}, of {row.get('layer')} it has {row.get(name)!r}"
        ) from error

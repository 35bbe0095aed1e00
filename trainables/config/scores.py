"""Which scores a trial ends with: Secateur's by their names, and "module:Class", the user's own."""

import torch

from mis import UNIT_SCORES, OfMaps, OfMeans, Probe, UnitScore
from trainables.network_names import is_own
from trainables.own_code import Own
from trainables.own_import import kept_by_code, own_class
from trainables.own_settings import called

FIELD = "scores"
MIS = "mis"
_IMAGES, _UNITS, _CELLS = 40, 3, 4  # of what a user's own is tried on
_COLUMNS = (  # of the table of units, which MIS writes
    *("layer", "channel", "state", "mis", "task_accuracy", "mis_pixels", "dense_mis", "minimum"),
    *("maximum", "counted", "replicates", "best_class", "key", "label"),
)


def require_scores(names: tuple[str, ...], code: tuple[str, ...]) -> None:
    """Raise ValueError, in one sentence, for scores that a trial cannot end with.

    code: digest of the source of each of one's own, in their order; () while it is planned.
    """
    if "dissection" in names:
        raise ValueError(
            "scores must not name 'dissection', which is asked for by its settings: "
            "dissection=DissectionConfig(…)"
        )
    if names[:1] != (MIS,) or len(set(names)) < len(names):
        raise ValueError(
            f"scores must begin with {MIS!r}, whose pass tells which units are alive, and name "
            f"each once, got {names}"
        )
    unit_scores(names, code)


def unit_scores(names: tuple[str, ...], code: tuple[str, ...] = ()) -> list[UnitScore]:
    """The scores beside MIS, as objects. Raises as `require_scores`."""
    digests = iter(code)
    kinds = [_kind(n, next(digests, "") if is_own(n) else "") for n in names if n != MIS]
    taken = [value for kind in kinds for value in kind.values]
    twice = [name for name in taken if taken.count(name) > 1]
    if twice:
        raise ValueError(f"scores must have values of their own, {twice[0]!r} is there twice")
    return [kind() for kind in kinds]


def own_scores(names: tuple[str, ...], code: tuple[str, ...]) -> tuple[Own, ...]:
    """Code of the user's own that is named."""
    mine = [name for name in names if is_own(name)]
    digests = code if len(code) == len(mine) else ("",) * len(mine)
    return tuple(Own(FIELD, n, f"{FIELD}_code", d) for n, d in zip(mine, digests, strict=True))


def _kind(name: str, code: str) -> type[UnitScore]:
    if name in UNIT_SCORES:
        return UNIT_SCORES[name]
    if not is_own(name):
        raise ValueError(
            f"{FIELD} must be of {MIS}, {', '.join(UNIT_SCORES)}, or module:Class, a score of your "
            f"own, got {name!r}"
        )
    return _own(name, code)


@kept_by_code
def _own(name: str, code: str) -> type[UnitScore]:
    bases = {"mis.OfMeans": OfMeans, "mis.OfMaps": OfMaps}
    kind: type[OfMeans] | type[OfMaps] = own_class(name, code, FIELD, bases)
    ours = {value for each in UNIT_SCORES.values() for value in each.values}
    if {kind.name, *kind.values} & {*ours, *_COLUMNS}:
        raise ValueError(
            f"{FIELD}={name!r} must have names of its own, got {kind.name!r} with values "
            f"{', '.join(kind.values)}"
        )
    if kind.name in (*UNIT_SCORES, MIS, "dissection") or not kind.name.isidentifier():
        raise ValueError(
            f"{FIELD}={name!r} must have a name of its own, of letters, digits and '_', got "
            f"{kind.name!r}"
        )
    _try(name, kind)
    return kind


def _try(name: str, kind: type[OfMeans] | type[OfMaps]) -> None:
    """Raise ValueError where it does not give what it must, of a few images and units."""
    draw = torch.Generator().manual_seed(0)
    maps = torch.rand(_IMAGES, _UNITS, _CELLS, _CELLS, generator=draw)
    probe = Probe(torch.arange(_IMAGES) % 2, torch.eye(_IMAGES))

    def tried() -> object:
        score = kind()
        given = score.of(maps) if isinstance(score, OfMaps) else score.of(maps.mean((2, 3)), probe)
        return given

    found = called(FIELD, name, "score units, a try with random ones", tried)
    shape = (_IMAGES, _UNITS) if issubclass(kind, OfMaps) else (_UNITS,)
    of = "[image, unit]" if issubclass(kind, OfMaps) else "[unit]"
    if not isinstance(found, dict) or not set(kind.values) <= set(found):
        got = sorted(found) if isinstance(found, dict) else type(found).__name__
        raise ValueError(
            f"{FIELD}={name!r} must give a dictionary that has {', '.join(kind.values)}, got {got}"
        )
    for column, values in found.items():
        if not str(column).isidentifier() or column in _COLUMNS:
            raise ValueError(
                f"{FIELD}={name!r} must call its columns by letters, digits and '_', and by none "
                f"of {', '.join(_COLUMNS)}, got {column!r}"
            )
        there = tuple(values.shape) if isinstance(values, torch.Tensor) else type(values).__name__
        if there != shape:
            raise ValueError(
                f"{FIELD}={name!r} must give {column} as a tensor {of}, {shape} of {_IMAGES} "
                f"images and {_UNITS} units, got {there}"
            )

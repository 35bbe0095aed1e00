"""What was found out of a folder, kept in the cache: no trial lists or looks through it again."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from trainables.datasets.listing import SPLITS, Listing, Split
from trainables.datasets.many_names import Names
from trainables.workspace import read_own, whole_file


def known_listing(path: Path, make: Callable[[], Listing]) -> Listing:
    """The listing kept at `path`; made where there is none, or none that is whole."""
    try:
        return _read(path)
    except Exception:
        # Missing, cut off, or of anything else: numpy raises as many kinds of errors.
        listing = make()
    _write(path, listing)
    return listing


def _write(path: Path, listing: Listing) -> None:
    about = {
        "classes": listing.classes,
        "splits": list(listing.splits),
        "faults": listing.faults,
        "left_out": listing.left_out,
        "called": listing.called,
        "notes": listing.notes,
    }
    arrays = {"about": _text(json.dumps(about))}
    for name, split in listing.splits.items():
        arrays |= {
            f"{name}_names": split.names.text,
            f"{name}_labels": split.labels,
            f"{name}_marks": split.marks,
        }
    with whole_file(path) as partial, partial.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def _read(path: Path) -> Listing:
    with np.load(path, allow_pickle=False) as told:
        about = json.loads(_untext(told["about"]))
        splits = {}
        for name in about.get("splits", SPLITS):
            names = Names(told[f"{name}_names"])
            split = Split(names, told[f"{name}_labels"], told[f"{name}_marks"])
            if not len(names) == len(split.labels) == len(split.marks):
                raise ValueError(f"{path} must hold as many labels as names")
            splits[name] = split
    said = tuple(about.get("called", Listing.called)), tuple(about.get("notes", ()))
    return Listing(tuple(about["classes"]), splits, about["faults"], about["left_out"], *said)


def _text(text: str) -> np.ndarray:
    # Names may be bytes that are no text.
    return np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8)


def _untext(data: np.ndarray) -> str:
    return data.tobytes().decode("utf-8", "surrogatepass")


def known_broken(path: Path) -> tuple[dict[str, str], bool]:
    """Name of a broken image -> why, and whether all were looked through: kept at `path`."""
    try:
        told = json.loads(read_own(path))
        return {str(name): str(why) for name, why in told["broken"].items()}, bool(told["all"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}, False


def note_broken(path: Path, broken: dict[str, str], *, all_seen: bool) -> None:
    """Keep what `known_broken` reads."""
    with whole_file(path) as partial:
        partial.write_text(json.dumps({"broken": broken, "all": all_seen}), encoding="utf-8")

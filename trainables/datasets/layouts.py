"""How a folder of pictures is laid out, found out from what is there.

Known are: train/ beside val/, validation/, valid/ or test/, a folder per class in each; the same
with a flat val/ and a file of labels (ILSVRC2012, Tiny ImageNet); and one folder per class, of
which a split is drawn (`splitting.py`).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trainables.datasets.label_files import KNOWN, labelled
from trainables.datasets.names import shown, some
from trainables.datasets.walking import (
    OUTSIDE,
    Found,
    entries,
    is_folder,
    is_picture,
    walk,
)

POOL = "all"  # the only split of a folder that has none
_HELD_OUT = ("val", "validation", "valid", "test")  # the first that is there is taken
_KAGGLE = "ILSVRC/Data/CLS-LOC"  # where Kaggle's archive has train/ and val/
_ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar")


@dataclass(frozen=True)
class Layout:
    """splits: "train" and "val", or `POOL` alone, -> class -> names of its pictures.

    called: "train", "val" -> how people know it. notes: for people, what else there is to say.
    """

    splits: Mapping[str, Mapping[str, Sequence[str]]]
    faults: Mapping[str, str]
    left_out: Counter[str]
    called: tuple[str, str] = ("train/", "val/")
    notes: tuple[str, ...] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(next(iter(self.splits.values())))


def lay_out(root: Path) -> Layout:
    """Raises ValueError for a folder that is not as it must be, OSError for one that cannot be
    read."""
    if not root.exists():
        raise ValueError(f"the data folder must exist, {shown(root)} does not")
    if not root.is_dir():
        what = "an archive: unpack it" if root.suffix.lower() in _ARCHIVES else "a file"
        raise ValueError(f"the data must be a folder, {shown(root)} is {what}")
    at = f"{_KAGGLE}/" if (root / _KAGGLE).is_dir() and not (root / "train").is_dir() else ""
    inside = {entry.name: entry for entry in entries(root / at) if is_folder(entry)}
    train = _called(inside, "train")
    held_out = [name for each in _HELD_OUT if (name := _called(inside, each))]
    if train is None or (not held_out and _is_class(root / at / train) and len(inside) > 1):
        return _pool(root)
    if not held_out:
        where = shown(root / at)
        raise ValueError(
            f"an image folder with train/ must hold val/, validation/ or test/ as well, {where} "
            f"has none of them; DATA={where}/{shown(train)} draws a split of train/"
        )
    return _with_split(root, f"{at}{train}", f"{at}{held_out[0]}", held_out[1:])


def _called(names: Mapping[str, object], name: str) -> str | None:
    """The folder of that name, in any case; the name as it is first."""
    return name if name in names else next((n for n in sorted(names) if n.lower() == name), None)


def _has_split(folder: Path) -> bool:
    inside = {entry.name: entry for entry in entries(folder) if is_folder(entry)}
    return _called(inside, "train") is not None and any(_called(inside, n) for n in _HELD_OUT)


def _is_class(folder: Path) -> bool:
    """Whether it holds pictures and no folder: of a class that is called train."""
    inside = entries(folder)
    return not any(map(is_folder, inside)) and any(is_picture(entry.name) for entry in inside)


def _with_split(root: Path, train: str, val: str, unread: Sequence[str]) -> Layout:
    found = {"train": walk(root, train), "val": walk(root, val)}
    left_out: Counter[str] = Counter()
    splits: dict[str, Mapping[str, Sequence[str]]] = {"train": found["train"].files}
    _require_classes(root / train, found["train"])
    notes = []
    flat = _flat(found["val"])
    told = labelled(root, val, flat, list(splits["train"])) if flat else None
    if told is None:
        splits["val"] = found["val"].files
        _require_classes(root / val, found["val"], flat=bool(flat))
    else:
        splits["val"] = {name: told[0][name] for name in sorted(told[0])}
        notes.append(f"the classes of {val}/ are told by {told[1]}")
        read = {*flat, f"{val}/{told[1]}"}
        found["val"].loose = [name for name in found["val"].loose if name not in read]
    for its in found.values():
        left_out += _all_left_out(its)
    classes = {name: list(its) for name, its in splits.items()}
    require_same_classes((f"{shown(root)}/{train}", f"{shown(root)}/{val}"), classes)
    splits["val"] = {name: splits["val"][name] for name in splits["train"]}
    if unread:
        are = "is" if len(unread) == 1 else "are"
        notes.append(f"{' and '.join(f'{name}/' for name in unread)} {are} not read")
    faults = found["train"].faults | found["val"].faults
    return Layout(splits, faults, left_out, (f"{train}/", f"{val}/"), tuple(notes))


def _flat(found: Found) -> list[str]:
    """The pictures of a split that has no classes of its own: in it, or in a folder images/."""
    if not found.files:
        return [name for name in found.loose if is_picture(name)]
    return found.files["images"] if list(found.files) == ["images"] else []


def _pool(root: Path) -> Layout:
    found = walk(root, "")
    pictures = [name for name in found.loose if is_picture(name)]
    if not found.files:
        what = f"{len(pictures):,} images and no folder" if pictures else "neither"
        raise ValueError(
            f"an image folder must hold train/ and val/, or one folder per class, "
            f"{shown(root)} holds {what}{_left(found)}"
        )
    _require_classes(root, found)
    if len(found.files) == 1:
        only = next(iter(found.files))
        inside = any(map(is_folder, entries(root / only)))
        way = f"; DATA={shown(root / only)} holds folders" if inside else ""
        raise ValueError(
            f"an image folder must hold at least two classes, {shown(root)} has one folder with "
            f"images, {shown(only)}{way}"
        )
    whole = [name for name in found.files if _has_split(root / name)]
    if whole:
        raise ValueError(
            f"an image folder must hold classes, {shown(root)} holds other image folders: "
            f"DATA={shown(root / whole[0])} is one"
        )
    few = [name for name, files in found.files.items() if len(files) < 2]
    if few:
        raise ValueError(
            "every class must have at least 2 images where a split is drawn, one to train and one "
            f"to validate: {some(few)} of {shown(root)} have one"
        )
    return Layout({POOL: found.files}, found.faults, _all_left_out(found))


def _require_classes(folder: Path, found: Found, *, flat: bool = False) -> None:
    where, others = shown(folder), _left(found)
    if flat:
        raise ValueError(
            f"{where} must hold one folder per class, or a file beside it must tell the classes "
            f"of its images ({KNOWN}): it has neither{others}"
        )
    if not found.files:
        raise ValueError(f"{where} must hold one folder per class, it holds none{others}")
    empty = [name for name, its in found.files.items() if not its]
    if empty:
        raise ValueError(
            f"every class must have images, {some(empty)} of {where} have none{others}"
        )


def require_same_classes(where: tuple[str, str], classes: Mapping[str, Sequence[str]]) -> None:
    """Raise ValueError unless both splits have the same classes, and at least two.

    where: the folders of "train" and "val".
    """
    for here, there, folder in (("train", "val", where[1]), ("val", "train", where[0])):
        known = set(classes[there])
        missing = [name for name in classes[here] if name not in known]
        if missing:
            raise ValueError(
                f"both splits must hold the same classes, {folder} lacks {some(missing)}"
            )
    if len(classes["train"]) < 2:
        raise ValueError(
            f"an image folder must hold at least two classes, {where[0]} has "
            f"{some(classes['train'])} alone"
        )


def _all_left_out(found: Found) -> Counter[str]:
    """With what lies in no class."""
    return found.left_out + Counter({OUTSIDE: len(found.loose)})


def _left(found: Found) -> str:
    left_out = _all_left_out(found)
    return f"; left out there: {listed(left_out)}" if left_out else ""


def listed(left_out: Mapping[str, int], kinds: int = 6) -> str:
    """The most frequent kinds of what is left out."""
    most = Counter(left_out).most_common(kinds)
    rest = sum(left_out.values()) - sum(n for _, n in most)
    shown_ = [f"{n:,} {kind}" for kind, n in most]
    return ", ".join([*shown_, f"{rest:,} others"] if rest else shown_)
